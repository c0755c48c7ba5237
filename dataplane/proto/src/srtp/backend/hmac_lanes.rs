//! HMAC-SHA1 of several messages at once.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "indices count the lanes, and the blocks that were counted before; lengths are those of slices in memory"
)]

use core::array::from_fn;

use super::SHA1_80_LEN;
use super::hmac::{BLOCK_BITS, DIGEST_LEN, HmacSha1, truncate};
use super::sha1::{self, BLOCK_LEN};

/// How many tags are made at once where the processor can.
pub(in crate::srtp) const LANES: usize = 4;

/// How long the second part of a message is: a rollover counter (RFC 3711 §4.2), in octets.
const SUFFIX_LEN: usize = 4;

/// The tags over `LANES` messages, each of two parts and with a key of its own; what [`HmacSha1::tag`] would say of each.
pub(in crate::srtp) fn tags(
    keys: [&HmacSha1; LANES],
    first: [&[u8]; LANES],
    second: [[u8; SUFFIX_LEN]; LANES],
) -> [[u8; SHA1_80_LEN]; LANES] {
    if !sha1::available() {
        return from_fn(|at| keys[at].tag(first[at], &second[at]));
    }
    let messages: [Message<'_>; LANES] = from_fn(|at| Message::new(first[at], second[at]));
    let inner = hash(keys.map(|key| key.inner), &messages);
    let digests = inner.map(octets);
    let messages: [Message<'_>; LANES] = from_fn(|at| Message::new(&digests[at], []));
    let outer = hash(keys.map(|key| key.outer), &messages);
    outer.map(|state| truncate(&octets(state)))
}

/// A message in blocks, as it follows a block with a key.
struct Message<'a> {
    whole: &'a [[u8; BLOCK_LEN]],
    /// What is left of the message and the end (RFC 3174 §4), in one or two blocks.
    rest: [[u8; BLOCK_LEN]; 2],
    blocks: usize,
}

impl<'a> Message<'a> {
    fn new<const S: usize>(first: &'a [u8], second: [u8; S]) -> Self {
        let (whole, left) = first.as_chunks::<BLOCK_LEN>();
        let mut rest = [[0; BLOCK_LEN]; 2];
        let octets = rest.as_flattened_mut();
        octets[..left.len()].copy_from_slice(left);
        octets[left.len()..][..S].copy_from_slice(&second);
        octets[left.len() + S] = 0x80;
        // One bit, and 64 of length, must fit behind.
        let bits = (first.len() + S) as u64 * 8 + u64::from(BLOCK_BITS);
        let rest_blocks = (left.len() + S + 1 + 8).div_ceil(BLOCK_LEN);
        if let Some((_, end)) = rest[..rest_blocks]
            .as_flattened_mut()
            .split_last_chunk_mut()
        {
            *end = bits.to_be_bytes();
        }
        Self {
            whole,
            rest,
            blocks: whole.len() + rest_blocks,
        }
    }

    #[inline]
    fn block(&self, at: usize) -> &[u8; BLOCK_LEN] {
        match self.whole.get(at) {
            Some(block) => block,
            None => &self.rest[at - self.whole.len()],
        }
    }
}

/// The states after the messages: all lanes at once for as long as the shortest lasts.
fn hash(mut states: [[u32; 5]; LANES], messages: &[Message<'_>; LANES]) -> [[u32; 5]; LANES] {
    let shared = messages.iter().map(|message| message.blocks).min();
    let shared = shared.unwrap_or_default();
    sha1::compress(&mut states, shared, |lane, at| messages[lane].block(at));
    for (message, state) in messages.iter().zip(&mut states) {
        let left = message.blocks - shared;
        if left > 0 {
            let state = core::array::from_mut(state);
            sha1::compress(state, left, |_, at| message.block(shared + at));
        }
    }
    states
}

fn octets(state: [u32; 5]) -> [u8; DIGEST_LEN] {
    let mut octets = [0; DIGEST_LEN];
    for (to, word) in octets.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> [HmacSha1; LANES] {
        from_fn(|lane| HmacSha1::new(&[lane as u8 + 1; 20]))
    }

    fn message(len: usize, lane: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (at * 13 + len * 7 + lane) as u8)
            .collect()
    }

    #[test]
    fn four_tags_at_once_are_four_tags_at_every_length() {
        let keys = keys();
        for len in 0..=1500 {
            let messages: [_; LANES] = from_fn(|lane| message(len, lane));
            let suffixes = from_fn(|lane| (len as u32 + lane as u32).to_be_bytes());
            let tags = tags(
                keys.each_ref(),
                messages.each_ref().map(Vec::as_slice),
                suffixes,
            );
            for lane in 0..LANES {
                let alone = keys[lane].tag(&messages[lane], &suffixes[lane]);
                assert_eq!(tags[lane], alone, "{len} octets in lane {lane}");
            }
        }
    }

    #[test]
    fn lanes_may_differ_in_length() {
        let keys = keys();
        for len in 0..=200 {
            let messages: [_; LANES] = from_fn(|lane| message(len * (lane * 5 % 4), lane));
            let suffixes = [[1, 2, 3, 4]; LANES];
            let tags = tags(
                keys.each_ref(),
                messages.each_ref().map(Vec::as_slice),
                suffixes,
            );
            for lane in 0..LANES {
                assert_eq!(tags[lane], keys[lane].tag(&messages[lane], &suffixes[lane]));
            }
        }
    }
}
