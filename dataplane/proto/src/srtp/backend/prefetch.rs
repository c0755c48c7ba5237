//! Asking for memory before it is needed.

/// The length of a cache line on every processor that we care about, in octets.
const LINE: usize = 64;

/// Asks the processor to bring the first octet of `value` close, and what shares a cache line with it. Changes nothing,
/// and does nothing on processors for which we know no such instruction.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_front(value, 1);
}

/// The same for the first `len` octets of `value`.
#[inline]
pub(in crate::srtp) fn prefetch_front<T>(value: &T, len: usize) {
    let start = (&raw const *value).cast::<i8>();
    let mut at = 0;
    while at < len.min(size_of::<T>()) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint; it reads nothing and cannot fault, whatever the address.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = start;
        at = at.saturating_add(LINE);
    }
}
