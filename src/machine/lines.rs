//! Buffers that begin on a cache line, so that a row of whole lines never straddles two.

/// Bytes of a cache line.
const LINE: usize = 64;

/// A growing buffer whose contents begin on a cache line.
#[derive(Default)]
pub struct Lines<T> {
    data: Vec<T>,
}

impl<T: Copy + Default> Lines<T> {
    /// The first `size` values, to be written; what they hold is unspecified.
    pub fn sized(&mut self, size: usize) -> &mut [T] {
        let slack = LINE / size_of::<T>();
        if self.data.len() < size + slack {
            self.data.resize(size + slack, T::default());
        }
        let start = self.data.as_ptr().align_offset(LINE).min(slack);
        &mut self.data[start..start + size]
    }

    /// The first `size` values, as they were written.
    ///
    /// # Panics
    /// Where fewer than `size` values were ever asked for.
    pub fn get(&self, size: usize) -> &[T] {
        let slack = LINE / size_of::<T>();
        let start = self.data.as_ptr().align_offset(LINE).min(slack);
        &self.data[start..start + size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_line_and_keeps_what_was_written() {
        let mut lines = Lines::<u8>::default();
        lines.sized(100).fill(7);
        assert_eq!(lines.get(100).as_ptr().align_offset(LINE), 0);
        assert_eq!(lines.get(100), [7; 100]);
        lines.sized(50).fill(9);
        assert_eq!((lines.get(100)[49], lines.get(100)[50]), (9, 7));
    }
}
