//! The same packets through `webrtc-srtp`, an implementation that shares no code with ours.

use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::super::{Inbound, MasterKey, Outbound, Profile};
use super::{header, keying, pair, payload, rtcp, unprotect, unprotect_rtcp};

const MAX_PAYLOAD: usize = 1300;
const SSRC: u32 = 0x8001_fffe;

fn theirs(master: &MasterKey) -> Context {
    let profile = match master.profile() {
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(master.key(), master.salt(), profile, None, None).unwrap()
}

#[test]
fn rtp_of_every_length_is_the_same_octet_by_octet() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let (mut sender, mut receiver) = (
            theirs(&keying(profile).local),
            theirs(&keying(profile).local),
        );
        // The sequence number wraps on the way.
        for len in 0..=MAX_PAYLOAD {
            let index = 65_000 + len as u64;
            let header = header(SSRC, index as u16, len);
            let body = payload(len);
            let plain = [header.clone(), body.clone()].concat();
            let (prefix, rest) = body.split_at(if len % 3 == 0 { 0 } else { len.min(len % 17) });
            let mut out = vec![0; plain.len() + profile.rtp_overhead()];
            let sent = outbound.protect_rtp(index, SSRC, &header, prefix, rest, &mut out);
            assert_eq!(sent, Ok(out.len()));

            let reference = sender.encrypt_rtp(&plain).unwrap();
            assert_eq!(out, reference, "{profile} {len}");
            assert_eq!(
                receiver.decrypt_rtp(&out).unwrap(),
                plain,
                "{profile} {len}"
            );
            let ours = unprotect(&mut inbound, &reference, header.len()).unwrap();
            assert_eq!(ours, (plain, index), "{profile} {len}");
        }
    }
}

#[test]
fn rtcp_of_every_length_crosses_both_ways() {
    for profile in Profile::ALL {
        let (mut outbound, mut inbound) = pair(profile);
        let (mut sender, mut receiver) = (
            theirs(&keying(profile).local),
            theirs(&keying(profile).local),
        );
        for len in 8..=MAX_PAYLOAD {
            let plain = rtcp(SSRC, len);
            let mut out = vec![0; len + profile.rtcp_overhead()];
            assert_eq!(outbound.protect_rtcp(&plain, &mut out), Ok(out.len()));
            assert_eq!(
                receiver.decrypt_rtcp(&out).unwrap(),
                plain,
                "{profile} {len}"
            );
            let reference = sender.encrypt_rtcp(&plain).unwrap();
            assert_eq!(reference.len(), out.len());
            let ours = unprotect_rtcp(&mut inbound, &reference).unwrap();
            assert_eq!(ours, plain, "{profile} {len}");
        }
    }
}

#[test]
fn both_agree_on_the_index_when_packets_cross_the_wrap_out_of_order() {
    let order = [
        65_530u64, 65_533, 65_531, 65_537, 65_535, 65_534, 65_536, 65_532, 65_540, 65_538, 131_060,
        131_072, 131_071, 131_075, 131_070,
    ];
    for profile in Profile::ALL {
        let master = keying(profile).local;
        let mut outbound = Outbound::new(&master).unwrap();
        let mut inbound = Inbound::new(&master).unwrap();
        let mut receiver = theirs(&master);
        // Steps of less than 2^15 keep every index unambiguous.
        let bridge = (65_541..131_060).step_by(30_000);
        let order = order[..10]
            .iter()
            .copied()
            .chain(bridge)
            .chain(order[10..].iter().copied());
        for index in order {
            let header = header(SSRC, index as u16, 0);
            let plain = [header.clone(), payload(50)].concat();
            let mut out = vec![0; plain.len() + profile.rtp_overhead()];
            outbound
                .protect_rtp(index, SSRC, &header, &[], &plain[12..], &mut out)
                .unwrap();
            assert_eq!(
                receiver.decrypt_rtp(&out).unwrap(),
                plain,
                "{profile} {index}"
            );
            assert_eq!(unprotect(&mut inbound, &out, 12), Ok((plain, index)));
        }
    }
}
