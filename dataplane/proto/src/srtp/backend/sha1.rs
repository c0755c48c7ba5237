//! Several independent SHA-1 computations at once.
//!
//! SHA-1 is one long chain of dependent steps: a processor with SHA instructions waits most of the time. Interleaving
//! the steps of several messages fills the gaps, which takes instructions of our own: AWS-LC hashes one message at a time.

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{available, compress};

/// Length of a block of SHA-1, in octets.
pub(super) const BLOCK_LEN: usize = 64;

/// Whether [`compress`] may be called.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn available() -> bool {
    false
}

/// There is none for this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn compress<'a, const N: usize>(
    _: &mut [[u32; 5]; N],
    _: usize,
    _: impl Fn(usize, usize) -> &'a [u8; BLOCK_LEN],
) {
    unreachable!("nobody calls what is not available");
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi8, _mm_set_epi32,
        _mm_sha1msg1_epu32, _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32,
        _mm_shuffle_epi8, _mm_xor_si128,
    };

    use super::BLOCK_LEN;

    /// Whether [`compress`] may be called.
    #[inline]
    pub(in super::super) fn available() -> bool {
        is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse3")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1")
    }

    /// Takes the compression function of SHA-1 (RFC 3174 §6.1) over `blocks` blocks in each of `N` lanes. `block` yields
    /// them by lane and number.
    ///
    /// # Panics
    /// Unless the processor is [`available`].
    #[inline]
    pub(in super::super) fn compress<'a, const N: usize>(
        states: &mut [[u32; 5]; N],
        blocks: usize,
        block: impl Fn(usize, usize) -> &'a [u8; BLOCK_LEN],
    ) {
        assert!(available(), "asked for before");
        // SAFETY: the processor has the instructions.
        unsafe { compress_sha(states, blocks, block) }
    }

    /// One group of four rounds in every lane. `$at` counts groups; the function and constant change every five.
    macro_rules! rounds {
        ($lanes:ident, $at:literal) => {
            for lane in &mut $lanes {
                let scheduled = if $at < 4 {
                    lane.words[$at % 4]
                } else {
                    // RFC 3174 §6.1 (b): W(t) from 16, 14, 8 and 3 words before, four words at a time.
                    let mixed = _mm_sha1msg1_epu32(lane.words[$at % 4], lane.words[($at + 1) % 4]);
                    let mixed = _mm_xor_si128(mixed, lane.words[($at + 2) % 4]);
                    _mm_sha1msg2_epu32(mixed, lane.words[($at + 3) % 4])
                };
                lane.words[$at % 4] = scheduled;
                let added = if $at == 0 {
                    _mm_add_epi32(lane.before, scheduled)
                } else {
                    _mm_sha1nexte_epu32(lane.before, scheduled)
                };
                lane.before = lane.abcd;
                lane.abcd = _mm_sha1rnds4_epu32::<{ $at / 5 }>(lane.abcd, added);
            }
        };
    }

    struct Lane {
        abcd: __m128i,
        /// `abcd` before the latest four rounds: its A becomes the next E. Before the first round, E itself.
        before: __m128i,
        /// The latest 16 words of the schedule.
        words: [__m128i; 4],
    }

    /// A state between two blocks.
    #[derive(Clone, Copy)]
    struct State {
        abcd: __m128i,
        e: __m128i,
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn compress_sha<'a, const N: usize>(
        states: &mut [[u32; 5]; N],
        blocks: usize,
        block: impl Fn(usize, usize) -> &'a [u8; BLOCK_LEN],
    ) {
        let mut kept = states.map(|state| load(state));
        for at in 0..blocks {
            let mut number = 0..N;
            let mut lanes = kept.map(|state| Lane {
                abcd: state.abcd,
                before: state.e,
                words: words(block(number.next().unwrap_or_default(), at)),
            });
            rounds!(lanes, 0);
            rounds!(lanes, 1);
            rounds!(lanes, 2);
            rounds!(lanes, 3);
            rounds!(lanes, 4);
            rounds!(lanes, 5);
            rounds!(lanes, 6);
            rounds!(lanes, 7);
            rounds!(lanes, 8);
            rounds!(lanes, 9);
            rounds!(lanes, 10);
            rounds!(lanes, 11);
            rounds!(lanes, 12);
            rounds!(lanes, 13);
            rounds!(lanes, 14);
            rounds!(lanes, 15);
            rounds!(lanes, 16);
            rounds!(lanes, 17);
            rounds!(lanes, 18);
            rounds!(lanes, 19);
            for (state, lane) in kept.iter_mut().zip(&lanes) {
                state.abcd = _mm_add_epi32(state.abcd, lane.abcd);
                state.e = _mm_sha1nexte_epu32(lane.before, state.e);
            }
        }
        *states = kept.map(|state| store(state));
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(state: [u32; 5]) -> State {
        let [a, b, c, d, e] = state.map(|word| word as i32);
        State {
            abcd: _mm_set_epi32(a, b, c, d),
            e: _mm_set_epi32(e, 0, 0, 0),
        }
    }

    #[inline]
    #[target_feature(enable = "sse2,sse4.1")]
    fn store(state: State) -> [u32; 5] {
        [
            _mm_extract_epi32::<3>(state.abcd) as u32,
            _mm_extract_epi32::<2>(state.abcd) as u32,
            _mm_extract_epi32::<1>(state.abcd) as u32,
            _mm_extract_epi32::<0>(state.abcd) as u32,
            _mm_extract_epi32::<3>(state.e) as u32,
        ]
    }

    /// The 16 words of a block. The instructions want the first word on top and every word in the processor's own byte
    /// order.
    #[inline]
    #[target_feature(enable = "sse2,ssse3")]
    fn words(block: &[u8; BLOCK_LEN]) -> [__m128i; 4] {
        let turn = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        [0, 1, 2, 3].map(|at| {
            // SAFETY: the four quarters of a block of 64 octets; the load needs no alignment.
            let quarter = unsafe { _mm_loadu_si128(block.as_ptr().cast::<__m128i>().add(at)) };
            _mm_shuffle_epi8(quarter, turn)
        })
    }
}
