//! AES on four blocks an instruction (VAES on AVX-512): round keys and counter mode.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "indices count round keys and blocks of one step, lengths are those of slices in memory"
)]

use core::arch::x86_64::{
    __m128i, __m512i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128,
    _mm_loadu_si128, _mm_setzero_si128, _mm_shuffle_epi32, _mm_slli_si128, _mm_storeu_si128,
    _mm_xor_si128, _mm512_add_epi32, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_broadcast_i32x4, _mm512_castsi512_si128, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_set_epi32, _mm512_set4_epi32, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_xor_si512,
};

use zeroize::Zeroize;

use super::AES_BLOCK_LEN;

/// Blocks of one vector.
pub(super) const WIDTH: usize = 4;

/// Octets of one vector.
pub(super) const VECTOR_LEN: usize = WIDTH * AES_BLOCK_LEN;

/// Vectors worked on together.
pub(super) const STEP: usize = 4;

/// Octets of one step.
pub(super) const STEP_LEN: usize = STEP * VECTOR_LEN;

/// How many round keys AES-256 has: one before and one for each of 14 rounds.
pub(super) const ROUND_KEYS_MAX: usize = 15;

/// As they lie in memory.
pub(in crate::srtp) type RoundKeys = [[u8; AES_BLOCK_LEN]; ROUND_KEYS_MAX];

/// Whether the processor has what this file and `gcm_vaes` use, and what the compiler takes for granted with it: with
/// `avx512f` it may use everything from `sse3` to `avx2`, `fma` and `f16c`, which a hypervisor may hide one by one.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("sse3")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
        && is_x86_feature_detected!("sse4.2")
        && is_x86_feature_detected!("avx")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

/// The round keys (FIPS 197 §5.2) of a key of 16 or 32 octets and the number of rounds, or `None` for another length or
/// a processor that is not [`available`].
pub(super) fn expand(key: &[u8], into: &mut RoundKeys) -> Option<u8> {
    if !available() {
        return None;
    }
    if let Ok(key) = key.try_into() {
        // SAFETY: the processor has the instructions.
        unsafe { expand_128(key, into) };
        Some(10)
    } else if let Ok(key) = key.try_into() {
        // SAFETY: as above.
        unsafe { expand_256(key, into) };
        Some(14)
    } else {
        None
    }
}

/// Writes `from` XOR the keystream that starts at `counter` to `to`. The counter is its last 32 bits.
///
/// # Safety
/// The processor must be [`available`]; `from` must be readable and `to` writable for `len` octets, and they are equal or
/// do not overlap.
#[target_feature(enable = "aes,pclmulqdq,ssse3,avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
pub(super) unsafe fn counter_mode<const ROUNDS: usize>(
    keys: &RoundKeys,
    counter: &[u8; AES_BLOCK_LEN],
    from: *const u8,
    to: *mut u8,
    len: usize,
) {
    let keys = wide::<ROUNDS>(keys);
    let mut counters = Counters::at(load(counter), 0);
    let mut at = 0;
    while at < len {
        let stream = keystream::<ROUNDS>(&keys, counters.next());
        for (vector, stream) in stream.into_iter().enumerate() {
            let at = at + vector * VECTOR_LEN;
            // SAFETY: the mask lets through only octets below `len`, for which the caller vouches.
            unsafe {
                let mask = mask(len, at);
                let octets = _mm512_maskz_loadu_epi8(mask, from.wrapping_add(at).cast());
                let octets = _mm512_xor_si512(octets, stream);
                _mm512_mask_storeu_epi8(to.wrapping_add(at).cast(), mask, octets);
            }
        }
        at += STEP_LEN;
    }
}

/// One bit for each octet of the vector at `at` that lies below `len`.
#[inline]
pub(super) fn mask(len: usize, at: usize) -> u64 {
    match len.saturating_sub(at) {
        left if left >= VECTOR_LEN => u64::MAX,
        left => (1 << left) - 1,
    }
}

/// Successive counter blocks.
pub(super) struct Counters {
    /// Four blocks with their octets in reverse, so that the counter is a number of the processor.
    next: __m512i,
}

impl Counters {
    /// Begins `after` blocks behind `block`.
    #[inline]
    #[target_feature(enable = "aes,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn at(block: __m128i, after: i32) -> Self {
        let first = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(block), reversal());
        let lanes = _mm512_set_epi32(
            0,
            0,
            0,
            after + 3,
            0,
            0,
            0,
            after + 2,
            0,
            0,
            0,
            after + 1,
            0,
            0,
            0,
            after,
        );
        Self {
            next: _mm512_add_epi32(first, lanes),
        }
    }

    /// The counter blocks of one step.
    #[inline]
    #[target_feature(enable = "aes,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn next(&mut self) -> [__m512i; STEP] {
        let mut blocks = [_mm512_setzero_si512(); STEP];
        for vector in &mut blocks {
            *vector = _mm512_shuffle_epi8(self.next, reversal());
            self.next = _mm512_add_epi32(self.next, _mm512_set4_epi32(0, 0, 0, WIDTH as i32));
        }
        blocks
    }
}

/// Reverses the octets of each block.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn reversal() -> __m512i {
    _mm512_set4_epi32(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f)
}

/// The round keys, each four times over.
#[inline]
#[target_feature(enable = "aes,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn wide<const ROUNDS: usize>(keys: &RoundKeys) -> [__m512i; ROUND_KEYS_MAX] {
    let mut wide = [_mm512_setzero_si512(); ROUND_KEYS_MAX];
    for round in 0..=ROUNDS {
        wide[round] = _mm512_broadcast_i32x4(load(&keys[round]));
    }
    wide
}

/// Encrypts the blocks of one step.
#[inline]
#[target_feature(enable = "aes,avx512f,avx512bw,avx512dq,avx512vl,vaes")]
pub(super) fn keystream<const ROUNDS: usize>(
    keys: &[__m512i; ROUND_KEYS_MAX],
    mut blocks: [__m512i; STEP],
) -> [__m512i; STEP] {
    for block in &mut blocks {
        *block = _mm512_xor_si512(*block, keys[0]);
    }
    for key in &keys[1..ROUNDS] {
        for block in &mut blocks {
            *block = _mm512_aesenc_epi128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm512_aesenclast_epi128(*block, keys[ROUNDS]);
    }
    blocks
}

/// Encrypts one block.
#[inline]
#[target_feature(enable = "aes,avx512f")]
pub(super) fn encrypt<const ROUNDS: usize>(
    keys: &[__m512i; ROUND_KEYS_MAX],
    block: __m128i,
) -> __m128i {
    let mut block = _mm_xor_si128(block, _mm512_castsi512_si128(keys[0]));
    for key in &keys[1..ROUNDS] {
        block = _mm_aesenc_si128(block, _mm512_castsi512_si128(*key));
    }
    _mm_aesenclast_si128(block, _mm512_castsi512_si128(keys[ROUNDS]))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load(block: &[u8; AES_BLOCK_LEN]) -> __m128i {
    // SAFETY: a block is 16 octets; the load needs no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store(block: __m128i) -> [u8; AES_BLOCK_LEN] {
    let mut octets = [0; AES_BLOCK_LEN];
    // SAFETY: a block is 16 octets; the store needs no alignment.
    unsafe { _mm_storeu_si128(octets.as_mut_ptr().cast(), block) };
    octets
}

/// Every word XOR all words before it, and XOR `with`.
#[inline]
#[target_feature(enable = "sse2")]
fn next_key(key: __m128i, with: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, with)
}

/// Substitutes the last word of a key, rotates it and adds the round constant.
macro_rules! rotated {
    ($key:expr, $constant:literal) => {
        _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>($key))
    };
}

/// Substitutes the last word of a key.
macro_rules! substituted {
    ($key:expr) => {
        _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>($key))
    };
}

#[target_feature(enable = "aes,sse2")]
fn expand_128(key: &[u8; 16], into: &mut RoundKeys) {
    let mut keys = [_mm_setzero_si128(); 11];
    keys[0] = load(key);
    keys[1] = next_key(keys[0], rotated!(keys[0], 0x01));
    keys[2] = next_key(keys[1], rotated!(keys[1], 0x02));
    keys[3] = next_key(keys[2], rotated!(keys[2], 0x04));
    keys[4] = next_key(keys[3], rotated!(keys[3], 0x08));
    keys[5] = next_key(keys[4], rotated!(keys[4], 0x10));
    keys[6] = next_key(keys[5], rotated!(keys[5], 0x20));
    keys[7] = next_key(keys[6], rotated!(keys[6], 0x40));
    keys[8] = next_key(keys[7], rotated!(keys[7], 0x80));
    keys[9] = next_key(keys[8], rotated!(keys[8], 0x1b));
    keys[10] = next_key(keys[9], rotated!(keys[9], 0x36));
    for (to, key) in into.iter_mut().zip(&keys) {
        *to = store(*key);
    }
    keys.zeroize();
}

#[target_feature(enable = "aes,sse2")]
fn expand_256(key: &[u8; 32], into: &mut RoundKeys) {
    let (front, back) = key.split_at(16);
    let mut keys = [_mm_setzero_si128(); ROUND_KEYS_MAX];
    keys[0] = load(front.first_chunk().expect("half of 32 octets"));
    keys[1] = load(back.first_chunk().expect("half of 32 octets"));
    keys[2] = next_key(keys[0], rotated!(keys[1], 0x01));
    keys[3] = next_key(keys[1], substituted!(keys[2]));
    keys[4] = next_key(keys[2], rotated!(keys[3], 0x02));
    keys[5] = next_key(keys[3], substituted!(keys[4]));
    keys[6] = next_key(keys[4], rotated!(keys[5], 0x04));
    keys[7] = next_key(keys[5], substituted!(keys[6]));
    keys[8] = next_key(keys[6], rotated!(keys[7], 0x08));
    keys[9] = next_key(keys[7], substituted!(keys[8]));
    keys[10] = next_key(keys[8], rotated!(keys[9], 0x10));
    keys[11] = next_key(keys[9], substituted!(keys[10]));
    keys[12] = next_key(keys[10], rotated!(keys[11], 0x20));
    keys[13] = next_key(keys[11], substituted!(keys[12]));
    keys[14] = next_key(keys[12], rotated!(keys[13], 0x40));
    for (to, key) in into.iter_mut().zip(&keys) {
        *to = store(*key);
    }
    keys.zeroize();
}
