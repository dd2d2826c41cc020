//! Bounds-checked reading of little-endian values, for `model::base`. Every error names what was
//! read and at which byte. Depends on: `model::base` for the error.

use super::base::{BaseError, corrupt};

/// A place in the file, moved along by each read.
pub(super) struct Cursor<'a> {
    /// The whole file.
    pub data: &'a [u8],
    /// The next byte to read.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], BaseError> {
        let (from, length) = (self.at, self.data.len());
        let to = from.saturating_add(count);
        let Some(bytes) = self.data.get(from..to) else {
            return Err(BaseError::Truncated { what: what.to_owned(), from, to, length });
        };
        self.at = to;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], BaseError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, BaseError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, BaseError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub fn f32(&mut self, what: &str) -> Result<f32, BaseError> {
        let at = self.at;
        let value = self.array(what).map(f32::from_le_bytes)?;
        match value.is_finite() {
            true => Ok(value),
            false => Err(corrupt(what, at, format!("is {value}"))),
        }
    }

    /// An i32 that must lie in `least..=most`.
    pub fn size(&mut self, what: &str, least: usize, most: usize) -> Result<usize, BaseError> {
        let at = self.at;
        let value = i32::from_le_bytes(self.array(what)?);
        match usize::try_from(value) {
            Ok(size) if (least..=most).contains(&size) => Ok(size),
            _ if least == most => Err(corrupt(what, at, format!("is {value}, must be {least}"))),
            _ => Err(corrupt(what, at, format!("is {value}, must be in {least}..={most}"))),
        }
    }

    pub fn character(&mut self) -> Result<char, BaseError> {
        let at = self.at;
        let code = self.u32("normalisation entry")?;
        char::from_u32(code).ok_or_else(|| {
            corrupt("normalisation entry", at, format!("U+{code:X} is no character"))
        })
    }
}
