//! Tests of SRTP as a whole: vectors of the RFCs, a second implementation, hostile input, and the bounds.

mod differential;
mod hostile;
mod limits;
mod reordering;
mod slab;
mod vectors;

use super::{Inbound, KeyingMaterial, MasterKey, Outbound, Profile, Reject};

/// Keys that differ in every octet and direction.
fn keying(profile: Profile) -> KeyingMaterial {
    let exported: Vec<u8> = (0..profile.exporter_len() as u8)
        .map(|octet| octet.wrapping_mul(37).wrapping_add(11))
        .collect();
    KeyingMaterial::from_exporter(profile, &exported, true).unwrap()
}

/// A sender and the receiver at the other end.
fn pair(profile: Profile) -> (Outbound, Inbound) {
    let keys = keying(profile);
    (
        Outbound::new(&keys.local).unwrap(),
        Inbound::new(&keys.mirrored().remote).unwrap(),
    )
}

/// An RTP header: `variant` & 3 CSRCs, and a header extension if bit 2 is set.
fn header(ssrc: u32, sequence: u16, variant: usize) -> Vec<u8> {
    let csrcs = variant & 3;
    let extended = variant & 4 != 0;
    let mut header = vec![0x80 | csrcs as u8 | if extended { 0x10 } else { 0 }, 0xe0];
    header.extend(sequence.to_be_bytes());
    header.extend(0x0102_0304u32.to_be_bytes());
    header.extend(ssrc.to_be_bytes());
    for csrc in 0..csrcs {
        header.extend((0xc0c0_0000u32 + csrc as u32).to_be_bytes());
    }
    if extended {
        // One-byte elements (RFC 8285 §4.2): id 1 with two octets, id 2 with one, three octets of padding.
        header.extend([0xbe, 0xde, 0, 2, 0x11, 0xaa, 0xbb, 0x20, 0xcc, 0, 0, 0]);
    }
    header
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + len) as u8).collect()
}

/// An RTCP packet of `len` octets, at least 8: a sender report by its type.
fn rtcp(ssrc: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 200];
    packet.extend(((len / 4).saturating_sub(1) as u16).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload(len - 8));
    packet
}

/// Protects one packet of the plain kind.
fn protect(outbound: &mut Outbound, ssrc: u32, index: u64, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 12 + body.len() + outbound.profile().rtp_overhead()];
    let header = header(ssrc, index as u16, 0);
    let len = outbound.protect_rtp(index, ssrc, &header, &[], body, &mut out);
    assert_eq!(len, Ok(out.len()));
    out
}

fn protect_rtcp(outbound: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0; packet.len() + outbound.profile().rtcp_overhead()];
    assert_eq!(outbound.protect_rtcp(packet, &mut out), Ok(out.len()));
    out
}

/// Unprotects a copy, taking SSRC and sequence number from the packet as the engine does.
fn unprotect(
    inbound: &mut Inbound,
    packet: &[u8],
    header_len: usize,
) -> Result<(Vec<u8>, u64), Reject> {
    let mut copy = packet.to_vec();
    let sequence = u16::from_be_bytes(*packet[2..].first_chunk().unwrap());
    let ssrc = u32::from_be_bytes(*packet[8..].first_chunk().unwrap());
    let (len, index) = inbound.unprotect_rtp(&mut copy, header_len, ssrc, sequence)?;
    copy.truncate(len);
    Ok((copy, index))
}

fn unprotect_rtcp(inbound: &mut Inbound, packet: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut copy = packet.to_vec();
    let len = inbound.unprotect_rtcp(&mut copy)?;
    copy.truncate(len);
    Ok(copy)
}

#[test]
fn exporter_output_is_split_in_the_order_of_rfc_5764() {
    for profile in Profile::ALL {
        let exported: Vec<u8> = (0..profile.exporter_len() as u8).collect();
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let client = KeyingMaterial::from_exporter(profile, &exported, true).unwrap();
        assert_eq!(client.local.key(), &exported[..key]);
        assert_eq!(client.remote.key(), &exported[key..2 * key]);
        assert_eq!(client.local.salt(), &exported[2 * key..2 * key + salt]);
        assert_eq!(client.remote.salt(), &exported[2 * key + salt..]);
        let server = KeyingMaterial::from_exporter(profile, &exported, false).unwrap();
        assert_eq!(server, client.mirrored());
        assert!(KeyingMaterial::from_exporter(profile, &exported[1..], false).is_err());
        assert!(MasterKey::new(profile, &exported[..key + 1], &exported[..salt]).is_err());
    }
}

#[test]
fn keys_are_not_printed() {
    let keys = keying(Profile::AeadAes128Gcm);
    assert_eq!(
        format!("{:?}", keys.local),
        "MasterKey { profile: AeadAes128Gcm, .. }"
    );
}

#[test]
fn registry_numbers_lead_back() {
    for profile in Profile::ALL {
        assert_eq!(Profile::from_id(profile.id()), Some(profile));
    }
    assert_eq!(Profile::from_id(2), None);
}
