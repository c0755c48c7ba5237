//! AES-GCM (NIST SP 800-38D) on four blocks an instruction, made for packets: encryption and authentication go over
//! memory together, and the key state is no longer than the round keys and 21 powers of the hash key.
//!
//! GHASH works on blocks with their octets reversed, and with powers that are shifted left by one bit beforehand, as
//! Gueron and Kounavis describe (Intel, "Carry-Less Multiplication Instruction and its Usage for Computing the GCM
//! Mode"). Products of up to 21 blocks are summed up before they are reduced.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "indices count powers and blocks of one step, lengths are those of slices in memory"
)]

use core::arch::x86_64::{
    __m128i, __m512i, _mm_and_si128, _mm_clmulepi64_si128, _mm_or_si128, _mm_set_epi8,
    _mm_set_epi64x, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_epi64, _mm_slli_si128,
    _mm_srai_epi32, _mm_srli_epi64, _mm_srli_si128, _mm_xor_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_xor_si256, _mm512_castsi512_si256, _mm512_clmulepi64_epi128,
    _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::vaes::{
    Counters, ROUND_KEYS_MAX, RoundKeys, STEP, STEP_LEN, VECTOR_LEN, WIDTH, encrypt, expand,
    keystream, load, mask, reversal, store, wide,
};
use super::{AES_BLOCK_LEN, GCM_NONCE_LEN, GCM_TAG_LEN, cleanse};

/// How many powers of the hash key there are: as many as blocks in a step, one for the block of lengths, and four for the
/// associated data of usual packets.
const POWERS: usize = STEP * WIDTH + 1 + WIDTH;

/// The key state of AES-GCM. To be used only where [`super::vaes::available`]: there is no other way to get one.
#[repr(C)]
pub(in crate::srtp) struct VaesGcm {
    /// H^21 down to H^1, shifted. A vector that begins near the end reaches into the round keys, which must therefore
    /// follow; it is then multiplied by zeros there.
    powers: [[u8; AES_BLOCK_LEN]; POWERS],
    keys: RoundKeys,
    rounds: u8,
}

/// What is done with a packet.
const SEAL: bool = false;
const OPEN: bool = true;

impl VaesGcm {
    /// Takes a key of 16 or 32 octets; `None` if it has another length or the processor can't.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let mut gcm = Self {
            powers: [[0; AES_BLOCK_LEN]; POWERS],
            keys: [[0; AES_BLOCK_LEN]; ROUND_KEYS_MAX],
            rounds: 0,
        };
        gcm.rounds = expand(key, &mut gcm.keys)?;
        // SAFETY: keys were expanded, so the processor has the instructions.
        unsafe {
            match gcm.rounds {
                10 => gcm.raise::<10>(),
                _ => gcm.raise::<14>(),
            }
        }
        Some(gcm)
    }

    /// Encrypts `len` octets and returns the tag.
    ///
    /// # Safety
    /// `from` must be readable and `to` writable for `len` octets; they are equal or do not overlap.
    pub(super) unsafe fn seal(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        from: *const u8,
        to: *mut u8,
        len: usize,
    ) -> [u8; GCM_TAG_LEN] {
        // SAFETY: keys were expanded, so the processor has the instructions; the caller vouches for the rest.
        unsafe {
            match self.rounds {
                10 => self.crypt::<10, SEAL>(nonce, aad, from, to, len),
                _ => self.crypt::<14, SEAL>(nonce, aad, from, to, len),
            }
        }
    }

    /// Decrypts in place and returns the tag that should have come along.
    pub(super) fn open_in_place(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        octets: &mut [u8],
    ) -> [u8; GCM_TAG_LEN] {
        let (at, len) = (octets.as_mut_ptr(), octets.len());
        // SAFETY: keys were expanded, so the processor has the instructions; both pointers are to `octets`.
        unsafe {
            match self.rounds {
                10 => self.crypt::<10, OPEN>(nonce, aad, at.cast_const(), at, len),
                _ => self.crypt::<14, OPEN>(nonce, aad, at.cast_const(), at, len),
            }
        }
    }

    /// Computes the powers of the hash key.
    #[target_feature(
        enable = "aes,pclmulqdq,ssse3,avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq"
    )]
    fn raise<const ROUNDS: usize>(&mut self) {
        let zero = load(&[0; AES_BLOCK_LEN]);
        let hash_key = reverse(encrypt::<ROUNDS>(&wide::<ROUNDS>(&self.keys), zero));
        let first = shift(hash_key);
        let mut power = hash_key;
        for entry in self.powers.iter_mut().rev() {
            *entry = store(shift(power));
            let mut sum = Sum::zero();
            sum.add(widen(power), widen(first));
            power = sum.reduce();
        }
    }

    /// # Safety
    /// The processor must have the instructions; `from` must be readable and `to` writable for `len` octets, and they are
    /// equal or do not overlap.
    #[target_feature(
        enable = "aes,pclmulqdq,ssse3,avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq"
    )]
    unsafe fn crypt<const ROUNDS: usize, const OPENS: bool>(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        from: *const u8,
        to: *mut u8,
        len: usize,
    ) -> [u8; GCM_TAG_LEN] {
        let keys = wide::<ROUNDS>(&self.keys);
        // SP 800-38D §7.1: a nonce of 96 bits is followed by a counter, which is 1 for the tag.
        let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11] = *nonce;
        let before = load(&[n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, 0, 0, 0, 1]);
        let mut counters = Counters::at(before, 1);
        let (mut head, mut hash) = self.begin(aad);

        let mut at = 0;
        while len - at >= STEP_LEN {
            let stream = keystream::<ROUNDS>(&keys, counters.next());
            let mut sum = Sum::zero();
            for (vector, stream) in stream.into_iter().enumerate() {
                // SAFETY: the whole step lies below `len`, for which the caller vouches.
                let (given, made) = unsafe {
                    let given = _mm512_loadu_si512(from.add(at + vector * VECTOR_LEN).cast());
                    let made = _mm512_xor_si512(given, stream);
                    _mm512_storeu_si512(to.add(at + vector * VECTOR_LEN).cast(), made);
                    (given, made)
                };
                let mut cipher = reverse_all(if OPENS { given } else { made });
                if vector == 0 {
                    cipher = _mm512_xor_si512(cipher, widen(hash));
                }
                sum.add(cipher, self.powers_from((STEP - vector) * WIDTH));
            }
            if let Some(head) = head.take() {
                sum.add(head.blocks, self.powers_from(STEP * WIDTH + head.count));
            }
            hash = sum.reduce();
            at += STEP_LEN;
        }

        // SAFETY: the rest lies between `at` and `len`, for which the caller vouches; `at` is not beyond `len`.
        let sum = unsafe {
            let (from, to) = (from.add(at), to.add(at));
            self.finish::<ROUNDS, OPENS>(&keys, counters, (head, hash), (aad.len(), len), from, to)
        };
        let tag = reverse(sum.reduce());
        store(_mm_xor_si128(tag, encrypt::<ROUNDS>(&keys, before)))
    }

    /// What is left after the whole steps, fewer octets than one has, so at most 16 blocks of which the last is not full then,
    /// and the block of `lengths`, those of associated data and text, behind it; what is to be reduced.
    ///
    /// # Safety
    /// As for `crypt`, for what is left.
    #[inline]
    #[target_feature(
        enable = "aes,pclmulqdq,ssse3,avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq"
    )]
    unsafe fn finish<const ROUNDS: usize, const OPENS: bool>(
        &self,
        keys: &[__m512i; ROUND_KEYS_MAX],
        mut counters: Counters,
        (head, hash): (Option<Head>, __m128i),
        lengths: (usize, usize),
        from: *const u8,
        to: *mut u8,
    ) -> Sum {
        let rest = lengths.1 % STEP_LEN;
        let blocks = rest.div_ceil(AES_BLOCK_LEN);
        let last = _mm_set_epi64x((lengths.0 as i64) << 3, (lengths.1 as i64) << 3);
        let mut sum = Sum::zero();
        if let Some(head) = head {
            sum.add(head.blocks, self.powers_from(blocks + 1 + head.count));
        }
        if blocks == 0 {
            sum.add(widen(_mm_xor_si128(last, hash)), self.powers_from(1));
        } else {
            let stream = keystream::<ROUNDS>(keys, counters.next());
            for (vector, stream) in stream.into_iter().enumerate() {
                let at = vector * VECTOR_LEN;
                if at >= rest {
                    break;
                }
                let mask = mask(rest, at);
                // SAFETY: the mask lets through only octets below `rest`, for which the caller vouches.
                let (given, made) = unsafe {
                    let given = _mm512_maskz_loadu_epi8(mask, from.wrapping_add(at).cast());
                    let made = _mm512_xor_si512(given, stream);
                    _mm512_mask_storeu_epi8(to.wrapping_add(at).cast(), mask, made);
                    (given, _mm512_maskz_mov_epi8(mask, made))
                };
                let mut cipher = reverse_all(if OPENS { given } else { made });
                if vector == 0 {
                    cipher = _mm512_xor_si512(cipher, widen(hash));
                }
                sum.add(cipher, self.powers_from(blocks + 1 - vector * WIDTH));
            }
            sum.add(widen(last), self.powers_from(1));
        }
        sum
    }

    /// Begins with the associated data: a short one waits for the first blocks of the packet, to be reduced with them.
    #[inline]
    #[target_feature(enable = "pclmulqdq,ssse3,avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    fn begin(&self, aad: &[u8]) -> (Option<Head>, __m128i) {
        if aad.len() > VECTOR_LEN {
            return (None, self.hash_aad(aad));
        }
        let head = Head {
            blocks: reverse_all(masked(aad)),
            count: aad.len().div_ceil(AES_BLOCK_LEN),
        };
        let head = Some(head).filter(|head| head.count > 0);
        (head, load(&[0; AES_BLOCK_LEN]))
    }

    /// GHASH over the associated data, filled up with zeros.
    #[inline]
    #[target_feature(enable = "pclmulqdq,ssse3,avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    fn hash_aad(&self, aad: &[u8]) -> __m128i {
        let mut hash = load(&[0; AES_BLOCK_LEN]);
        for step in aad.chunks(STEP_LEN) {
            let blocks = step.len().div_ceil(AES_BLOCK_LEN);
            let mut sum = Sum::zero();
            for (vector, octets) in step.chunks(VECTOR_LEN).enumerate() {
                let mut data = reverse_all(masked(octets));
                if vector == 0 {
                    data = _mm512_xor_si512(data, widen(hash));
                }
                sum.add(data, self.powers_from(blocks - vector * WIDTH));
            }
            hash = sum.reduce();
        }
        hash
    }

    /// Four powers, the highest of them H^`exponent`. Behind H^1 come round keys.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn powers_from(&self, exponent: usize) -> __m512i {
        let index = POWERS - exponent;
        debug_assert!(index < POWERS);
        let start = (&raw const *self).cast::<[u8; AES_BLOCK_LEN]>();
        // SAFETY: `repr(C)`: powers and round keys lie one behind the other at the start of `self`, 36 blocks in all, and
        // a vector that begins with a power ends with block 24 at the latest.
        unsafe { _mm512_loadu_si512(start.add(index).cast()) }
    }
}

impl Drop for VaesGcm {
    fn drop(&mut self) {
        // SAFETY: octets may be zeros.
        unsafe {
            cleanse(&mut self.powers);
            cleanse(&mut self.keys);
        }
    }
}

/// Associated data of at most one vector that is not hashed yet.
#[derive(Clone, Copy)]
struct Head {
    blocks: __m512i,
    count: usize,
}

/// At most one vector of octets, filled up with zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn masked(octets: &[u8]) -> __m512i {
    // SAFETY: the mask lets through only as many octets as there are.
    unsafe { _mm512_maskz_loadu_epi8(mask(octets.len(), 0), octets.as_ptr().cast()) }
}

/// Products before reduction. Each has four columns, whose sum is meant.
struct Sum {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// Adds the products of four blocks with four powers.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn add(&mut self, blocks: __m512i, powers: __m512i) {
        let low = _mm512_clmulepi64_epi128::<0x00>(blocks, powers);
        let high = _mm512_clmulepi64_epi128::<0x11>(blocks, powers);
        let one = _mm512_clmulepi64_epi128::<0x01>(blocks, powers);
        let other = _mm512_clmulepi64_epi128::<0x10>(blocks, powers);
        self.low = _mm512_xor_si512(self.low, low);
        self.high = _mm512_xor_si512(self.high, high);
        // 0x96: the exclusive or of all three.
        self.middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, one, other);
    }

    /// The sum modulo the polynomial of GCM.
    #[inline]
    #[target_feature(enable = "pclmulqdq,ssse3,avx512f,avx512dq,avx512vl")]
    fn reduce(self) -> __m128i {
        let middle = fold(self.middle);
        let low = _mm_xor_si128(fold(self.low), _mm_slli_si128::<8>(middle));
        let high = _mm_xor_si128(fold(self.high), _mm_srli_si128::<8>(middle));
        // x^128 + x^127 + x^126 + x^121 + 1, reflected: what it adds below the top.
        let polynomial = _mm_set_epi64x(0xc200_0000_0000_0000_u64 as i64, 1);
        let once = _mm_xor_si128(
            _mm_shuffle_epi32::<0b01_00_11_10>(low),
            _mm_clmulepi64_si128::<0x10>(low, polynomial),
        );
        let twice = _mm_xor_si128(
            _mm_shuffle_epi32::<0b01_00_11_10>(once),
            _mm_clmulepi64_si128::<0x10>(once, polynomial),
        );
        _mm_xor_si128(high, twice)
    }
}

/// The exclusive or of the four columns.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn fold(columns: __m512i) -> __m128i {
    let half = _mm256_xor_si256(
        _mm512_castsi512_si256(columns),
        _mm512_extracti64x4_epi64::<1>(columns),
    );
    _mm_xor_si128(
        _mm256_castsi256_si128(half),
        _mm256_extracti128_si256::<1>(half),
    )
}

/// One block and three of zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(block: __m128i) -> __m512i {
    _mm512_zextsi128_si512(block)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn reverse_all(blocks: __m512i) -> __m512i {
    _mm512_shuffle_epi8(blocks, reversal())
}

#[inline]
#[target_feature(enable = "ssse3")]
fn reverse(block: __m128i) -> __m128i {
    let turn = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm_shuffle_epi8(block, turn)
}

/// Multiplies by x: one bit to the left, and the polynomial if a one fell out.
#[inline]
#[target_feature(enable = "sse2")]
fn shift(block: __m128i) -> __m128i {
    let carries = _mm_srli_epi64::<63>(block);
    let shifted = _mm_or_si128(_mm_slli_epi64::<1>(block), _mm_slli_si128::<8>(carries));
    // All ones if the highest bit is set.
    let fell_out = _mm_shuffle_epi32::<0xff>(_mm_srai_epi32::<31>(block));
    let polynomial = _mm_set_epi64x(0xc200_0000_0000_0000_u64 as i64, 1);
    _mm_xor_si128(shifted, _mm_and_si128(fell_out, polynomial))
}
