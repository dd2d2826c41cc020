//! What the allocator does with memory that was freed.

/// Keeps freed memory with the process, to be used again, instead of giving it back to the system; says whether it
/// will.
///
/// For programs that allocate and free the same large blocks all the time: otherwise the system hands out zeroed
/// pages anew for each, at a fault a page. It works with glibc (`mallopt(3)`), and only before there is a second thread.
pub fn keep_freed() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let threads = std::fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
        if threads != 1 {
            return false;
        }
        // No block is mapped by itself; none is given back; and there is one heap, that no block is too large for.
        let options = [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1), (libc::M_ARENA_MAX, 1)];
        // SAFETY: the options and values are those that the manual names, and no other thread is there to allocate
        // meanwhile, as was just seen: only this one could start it.
        options.into_iter().all(|(option, value)| unsafe { libc::mallopt(option, value) } == 1)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_refused_where_another_thread_could_be_allocating() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(!keep_freed());
        drop(done);
        assert!(other.join().unwrap().is_err());
    }
}
