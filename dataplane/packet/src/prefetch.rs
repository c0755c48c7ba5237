/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Asks the processor to fetch the first `bytes` bytes of `value`, or all of it if it is smaller, while something else is
/// done. Nothing but time depends on it; elsewhere than on x86-64 it does nothing.
#[inline(always)]
pub fn prefetch<T>(value: &T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let start = core::ptr::from_ref(value).cast::<i8>();
        for offset in (0..bytes.min(size_of::<T>())).step_by(LINE) {
            // SAFETY: the offset lies within `value`, and a prefetch reads nothing that a program could see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, bytes);
}
