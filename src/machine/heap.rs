//! What the allocator does with memory that was freed.

/// Keeps freed memory with the process, to be used again, instead of giving it back to the system.
///
/// For programs that allocate and free the same large blocks all the time: otherwise the system hands out zeroed
/// pages anew for each, at a fault a page. Of effect with glibc, whose manual (`mallopt(3)`) is the source; call it
/// before anything is allocated by other threads.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        // No block is mapped by itself; none is given back; and there is one heap, that no block is too large for.
        (libc::M_MMAP_MAX, 0),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        (libc::M_ARENA_MAX, 1),
    ] {
        // SAFETY: the options and values are those that the manual names; mallopt locks the heap for itself.
        // Where it refuses, everything works as before.
        unsafe { libc::mallopt(option, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_hold_what_is_written_afterwards() {
        keep_freed();
        for size in [1 << 20, 100 << 20] {
            let block: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            assert!(block.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));
        }
        let kept = std::thread::spawn(|| vec![7u8; 80 << 20]).join().unwrap();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
