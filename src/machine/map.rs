//! Files mapped into memory, read-only.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, read in by the system as they are touched.
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the file at `path`.
    ///
    /// Whoever shortens the file while it is mapped ends this process, so keep the map only as long as
    /// it takes to read, and replace files by renaming new ones into place.
    ///
    /// # Errors
    /// Where the file cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is private and read-only, and only bytes are made of it, for which every
        // value is valid. That another process may change them while they are read is a race that
        // reading a file has in any form: what was read is verified by its digest. Shortening is
        // not undefined behaviour but a signal that ends the process.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Mapped(map))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(Mapped::open(&path).is_err());
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(&Mapped::open(&path).unwrap()[..], b"abc");
        std::fs::write(&path, b"").unwrap();
        assert!(Mapped::open(&path).unwrap().is_empty());
    }
}
