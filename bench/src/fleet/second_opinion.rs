use bytes::Bytes;
use proto::srtp::{MasterKey, Profile};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

/// Sequence numbers of which the second begins the next cycle (RFC 3711 §3.3.1).
const ACROSS: [u16; 2] = [0xc000, 0];

/// Decrypts a sample of what a subscriber gets, with an implementation of SRTP that shares no line with the node's.
///
/// It keeps no replay window, because it sees some packets only; of the rollover counter it loses track only if a whole cycle
/// of sequence numbers passes without a sample, or the first packet of a stream that got through is of its second cycle. Where it is
/// known that most do not get through, it tries that too.
pub(super) struct SecondOpinion {
    context: Context,
    /// What contexts for streams in their second cycle are made of; none where all packets get through.
    key: Option<MasterKey>,
    /// These contexts, by SSRC.
    ahead: Vec<(u32, Context)>,
}

impl SecondOpinion {
    /// Of what the forwarder sends under `key`; `None` if the library does not take it. `sampled`: only few packets get through.
    pub(super) fn new(key: &MasterKey, sampled: bool) -> Option<Self> {
        Some(Self {
            context: context(key)?,
            key: sampled.then(|| key.clone()),
            ahead: Vec::new(),
        })
    }

    /// The plain packet, header included; `None` if it is not authentic.
    pub(super) fn decrypt(&mut self, packet: &[u8]) -> Option<Bytes> {
        let ssrc = u32::from_be_bytes(packet.get(8..12)?.try_into().ok()?);
        let ahead = self.ahead.iter_mut().find(|(known, _)| *known == ssrc);
        if let Some((_, context)) = ahead {
            return context.decrypt_rtp(packet).ok();
        }
        if let Ok(plain) = self.context.decrypt_rtp(packet) {
            return Some(plain);
        }
        let mut context = a_cycle_ahead(self.key.as_ref()?, ssrc)?;
        let plain = context.decrypt_rtp(packet).ok()?;
        self.ahead.push((ssrc, context));
        Some(plain)
    }
}

/// A profile as `webrtc-srtp` calls it.
pub(crate) fn protection_profile(profile: Profile) -> ProtectionProfile {
    match profile {
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    }
}

fn context(key: &MasterKey) -> Option<Context> {
    let profile = protection_profile(key.profile());
    Context::new(key.key(), key.salt(), profile, None, None).ok()
}

/// A context that has seen the first cycle of a stream go by. It can't be told so, but it believes packets that it has made itself.
fn a_cycle_ahead(key: &MasterKey, ssrc: u32) -> Option<Context> {
    let mut context = context(key)?;
    for sequence in ACROSS {
        let mut packet = [0; 13];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        context.encrypt_rtp(&packet).ok()?;
    }
    Some(context)
}

impl core::fmt::Debug for SecondOpinion {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("SecondOpinion")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::rtp::{Fields, write_header};
    use proto::srtp::Outbound;

    fn key(profile: Profile) -> MasterKey {
        MasterKey::new(
            profile,
            &[7; 32][..profile.key_len()],
            &[3; 14][..profile.salt_len()],
        )
        .unwrap()
    }

    /// The packet of this index (RFC 3711 §3.3.1).
    fn protected(ours: &mut Outbound, index: u64, ssrc: u32) -> Vec<u8> {
        let fields = Fields {
            sequence: index as u16,
            ssrc,
            ..Fields::default()
        };
        let (mut header, mut packet) = ([0; 12], [0; 200]);
        write_header(&mut header, &fields, &[]).unwrap();
        let len = ours
            .protect_rtp(index, ssrc, &header, &[], b"payload", &mut packet)
            .unwrap();
        packet[..len].to_vec()
    }

    #[test]
    fn the_right_key_decrypts_and_a_flipped_byte_is_noticed() {
        for profile in Profile::ALL {
            let key = key(profile);
            let mut ours = Outbound::new(&key).unwrap();
            let mut theirs = SecondOpinion::new(&key, false).unwrap();
            for index in [65_000_u64, 65_530, 65_540, 65_700] {
                let mut packet = protected(&mut ours, index, 9);
                packet[13] ^= 1;
                assert_eq!(theirs.decrypt(&packet), None, "{profile} {index}");
                packet[13] ^= 1;
                let plain = theirs.decrypt(&packet).unwrap();
                assert_eq!(&plain[12..], b"payload", "{profile} {index}");
            }
        }
    }

    #[test]
    fn who_gets_few_packets_may_miss_the_whole_first_cycle() {
        for profile in Profile::ALL {
            let key = key(profile);
            let mut ours = Outbound::new(&key).unwrap();
            let mut all = SecondOpinion::new(&key, false).unwrap();
            let mut few = SecondOpinion::new(&key, true).unwrap();
            for (index, ssrc) in [
                (5, 8),
                (65_540, 9),
                (65_900, 9),
                (65_538, 9),
                (90_000, 9),
                (99, 8),
            ] {
                let mut packet = protected(&mut ours, index, ssrc);
                assert_eq!(
                    all.decrypt(&packet).is_some(),
                    ssrc == 8,
                    "{profile} {index}"
                );
                packet[13] ^= 1;
                assert_eq!(few.decrypt(&packet), None, "{profile} {index}");
                packet[13] ^= 1;
                let plain = few.decrypt(&packet).unwrap();
                assert_eq!(&plain[12..], b"payload", "{profile} {index}");
            }
        }
    }
}
