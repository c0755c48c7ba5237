//! The body of the fuzz target for what strangers can send.

use super::{Inbound, MasterKey, Profile};

/// Feeds arbitrary octets to the receiving side, which must not panic. The first octet chooses the profile; then come
/// packets, each after an octet that says whether it is RTP or RTCP and an octet for its length.
#[doc(hidden)]
pub fn fuzz_unprotect(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let choice = usize::from(*choice).checked_rem(Profile::ALL.len());
    let Some(profile) = choice.and_then(|choice| Profile::ALL.get(choice).copied()) else {
        return;
    };
    let key = [0x5a; super::MAX_KEY_LEN];
    let (key, _) = key.split_at(profile.key_len());
    let salt = [0xa5; super::MAX_SALT_LEN];
    let (salt, _) = salt.split_at(profile.salt_len());
    let inbound = MasterKey::new(profile, key, salt).and_then(|master| Inbound::new(&master));
    let mut inbound = inbound.expect("lengths were taken from the profile");

    while let Some(([kind, len], after)) = rest.split_first_chunk() {
        let (packet, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let mut packet = packet.to_vec();
        if kind & 1 == 0 {
            let _ = inbound.unprotect_rtcp(&mut packet);
            continue;
        }
        let sequence = packet.get(2..4).and_then(|octets| octets.first_chunk());
        let ssrc = packet.get(8..12).and_then(|octets| octets.first_chunk());
        let sequence = u16::from_be_bytes(sequence.copied().unwrap_or_default());
        let ssrc = u32::from_be_bytes(ssrc.copied().unwrap_or_default());
        let header_len = 12usize.saturating_add(usize::from(kind >> 1));
        let _ = inbound.unprotect_rtp(&mut packet, header_len, ssrc, sequence);
    }
}
