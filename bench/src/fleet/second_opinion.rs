use bytes::Bytes;
use proto::srtp::{MasterKey, Profile};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

/// Decrypts a sample of what a subscriber gets, with an implementation of SRTP that shares no line with the node's.
///
/// It keeps no replay window, because it sees some packets only; of the rollover counter it loses track only if a whole cycle
/// of sequence numbers passes without a sample.
pub(super) struct SecondOpinion(Context);

impl SecondOpinion {
    /// Of what the forwarder sends under `key`; `None` if the library does not take it.
    pub(super) fn new(key: &MasterKey) -> Option<Self> {
        let profile = match key.profile() {
            Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
            Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        };
        let context = Context::new(key.key(), key.salt(), profile, None, None);
        context.ok().map(Self)
    }

    /// The plain packet, header included; `None` if it is not authentic.
    pub(super) fn decrypt(&mut self, packet: &[u8]) -> Option<Bytes> {
        self.0.decrypt_rtp(packet).ok()
    }
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

    #[test]
    fn the_right_key_decrypts_and_a_flipped_byte_is_noticed() {
        for profile in Profile::ALL {
            let key = MasterKey::new(
                profile,
                &[7; 32][..profile.key_len()],
                &[3; 14][..profile.salt_len()],
            );
            let key = key.unwrap();
            let mut ours = Outbound::new(&key).unwrap();
            let mut theirs = SecondOpinion::new(&key).unwrap();
            for index in [65_000_u64, 65_530, 65_540, 65_700] {
                let fields = Fields {
                    sequence: index as u16,
                    ssrc: 9,
                    ..Fields::default()
                };
                let (mut header, mut packet) = ([0; 12], [0; 200]);
                write_header(&mut header, &fields, &[]).unwrap();
                let len = ours
                    .protect_rtp(index, 9, &header, &[], b"payload", &mut packet)
                    .unwrap();
                let packet = &mut packet[..len];
                packet[13] ^= 1;
                assert_eq!(theirs.decrypt(packet), None, "{profile} {index}");
                packet[13] ^= 1;
                let plain = theirs.decrypt(packet).unwrap();
                assert_eq!(&plain[12..], b"payload", "{profile} {index}");
            }
        }
    }
}
