//! What the sending side refuses, and the cost in memory.

use proptest::prelude::*;

use super::super::backend::counting::allocations;
use super::super::{
    Inbound, MAX_OUTBOUND_SOURCES, MAX_RTP_INDEX, Outbound, OutboundRtcp, Profile, RTP_SENT_WINDOW,
    Refusal, Reject,
};
use super::{header, keying, pair, payload, protect, protect_rtcp, rtcp, unprotect};

const SSRC: u32 = 77;

fn try_protect(outbound: &mut Outbound, ssrc: u32, index: u64) -> Result<usize, Refusal> {
    let mut out = [0; 100];
    outbound.protect_rtp(
        index,
        ssrc,
        &header(ssrc, index as u16, 0),
        &[],
        &[1; 9],
        &mut out,
    )
}

#[test]
fn no_index_is_encrypted_twice() {
    for profile in Profile::ALL {
        let (mut outbound, _) = pair(profile);
        assert!(try_protect(&mut outbound, SSRC, 5000).is_ok());
        assert_eq!(
            try_protect(&mut outbound, SSRC, 5000),
            Err(Refusal::Repeated)
        );
        assert!(try_protect(&mut outbound, SSRC, 4998).is_ok());
        assert!(try_protect(&mut outbound, SSRC, 4999 + RTP_SENT_WINDOW).is_ok());
        assert_eq!(
            try_protect(&mut outbound, SSRC, 5000),
            Err(Refusal::Repeated)
        );
        assert_eq!(try_protect(&mut outbound, SSRC, 4999), Err(Refusal::TooOld));
        // The same sequence number with another ROC, or in another RTP stream, is another index.
        assert!(try_protect(&mut outbound, SSRC, 5000 + 65_536).is_ok());
        assert!(try_protect(&mut outbound, SSRC + 1, 5000).is_ok());
    }
}

#[test]
fn refusals_have_names_and_use_no_index() {
    for profile in Profile::ALL {
        let (mut outbound, _) = pair(profile);
        let head = header(SSRC, 9, 0);
        let body = [1; 9];
        let mut out = [0; 100];
        let exact = 12 + 9 + profile.rtp_overhead();
        let mut protect = |index, ssrc, head: &[u8], prefix: &[u8], out: &mut [u8]| {
            outbound.protect_rtp(index, ssrc, head, prefix, &body, out)
        };
        let small = protect(9, SSRC, &head, &[], &mut out[..exact - 1]);
        assert_eq!(small, Err(Refusal::BufferTooSmall));
        let short = protect(9, SSRC, &head[..11], &[], &mut out);
        assert_eq!(short, Err(Refusal::TooShort));
        for (index, ssrc) in [(10, SSRC), (9, SSRC + 1)] {
            let mismatch = protect(index, ssrc, &head, &[], &mut out);
            assert_eq!(mismatch, Err(Refusal::HeaderMismatch));
        }
        let long = protect(9, SSRC, &head, &[0; 17], &mut out);
        assert_eq!(long, Err(Refusal::PrefixTooLong));
        let beyond = protect(MAX_RTP_INDEX + 10, SSRC, &head, &[], &mut out);
        assert_eq!(beyond, Err(Refusal::IndexExhausted));
        assert_eq!(protect(9, SSRC, &head, &[], &mut out[..exact]), Ok(exact));
        assert_eq!(
            protect(9 + 65_536, SSRC, &head, &[0; 16], &mut out),
            Ok(exact + 16)
        );

        let short = outbound.protect_rtcp(&[0; 7], &mut out);
        assert_eq!(short, Err(Refusal::TooShort));
        let small = outbound.protect_rtcp(&[0; 8], &mut out[..8 + profile.rtcp_overhead() - 1]);
        assert_eq!(small, Err(Refusal::BufferTooSmall));
    }
}

#[test]
fn sources_are_bounded() {
    let (mut outbound, _) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..MAX_OUTBOUND_SOURCES as u32 {
        assert!(try_protect(&mut outbound, ssrc, 0).is_ok());
    }
    let one_more = try_protect(&mut outbound, u32::MAX, 0);
    assert_eq!(one_more, Err(Refusal::TooManySources));
    assert!(try_protect(&mut outbound, 5, 1).is_ok());
    assert_eq!(outbound.source_count(), MAX_OUTBOUND_SOURCES);
}

#[test]
fn the_last_indices_of_a_key_are_used_and_none_after() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let packet = protect(&mut outbound, SSRC, 3, &payload(4));
        unprotect(&mut inbound, &packet, 12).unwrap();
        assert!(try_protect(&mut outbound, SSRC, MAX_RTP_INDEX).is_ok());
        let after = try_protect(&mut outbound, SSRC, MAX_RTP_INDEX + 1);
        assert_eq!(after, Err(Refusal::IndexExhausted));

        outbound.rtcp.next_index = (1 << 31) - 1;
        let mut out = [0; 100];
        assert!(outbound.protect_rtcp(&rtcp(SSRC, 8), &mut out).is_ok());
        for _ in 0..2 {
            let after = outbound.protect_rtcp(&rtcp(SSRC, 8), &mut out);
            assert_eq!(after, Err(Refusal::IndexExhausted));
        }
    }
}

#[test]
fn rtcp_of_all_sources_shares_one_growing_index() {
    let (mut outbound, mut inbound) = pair(Profile::AeadAes256Gcm);
    for index in 0..300u32 {
        let packet = protect_rtcp(&mut outbound, &rtcp(index % 3, 28));
        let word = u32::from_be_bytes(*packet.last_chunk().unwrap());
        assert_eq!(word, 1 << 31 | index);
        assert!(super::unprotect_rtcp(&mut inbound, &packet).is_ok());
    }
}

#[test]
fn rtp_is_let_in_only_where_it_is_expected() {
    for profile in Profile::ALL {
        let keys = keying(profile);
        let mut outbound = Outbound::new(&keys.local).unwrap();
        let mut inbound = Inbound::for_rtcp(&keys.mirrored().remote).unwrap();
        let packet = protect(&mut outbound, SSRC, 7, &payload(100));
        let report = protect_rtcp(&mut outbound, &rtcp(SSRC, 60));
        assert_eq!(
            unprotect(&mut inbound, &packet, 12),
            Err(Reject::Unexpected)
        );
        assert_eq!(
            super::unprotect_rtcp(&mut inbound, &report),
            Ok(rtcp(SSRC, 60))
        );
        inbound.expect_rtp().unwrap();
        assert!(unprotect(&mut inbound, &packet, 12).is_ok());
        assert_eq!(inbound.source_count(), 1);
        inbound.expect_rtp().unwrap();
        let again = unprotect(&mut inbound, &packet, 12);
        assert_eq!(again, Err(Reject::Replayed), "nothing is forgotten");
    }
}

#[test]
fn a_context_for_rtcp_is_small() {
    assert!(size_of::<Inbound>() <= 320, "{}", size_of::<Inbound>());
    assert!(size_of::<OutboundRtcp>() <= 80);
}

#[test]
fn no_packet_costs_an_allocation() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let head = header(SSRC, 0, 0);
        let mut heads: Vec<_> = (0..100u16).map(|_| head.clone()).collect();
        let body = payload(1100);
        let report = rtcp(SSRC, 60);
        let mut out = [0; 1500];
        let before = allocations();
        for (index, head) in heads.iter_mut().enumerate() {
            let prefix: &[u8] = if index % 2 == 0 { &[] } else { &[1, 2] };
            head[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            let len = outbound
                .protect_rtp(index as u64, SSRC, head, prefix, &body, &mut out)
                .unwrap();
            inbound
                .unprotect_rtp(&mut out[..len], 12, SSRC, index as u16)
                .unwrap();
            let len = outbound.protect_rtcp(&report, &mut out).unwrap();
            inbound.unprotect_rtcp(&mut out[..len]).unwrap();
            assert!(inbound.unprotect_rtcp(&mut out[..len]).is_err());
        }
        assert_eq!(allocations(), before, "{profile}");
        // That the count counts.
        drop(std::hint::black_box(vec![0u8; 64]));
        assert_eq!(allocations(), before + 1);
    }
}

proptest! {
    /// Whatever the caller asks for, in whatever order, what is encrypted are distinct (SSRC, index).
    #[test]
    fn encrypted_indices_are_distinct(
        requests in prop::collection::vec((0..3u32, 0..2600u64), 1..400),
    ) {
        let mut outbound = Outbound::new(&keying(Profile::AeadAes128Gcm).local).unwrap();
        let mut sent = std::collections::HashSet::new();
        for (ssrc, offset) in requests {
            let index = 64_000 + offset;
            match try_protect(&mut outbound, ssrc, index) {
                Ok(_) => prop_assert!(sent.insert((ssrc, index))),
                Err(Refusal::Repeated) => prop_assert!(sent.contains(&(ssrc, index))),
                Err(refusal) => prop_assert_eq!(refusal, Refusal::TooOld),
            }
        }
    }
}
