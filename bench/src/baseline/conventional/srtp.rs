//! SRTP of one direction, packet by packet (RFC 3711, RFC 7714).

use std::ffi::CStr;

use anyhow::{Context as _, ensure};
use proto::srtp::Profile;

use super::super::{Key, MAX_DATAGRAM};
use super::openssl::{Cipher, Direction, Hmac, Library};

const GCM_TAG: usize = 16;
/// Of the 20 octets of HMAC-SHA1 (RFC 3711 §5.2).
const SHORT_TAG: usize = 10;

/// The session keys of one direction, scheduled: a publisher's decrypt, a subscriber's encrypt.
pub(super) struct Srtp {
    salt: [u8; 14],
    transform: Transform,
}

enum Transform {
    Gcm(Cipher),
    Cm { cipher: Cipher, hmac: Hmac },
}

impl Srtp {
    pub(super) fn new(
        library: &Library,
        profile: Profile,
        master: &Key,
        direction: Direction,
    ) -> anyhow::Result<Self> {
        ensure!(
            master.key.len() == profile.key_len() && master.salt.len() == profile.salt_len(),
            "a key of the wrong length for {profile}"
        );
        // Labels of RFC 3711 §4.3.1.
        let mut key = [0; 32];
        let key = &mut key[..profile.key_len()];
        derive(library, master, 0, key)?;
        let mut authentication = [0; 20];
        derive(library, master, 1, &mut authentication)?;
        let mut salt = [0; 14];
        derive(library, master, 2, &mut salt[..profile.salt_len()])?;
        let gcm = |name: &CStr| -> anyhow::Result<Transform> {
            Cipher::new(library, name, key, direction).map(Transform::Gcm)
        };
        let transform = match profile {
            Profile::AeadAes256Gcm => gcm(c"AES-256-GCM")?,
            Profile::AeadAes128Gcm => gcm(c"AES-128-GCM")?,
            // Counter mode is the same both ways.
            Profile::Aes128CmHmacSha1_80 => Transform::Cm {
                cipher: Cipher::new(library, c"AES-128-CTR", key, Direction::Encrypt)?,
                hmac: Hmac::sha1(library, &authentication)?,
            },
        };
        Ok(Self { salt, transform })
    }

    /// Encrypts the packet of `length` octets at the front of `packet` in place and appends its tag; how long it is then.
    pub(super) fn protect(
        &mut self,
        packet: &mut [u8; MAX_DATAGRAM],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> anyhow::Result<usize> {
        self.try_protect(packet, header, length, ssrc, index)
            .context("OpenSSL failed to protect a packet")
    }

    fn try_protect(
        &mut self,
        packet: &mut [u8; MAX_DATAGRAM],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let (plain, rest) = packet.split_at_mut_checked(length)?;
        match &mut self.transform {
            Transform::Gcm(cipher) => {
                let (header, payload) = plain.split_at_mut_checked(header)?;
                let tag = rest.first_chunk_mut::<GCM_TAG>()?;
                cipher.start(&gcm_vector(&self.salt, ssrc, index))?;
                cipher.associated(header)?;
                cipher.apply(payload)?;
                cipher.seal(tag)?;
                Some(length + GCM_TAG)
            }
            Transform::Cm { cipher, hmac } => {
                cipher.start(&cm_vector(&self.salt, ssrc, index))?;
                cipher.apply(plain.get_mut(header..)?)?;
                let code = hmac.code([plain, &rollover(index)])?;
                rest.get_mut(..SHORT_TAG)?
                    .copy_from_slice(&code[..SHORT_TAG]);
                Some(length + SHORT_TAG)
            }
        }
    }

    /// Checks and decrypts `packet` in place; how long it is without its tag.
    pub(super) fn unprotect(
        &mut self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        match &mut self.transform {
            Transform::Gcm(cipher) => {
                let length = packet.len().checked_sub(GCM_TAG)?;
                let (plain, tag) = packet.split_at_mut(length);
                let (header, payload) = plain.split_at_mut_checked(header)?;
                cipher.start(&gcm_vector(&self.salt, ssrc, index))?;
                cipher.expect(tag.first_chunk_mut()?)?;
                cipher.associated(header)?;
                cipher.apply(payload)?;
                cipher.finish()?;
                Some(length)
            }
            Transform::Cm { cipher, hmac } => {
                let length = packet.len().checked_sub(SHORT_TAG)?;
                let (plain, tag) = packet.split_at_mut(length);
                let code = hmac.code([plain, &rollover(index)])?;
                if code[..SHORT_TAG] != *tag {
                    return None;
                }
                cipher.start(&cm_vector(&self.salt, ssrc, index))?;
                cipher.apply(plain.get_mut(header..)?)?;
                Some(length)
            }
        }
    }
}

/// RFC 7714 §8.1: two octets of zeros, SSRC, rollover counter, sequence number, XOR salt.
fn gcm_vector(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 12] {
    let mut vector = [0; 12];
    vector[2..6].copy_from_slice(&ssrc.to_be_bytes());
    vector[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
    for (octet, salt) in vector.iter_mut().zip(salt) {
        *octet ^= salt;
    }
    vector
}

/// RFC 3711 §4.1.1: salt × 2^16 XOR SSRC × 2^64 XOR index × 2^16.
fn cm_vector(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut vector = [0; 16];
    vector[4..8].copy_from_slice(&ssrc.to_be_bytes());
    vector[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    for (octet, salt) in vector.iter_mut().zip(salt) {
        *octet ^= salt;
    }
    vector
}

/// The rollover counter, authenticated after the packet (RFC 3711 §4.2).
fn rollover(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 3711 §4.3.3: keystream of the master key, from (label XOR salt) × 2^16 on.
fn derive(library: &Library, master: &Key, label: u8, out: &mut [u8]) -> anyhow::Result<()> {
    let name = match master.key.len() {
        32 => c"AES-256-CTR",
        _ => c"AES-128-CTR",
    };
    let mut vector = [0; 16];
    vector[..master.salt.len()].copy_from_slice(&master.salt);
    vector[7] ^= label;
    let mut cipher = Cipher::new(library, name, &master.key, Direction::Encrypt)?;
    out.fill(0);
    cipher
        .start(&vector)
        .and_then(|()| cipher.apply(out))
        .context("OpenSSL failed to derive a key")
}

#[cfg(test)]
mod tests {
    use proto::srtp::{Inbound, MasterKey, Outbound};

    use super::*;

    const SSRC: u32 = 0x1234;

    fn packet(sequence: u16, length: usize) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 1, 0, 0, 0x12, 0x34]);
        packet.extend((0..length).map(|octet| octet as u8));
        packet
    }

    #[test]
    fn another_implementation_understands_it_and_it_the_other() {
        let library = Library::open().expect("OpenSSL 3 is installed where this is tested");
        for profile in Profile::ALL {
            let master = MasterKey::new(
                profile,
                &vec![7; profile.key_len()],
                &vec![9; profile.salt_len()],
            )
            .unwrap();
            let key = Key::from(&master);
            let srtp = |direction| Srtp::new(&library, profile, &key, direction).unwrap();
            let (mut sealing, mut opening) = (srtp(Direction::Encrypt), srtp(Direction::Decrypt));
            let mut inbound = Inbound::new(&master).unwrap();
            let mut outbound = Outbound::new(&master).unwrap();
            for (sequence, length) in [(1_u16, 1000_usize), (2, 1), (3, 1188), (4, 0)] {
                let plain = packet(sequence, length);
                let index = u64::from(sequence);

                let mut buffer = [0; MAX_DATAGRAM];
                buffer[..plain.len()].copy_from_slice(&plain);
                let end = sealing
                    .protect(&mut buffer, 12, plain.len(), SSRC, index)
                    .unwrap();
                let sealed = &mut buffer[..end];
                let (opened, _) = inbound.unprotect_rtp(sealed, 12, SSRC, sequence).unwrap();
                assert_eq!(sealed[..opened], plain, "{profile}");

                let mut theirs = [0; MAX_DATAGRAM];
                let (header, payload) = plain.split_at(12);
                let end = outbound
                    .protect_rtp(index, SSRC, header, &[], payload, &mut theirs)
                    .unwrap();
                let mut wrong = theirs[..end].to_vec();
                wrong[end - 1] ^= 1;
                assert_eq!(opening.unprotect(&mut wrong, 12, SSRC, index), None);
                let opened = opening.unprotect(&mut theirs[..end], 12, SSRC, index);
                assert_eq!(opened, Some(plain.len()), "{profile}");
                assert_eq!(theirs[..plain.len()], plain, "{profile}");
            }
        }
    }
}
