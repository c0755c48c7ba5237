//! Looks at everything that a node sends, knowing no keys.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use proto::demux::{self, Packet};
use proto::rtp::Header;
use proto::rtp::sequence::nearest;
use proto::srtp::Profile;

use crate::network::HostId;

/// The wire's view of the promise that no (key, SSRC, packet index) protects two different packets.
///
/// A host has one transport, so one key for each direction. The rollover counter is not on the wire; it is counted here, as
/// RFC 3711 Appendix A does.
#[derive(Default)]
pub struct Oracle {
    profiles: BTreeMap<HostId, Profile>,
    streams: HashMap<(HostId, bool, u32), Indices, FixedState>,
    hasher: FixedState,
    looked_at: u64,
}

#[derive(Default)]
struct Indices {
    highest: Option<u64>,
    /// By packet index, a hash of the packet.
    packets: HashMap<u64, u64, FixedState>,
}

impl Oracle {
    /// From now on protected packets may be sent to this host.
    pub fn expect(&mut self, host: HostId, profile: Profile) {
        self.profiles.insert(host, profile);
    }

    /// Protected packets seen so far.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Looks at a datagram that is sent to a host.
    ///
    /// # Panics
    /// If a packet is protected for somebody without keys, or an index returns with another packet.
    pub(crate) fn look(&mut self, host: HostId, datagram: &[u8]) {
        let is_rtcp = match demux::classify(datagram) {
            Packet::Rtp => false,
            Packet::Rtcp => true,
            Packet::Stun | Packet::Dtls => return,
            Packet::Other => panic!("a node sends what has no protocol: {datagram:?}"),
        };
        let profile = self.profiles.get(&host);
        let profile = *profile.expect("media go only to hosts that have keys");
        self.looked_at += 1;
        let (ssrc, number) = if is_rtcp {
            rtcp_index(datagram, profile)
        } else {
            let header = Header::parse(datagram).expect("a node sends RTP with a good header");
            (header.ssrc, u64::from(header.sequence))
        };
        let hash = self.hasher.hash_one(datagram);
        let indices = self.streams.entry((host, is_rtcp, ssrc)).or_default();
        let index = match indices.highest {
            Some(highest) if !is_rtcp => nearest(highest, number as u16),
            _ => number,
        };
        indices.highest = indices.highest.max(Some(index));
        let before = *indices.packets.entry(index).or_insert(hash);
        assert_eq!(
            before, hash,
            "index {index} of SSRC {ssrc:#x} towards {host:?} protects two packets"
        );
    }
}

/// The SSRC and the SRTCP index, which is at the end with AES-GCM and before the tag otherwise (RFC 7714 §9.2, RFC 3711 §3.4).
fn rtcp_index(datagram: &[u8], profile: Profile) -> (u32, u64) {
    let after = match profile {
        Profile::Aes128CmHmacSha1_80 => profile.tag_len(),
        _ => 0,
    };
    let word = |at: usize| {
        let bytes = datagram.get(at..at + 4).expect("SRTCP has a trailer");
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    };
    let at = datagram.len() - after - 4;
    let (encrypted, index) = (word(at) >> 31, word(at) & 0x7fff_ffff);
    assert_eq!(encrypted, 1, "RTCP is always encrypted");
    (word(4), u64::from(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(sequence: u16, last: u8) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        vec![0x80, 96, high, low, 0, 0, 0, 0, 0, 0, 0, 7, last]
    }

    fn oracle() -> Oracle {
        let mut oracle = Oracle::default();
        oracle.expect(HostId(0), Profile::AeadAes128Gcm);
        oracle
    }

    #[test]
    fn a_number_may_return_in_the_next_round() {
        let mut oracle = oracle();
        for index in (0..80_000_u32).step_by(10_000) {
            oracle.look(HostId(0), &rtp(index as u16, index as u8));
            oracle.look(HostId(0), &rtp(index as u16, index as u8));
        }
        assert_eq!(oracle.looked_at(), 16);
    }

    #[test]
    #[should_panic(expected = "protects two packets")]
    fn an_index_may_not_return_with_another_packet() {
        let mut oracle = oracle();
        oracle.look(HostId(0), &rtp(5, 1));
        oracle.look(HostId(0), &rtp(6, 1));
        oracle.look(HostId(0), &rtp(5, 2));
    }

    #[test]
    #[should_panic(expected = "only to hosts that have keys")]
    fn nobody_without_keys_is_sent_media() {
        oracle().look(HostId(1), &rtp(5, 1));
    }
}
