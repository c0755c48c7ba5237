//! Memory of the process.

/// Gives pages of the heap on which nothing lies back to the system, where the C library can. It takes milliseconds for some
/// megabytes, in which threads that want memory may have to wait.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
