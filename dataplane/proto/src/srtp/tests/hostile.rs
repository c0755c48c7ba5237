//! What strangers send: forgeries, replays, fragments of packets.

use proptest::prelude::*;

use super::super::fuzz::fuzz_unprotect;
use super::super::transform::ENCRYPTED_FLAG;
use super::super::{Inbound, MAX_INBOUND_SOURCES, Profile, RTP_REPLAY_WINDOW, Reject};
use super::{
    header, keying, pair, payload, protect, protect_rtcp, rtcp, unprotect, unprotect_rtcp,
};

const SSRC: u32 = 0x1234_5678;

#[test]
fn every_flipped_bit_of_an_rtp_packet_is_noticed_and_moves_nothing() {
    for profile in Profile::ALL {
        for known in [false, true] {
            let (mut outbound, mut inbound) = pair(profile);
            if known {
                let first = protect(&mut outbound, SSRC, 100, &payload(10));
                unprotect(&mut inbound, &first, 12).unwrap();
            }
            let head = header(SSRC, 101, 5);
            let mut packet = vec![0; head.len() + 33 + profile.rtp_overhead()];
            outbound
                .protect_rtp(101, SSRC, &head, &[], &payload(33), &mut packet)
                .unwrap();
            for bit in 0..packet.len() * 8 {
                let mut forged = packet.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    unprotect(&mut inbound, &forged, head.len()).is_err(),
                    "{profile} {bit}"
                );
                assert_eq!(inbound.source_count(), usize::from(known));
            }
            let (plain, index) = unprotect(&mut inbound, &packet, head.len()).unwrap();
            assert_eq!((plain, index), ([head, payload(33)].concat(), 101));
        }
    }
}

#[test]
fn every_flipped_bit_of_an_rtcp_packet_is_noticed() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let plain = rtcp(SSRC, 32);
        let packet = protect_rtcp(&mut outbound, &plain);
        for bit in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let outcome = unprotect_rtcp(&mut inbound, &forged);
            assert_eq!(outcome, Err(Reject::Unauthentic), "{profile} {bit}");
        }
        assert_eq!(unprotect_rtcp(&mut inbound, &packet), Ok(plain));
    }
}

/// A BYE with E = 0 and a made-up tag, which other implementations let through.
#[test]
fn forged_rtcp_in_clear_is_refused() {
    for profile in Profile::ALL {
        let (_, mut inbound) = pair(profile);
        let mut forged = vec![0x81, 203, 0, 1];
        forged.extend(SSRC.to_be_bytes());
        forged.resize(8 + profile.rtcp_overhead(), 0);
        let outcome = unprotect_rtcp(&mut inbound, &forged);
        assert_eq!(outcome, Err(Reject::Unauthentic));
    }
}

/// An encrypted packet whose E flag is cleared must not pass for one in clear, nor the other way round.
#[test]
fn the_e_flag_is_authenticated() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let mut packet = protect_rtcp(&mut outbound, &rtcp(SSRC, 28));
        let word_at = match profile {
            Profile::Aes128CmHmacSha1_80 => packet.len() - 14,
            _ => packet.len() - 4,
        };
        packet[word_at] ^= (ENCRYPTED_FLAG >> 24) as u8;
        let outcome = unprotect_rtcp(&mut inbound, &packet);
        assert_eq!(outcome, Err(Reject::Unauthentic));
    }
}

/// An authentic packet in clear is let in, once.
#[test]
fn authentic_rtcp_in_clear_is_read() {
    use super::super::backend::HmacSha1;
    use super::super::kdf::{Use, derive};

    let keys = keying(Profile::Aes128CmHmacSha1_80);
    let session = derive(&keys.local, Use::Rtcp).unwrap();
    let plain = rtcp(SSRC, 28);
    let mut packet = plain.clone();
    packet.extend(7u32.to_be_bytes());
    let tag = HmacSha1::new(session.authentication.as_slice()).tag(&packet, &[]);
    packet.extend(tag);
    let mut inbound = Inbound::new(&keys.local).unwrap();
    assert_eq!(unprotect_rtcp(&mut inbound, &packet), Ok(plain));
    let again = unprotect_rtcp(&mut inbound, &packet);
    assert_eq!(again, Err(Reject::Replayed));
}

#[test]
fn forged_packets_far_ahead_do_not_move_the_index() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        for index in 60_000..60_010 {
            let packet = protect(&mut outbound, SSRC, index, &payload(20));
            unprotect(&mut inbound, &packet, 12).unwrap();
        }
        for sequence in (0..=u16::MAX).step_by(97) {
            let forged = [header(SSRC, sequence, 0), payload(40)].concat();
            let outcome = unprotect(&mut inbound, &forged, 12);
            assert!(outcome.is_err());
            assert_ne!(outcome, Err(Reject::TooManySources));
        }
        let next = protect(&mut outbound, SSRC, 60_010, &payload(20));
        assert_eq!(unprotect(&mut inbound, &next, 12).unwrap().1, 60_010);
    }
}

#[test]
fn forged_sources_leave_no_state_and_authentic_ones_are_bounded() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        for ssrc in 0..2000 {
            let forged = [header(ssrc, 1, 0), payload(40)].concat();
            assert_eq!(
                unprotect(&mut inbound, &forged, 12),
                Err(Reject::Unauthentic)
            );
            let forged = rtcp(ssrc, 60);
            assert_eq!(
                unprotect_rtcp(&mut inbound, &forged),
                Err(Reject::Unauthentic)
            );
        }
        assert_eq!(inbound.source_count(), 0);
        for ssrc in 0..MAX_INBOUND_SOURCES as u32 + 10 {
            let expected = (ssrc >= MAX_INBOUND_SOURCES as u32).then_some(Reject::TooManySources);
            let packet = protect(&mut outbound, ssrc, 1, &payload(5));
            assert_eq!(unprotect(&mut inbound, &packet, 12).err(), expected);
            let packet = protect_rtcp(&mut outbound, &rtcp(ssrc, 8));
            assert_eq!(unprotect_rtcp(&mut inbound, &packet).err(), expected);
        }
        assert_eq!(inbound.source_count(), MAX_INBOUND_SOURCES);
        inbound.forget(3);
        let packet = protect(&mut outbound, 9999, 1, &payload(5));
        assert!(unprotect(&mut inbound, &packet, 12).is_ok());
    }
}

#[test]
fn replays_are_refused_up_to_the_edge_of_the_window_and_beyond() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let base = 10_000;
        let old = protect(&mut outbound, SSRC, base, &payload(5));
        let edge = protect(&mut outbound, SSRC, base + 1, &payload(5));
        let held = protect(&mut outbound, SSRC, base + 2, &payload(5));
        unprotect(&mut inbound, &old, 12).unwrap();
        unprotect(&mut inbound, &edge, 12).unwrap();
        assert_eq!(unprotect(&mut inbound, &old, 12), Err(Reject::Replayed));

        let highest = protect(&mut outbound, SSRC, base + RTP_REPLAY_WINDOW, &payload(5));
        unprotect(&mut inbound, &highest, 12).unwrap();
        assert_eq!(unprotect(&mut inbound, &highest, 12), Err(Reject::Replayed));
        assert_eq!(unprotect(&mut inbound, &old, 12), Err(Reject::TooOld));
        assert_eq!(unprotect(&mut inbound, &edge, 12), Err(Reject::Replayed));
        assert!(unprotect(&mut inbound, &held, 12).is_ok());
        assert_eq!(unprotect(&mut inbound, &held, 12), Err(Reject::Replayed));
    }
}

#[test]
fn rtcp_is_not_replayed_and_a_late_one_is_let_in() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let packets: Vec<_> = (0..200)
            .map(|_| protect_rtcp(&mut outbound, &rtcp(SSRC, 28)))
            .collect();
        for at in [1usize, 0, 130, 3] {
            assert!(unprotect_rtcp(&mut inbound, &packets[at]).is_ok());
            assert_eq!(
                unprotect_rtcp(&mut inbound, &packets[at]),
                Err(Reject::Replayed)
            );
        }
        assert_eq!(
            unprotect_rtcp(&mut inbound, &packets[2]),
            Err(Reject::TooOld)
        );
    }
}

#[test]
fn what_was_forgotten_cannot_be_played_again() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let mut seen = Vec::new();
        for index in 65_500..65_600 {
            let packet = protect(&mut outbound, SSRC, index, &payload(5));
            unprotect(&mut inbound, &packet, 12).unwrap();
            seen.push(packet);
        }
        let report = protect_rtcp(&mut outbound, &rtcp(SSRC, 28));
        unprotect_rtcp(&mut inbound, &report).unwrap();
        inbound.forget(SSRC);
        assert_eq!(inbound.source_count(), 0);
        for packet in &seen {
            assert!(unprotect(&mut inbound, packet, 12).is_err());
        }
        assert_eq!(unprotect_rtcp(&mut inbound, &report), Err(Reject::TooOld));
        assert_eq!(inbound.source_count(), 0);
        // The stream goes on where it was, in its second turn.
        let next = protect(&mut outbound, SSRC, 65_601, &payload(5));
        assert_eq!(unprotect(&mut inbound, &next, 12).unwrap().1, 65_601);
        assert_eq!(
            unprotect(&mut inbound, &seen[99], 12),
            Err(Reject::Replayed)
        );
    }
}

#[test]
fn lengths_are_checked_first() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = protect(&mut outbound, SSRC, 5, &[]);
        assert_eq!(packet.len(), 12 + profile.rtp_overhead());
        for len in 12..packet.len() {
            assert_eq!(
                unprotect(&mut inbound, &packet[..len], 12),
                Err(Reject::TooShort)
            );
        }
        for header_len in [0, 11, 13, usize::MAX] {
            assert_eq!(
                unprotect(&mut inbound, &packet, header_len),
                Err(Reject::TooShort)
            );
        }
        assert!(unprotect(&mut inbound, &packet, 12).is_ok());
        let packet = protect_rtcp(&mut outbound, &rtcp(SSRC, 8));
        for len in 0..packet.len() {
            assert_eq!(
                unprotect_rtcp(&mut inbound, &packet[..len]),
                Err(Reject::TooShort)
            );
        }
        assert!(unprotect_rtcp(&mut inbound, &packet).is_ok());
    }
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(
        kind in 0..3usize,
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..41), 1..50),
    ) {
        let (_, mut inbound) = pair(Profile::ALL[kind]);
        for packet in packets {
            prop_assert!(unprotect_rtcp(&mut inbound, &packet).is_err());
            if packet.len() >= 12 {
                for header_len in [12, 16, 40] {
                    prop_assert!(unprotect(&mut inbound, &packet, header_len).is_err());
                }
            }
        }
        prop_assert_eq!(inbound.source_count(), 0);
    }

    #[test]
    fn the_fuzz_target_takes_anything(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_unprotect(&data);
    }
}

/// Packets of a lower layer can hold more than a datagram usually does.
#[test]
fn long_packets_pass() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = protect(&mut outbound, SSRC, 5, &payload(9000));
        assert_eq!(
            unprotect(&mut inbound, &packet, 12).unwrap().0[12..],
            payload(9000)
        );
        let packet = protect_rtcp(&mut outbound, &rtcp(SSRC, 9000));
        assert_eq!(unprotect_rtcp(&mut inbound, &packet), Ok(rtcp(SSRC, 9000)));
    }
}
