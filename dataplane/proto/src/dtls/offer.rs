//! Offering a single SRTP profile, which `dimpl` cannot do: its client offers all three (RFC 5764 §4.1.1), and the server
//! chooses.
//!
//! The list in the ClientHello is overwritten, at its length, with repetitions of the wanted profile: on the way out, and
//! wherever the handshake's own messages are hashed or signed, so that both ends hash the same bytes.

use dimpl::CryptoError;
use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::crypto::{
    Buf, CryptoProvider, HashAlgorithm, HashContext, HashProvider, KeyProvider, SignatureAlgorithm,
    SigningKey,
};

use crate::srtp::Profile;

/// Content type of a handshake record (RFC 5246 §6.2.1), and its header's length in DTLS (RFC 6347 §4.1).
const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 13;
/// Handshake type of a ClientHello (RFC 5246 §7.4).
const CLIENT_HELLO: u8 = 1;
/// `use_srtp`, 9 bytes long, with a list of 6 bytes (RFC 5764 §4.1.1): how `dimpl` begins its extension.
const USE_SRTP: [u8; 6] = [0, 14, 0, 9, 0, 6];
const LIST_LENGTH: usize = 6;

/// `SRTP_NULL_HMAC_SHA1_80` (RFC 5764 §4.1.2), which nobody should take.
pub(super) const NULL: u16 = 5;

/// What `dimpl` is to compute with so that only the profile of this number is offered: one of ours or [`NULL`].
pub(super) fn provider(profile: u16) -> CryptoProvider {
    const GCM_256: u16 = Profile::AeadAes256Gcm.id();
    const GCM_128: u16 = Profile::AeadAes128Gcm.id();
    const CM_80: u16 = Profile::Aes128CmHmacSha1_80.id();
    match profile {
        GCM_256 => with(&Only::<GCM_256>, &Only::<GCM_256>),
        GCM_128 => with(&Only::<GCM_128>, &Only::<GCM_128>),
        CM_80 => with(&Only::<CM_80>, &Only::<CM_80>),
        _ => with(&Only::<NULL>, &Only::<NULL>),
    }
}

/// Overwrites the list in a datagram that is to be sent, if it begins with a ClientHello.
pub(super) fn rewrite_datagram(datagram: &mut [u8], profile: u16) {
    if datagram.first() == Some(&HANDSHAKE)
        && let Some(message) = datagram.get_mut(RECORD_HEADER..)
    {
        rewrite(message, profile);
    }
}

fn with(
    hash_provider: &'static dyn HashProvider,
    key_provider: &'static dyn KeyProvider,
) -> CryptoProvider {
    CryptoProvider {
        hash_provider,
        key_provider,
        ..default_provider()
    }
}

/// Overwrites the list if `message` is a ClientHello, or several messages of which it is the first.
fn rewrite(message: &mut [u8], id: u16) {
    if message.first() != Some(&CLIENT_HELLO) {
        return;
    }
    let found = message
        .windows(USE_SRTP.len())
        .position(|window| window == USE_SRTP);
    let start = found.map(|found| found.saturating_add(USE_SRTP.len()));
    let list = start.and_then(|start| message.get_mut(start..start.saturating_add(LIST_LENGTH)));
    for entry in list.unwrap_or_default().chunks_exact_mut(2) {
        entry.copy_from_slice(&id.to_be_bytes());
    }
}

fn rewritten(message: &[u8], id: u16) -> Vec<u8> {
    let mut copy = message.to_vec();
    rewrite(&mut copy, id);
    copy
}

/// Hashes and signs handshake messages as they were sent: with the profile of this number and no other.
#[derive(Debug)]
struct Only<const ID: u16>;

impl<const ID: u16> HashProvider for Only<ID> {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        let inner = default_provider().hash_provider.create_hash(algorithm);
        Box::new(Hashing::<ID>(inner))
    }
}

impl<const ID: u16> KeyProvider for Only<ID> {
    fn load_private_key(&self, key_der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let inner = default_provider().key_provider.load_private_key(key_der)?;
        Ok(Box::new(Signing::<ID>(inner)))
    }
}

#[derive(Debug)]
struct Hashing<const ID: u16>(Box<dyn HashContext>);

impl<const ID: u16> HashContext for Hashing<ID> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(&rewritten(data, ID));
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.0.clone_and_finalize(out);
    }
}

#[derive(Debug)]
struct Signing<const ID: u16>(Box<dyn SigningKey>);

impl<const ID: u16> SigningKey for Signing<ID> {
    fn sign(
        &mut self,
        data: &[u8],
        hash_alg: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), CryptoError> {
        self.0.sign(&rewritten(data, ID), hash_alg, out)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        self.0.supported_hash_algorithms()
    }
}
