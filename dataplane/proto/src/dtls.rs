//! DTLS-SRTP handshakes (RFC 5763, RFC 5764) over `dimpl`, DTLS 1.2 only.
//!
//! This façade holds the rules that `dimpl` leaves to its user: the peer's certificate must have an expected
//! fingerprint before its keys may be used, keys go out before the flight that lets the peer send media, and a
//! handshake without a common SRTP profile has failed, although DTLS itself would be content with it.

use std::collections::VecDeque;
use std::sync::Arc;

use aws_lc_rs::digest;
use clock::{Duration, Instant};
use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::{DtlsCertificate, SrtpProfile};

use self::machine::{Machine, Step, Whole};
use self::settled::{Heard, Settled};
use crate::srtp::{KeyingMaterial, Profile};

mod fuzz;
mod hello;
mod keys;
mod machine;
mod offer;
mod settled;

#[doc(hidden)]
pub use fuzz::fuzz_dtls;

/// Longer datagrams are ignored; handshakes stay below the path's MTU.
pub const MAX_DATAGRAM: usize = 4_096;
/// Expected fingerprints that are remembered; SDP seldom has more than three.
pub const MAX_FINGERPRINTS: usize = 8;
/// Datagrams that `dimpl` holds for reassembly, and of a flight.
const MAX_QUEUED_DATAGRAMS: usize = 30;
/// Outputs that wait to be polled; one input makes at most a flight and a few events.
const MAX_OUTPUTS: usize = 64;
/// Hash functions of `a=fingerprint` that are strong enough (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// `sha-256`
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl HashAlgorithm {
    /// Reads the name that SDP has for it, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn digest(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

/// A hash of a certificate, as `a=fingerprint` has it (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    algorithm: HashAlgorithm,
    value: Vec<u8>,
}

/// No fingerprint that we could compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFingerprint {
    /// The hash function is unknown or too weak.
    #[error("unsupported hash function")]
    Algorithm,
    /// Not hexadecimal bytes with colons between them, or not as many as the hash function yields.
    #[error("malformed value")]
    Value,
}

impl Fingerprint {
    /// Reads the two words of `a=fingerprint`, such as `sha-256` and `12:DF:…`.
    ///
    /// # Errors
    /// [`BadFingerprint`].
    pub fn parse(algorithm: &str, value: &str) -> Result<Self, BadFingerprint> {
        let algorithm = HashAlgorithm::from_name(algorithm).ok_or(BadFingerprint::Algorithm)?;
        let value: Vec<u8> = value
            .split(':')
            .map(parse_hex_byte)
            .collect::<Option<_>>()
            .ok_or(BadFingerprint::Value)?;
        if value.len() != algorithm.digest(&[]).as_ref().len() {
            return Err(BadFingerprint::Value);
        }
        Ok(Self { algorithm, value })
    }

    /// The fingerprint of a certificate in DER.
    pub fn of(algorithm: HashAlgorithm, certificate: &[u8]) -> Self {
        Self {
            algorithm,
            value: algorithm.digest(certificate).as_ref().to_vec(),
        }
    }

    /// The hash function.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The value as SDP has it: upper-case hexadecimal with colons.
    pub fn value(&self) -> String {
        let bytes: Vec<_> = self.value.iter().map(|b| format!("{b:02X}")).collect();
        bytes.join(":")
    }

    fn matches(&self, certificate: &[u8]) -> bool {
        self.algorithm.digest(certificate).as_ref() == self.value.as_slice()
    }
}

impl core::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.algorithm.name(), self.value())
    }
}

fn parse_hex_byte(text: &str) -> Option<u8> {
    let is_hex = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// Our certificate with its key: self-signed ECDSA on P-256, which every browser takes (RFC 8827 §6.5).
#[derive(Clone, Debug)]
pub struct Certificate(DtlsCertificate);

/// There is no usable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The library could not make one.
    #[error("certificate generation failed")]
    Generation,
    /// The key is not a P-256 key in PKCS #8, or the certificate is empty.
    #[error("not a certificate with a P-256 key in PKCS #8")]
    Key,
}

impl Certificate {
    /// Makes a fresh one, good for a year. Key, serial number and date come from the operating system, so this is for
    /// the start of a process and not for code that must run the same twice.
    ///
    /// # Errors
    /// [`CertificateError::Generation`].
    pub fn generate() -> Result<Self, CertificateError> {
        dimpl::certificate::generate_self_signed_certificate()
            .map(Self)
            .map_err(|_| CertificateError::Generation)
    }

    /// Takes one that was made elsewhere.
    ///
    /// # Errors
    /// [`CertificateError::Key`].
    pub fn from_der(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<Self, CertificateError> {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
        // `dimpl` panics over a key that it cannot read, so it is read here first.
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &private_key);
        if certificate.is_empty() || key.is_err() {
            return Err(CertificateError::Key);
        }
        Ok(Self(DtlsCertificate {
            certificate,
            private_key,
        }))
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.0.certificate
    }

    /// Its fingerprint.
    pub fn fingerprint(&self, algorithm: HashAlgorithm) -> Fingerprint {
        Fingerprint::of(algorithm, self.der())
    }

    /// The value for `a=fingerprint:sha-256`: upper-case hexadecimal with colons.
    pub fn fingerprint_sha256(&self) -> String {
        self.fingerprint(HashAlgorithm::Sha256).value()
    }
}

/// Times and sizes of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Largest datagram that we send, in bytes; at least 64.
    pub mtu: usize,
    /// Pause before the first retransmission of a flight; it doubles, ± 25 %.
    pub retransmit_after: Duration,
    /// Retransmissions of a flight.
    pub retries: usize,
    /// A server gives up this long after the first datagram, a client after its creation.
    pub handshake_timeout: Duration,
    /// How long keys wait for the expected fingerprint after the handshake.
    pub fingerprint_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mtu: 1_200,
            retransmit_after: Duration::from_millis(250),
            retries: 6,
            handshake_timeout: Duration::from_secs(15),
            fingerprint_timeout: Duration::from_secs(10),
        }
    }
}

/// The settings are out of range, or the cipher library failed its self-test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DTLS settings: {0}")]
pub struct BadSettings(String);

/// Checked settings, to be made once and shared by all handshakes.
#[derive(Clone, Debug)]
pub struct Config(Arc<Checked>);

#[derive(Debug)]
struct Checked {
    settings: Settings,
    inner: Arc<dimpl::Config>,
    /// The number of the one profile that clients offer; none: all.
    offered: Option<u16>,
}

impl Config {
    /// Checks `settings` and lets the cipher library test itself, which takes some milliseconds.
    ///
    /// # Errors
    /// [`BadSettings`].
    pub fn new(settings: Settings) -> Result<Self, BadSettings> {
        Self::build(settings, None)
    }

    /// The same for clients that offer `profile` alone for SRTP; others offer all, and the server chooses.
    ///
    /// # Errors
    /// [`BadSettings`].
    pub fn offering(settings: Settings, profile: Profile) -> Result<Self, BadSettings> {
        Self::build(settings, Some(profile.id()))
    }

    /// The same for clients that offer nothing that a server here takes: `SRTP_NULL_HMAC_SHA1_80` alone, which does not encrypt.
    ///
    /// # Errors
    /// [`BadSettings`].
    pub fn offering_no_encryption(settings: Settings) -> Result<Self, BadSettings> {
        Self::build(settings, Some(offer::NULL))
    }

    fn build(settings: Settings, offered: Option<u16>) -> Result<Self, BadSettings> {
        let provider = offered.map_or_else(default_provider, offer::provider);
        let inner = dimpl::Config::builder()
            .with_crypto_provider(keys::noting(provider))
            // ICE has proved the address already, and the cookie costs a round trip.
            .use_server_cookie(false)
            .require_client_certificate(true)
            .mtu(settings.mtu)
            .max_queue_rx(MAX_QUEUED_DATAGRAMS)
            .max_queue_tx(MAX_QUEUED_DATAGRAMS)
            .flight_start_rto(settings.retransmit_after)
            .flight_retries(settings.retries)
            .handshake_timeout(settings.handshake_timeout)
            .build()
            .map_err(|error| BadSettings(error.to_string()))?;
        let inner = Arc::new(inner);
        Ok(Self(Arc::new(Checked {
            settings,
            inner,
            offered,
        })))
    }
}

/// What a handshake wants done, or has to tell.
#[derive(Debug)]
pub enum Output {
    /// Send this to the peer.
    Datagram(Vec<u8>),
    /// The peer showed this certificate. It is not accepted yet.
    PeerCertificate {
        /// Its SHA-256 fingerprint.
        sha256: Fingerprint,
    },
    /// The peer is who it should be; SRTP may start with these keys. Comes before the datagrams that complete the
    /// handshake for the peer, whenever the expected fingerprint is known by then.
    KeysReady(KeyingMaterial),
    /// The handshake is complete and the peer accepted. Comes right after the keys.
    Connected,
    /// It is over. Nothing comes after this.
    Closed(CloseReason),
}

/// Why a handshake, or the association after it, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The peer's certificate has none of the expected fingerprints.
    #[error("the certificate has another fingerprint")]
    FingerprintMismatch,
    /// The expected fingerprint did not come in time.
    #[error("the expected fingerprint did not come in time")]
    FingerprintTimeout,
    /// Peer and we have no SRTP profile in common.
    #[error("no SRTP profile in common")]
    NoCommonSrtpProfile,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// The peer refused the handshake by a fatal alert of this description (RFC 5246 §7.2).
    #[error("the peer sent the alert {0}")]
    Alert(u8),
    /// The peer does not offer DTLS 1.2.
    #[error("the peer does not offer DTLS 1.2")]
    Version,
    /// Peer and we have no cipher suite or key exchange group in common.
    #[error("no cipher suite or group in common")]
    NoCommonCipherSuite,
    /// The handshake broke the protocol.
    #[error("the handshake failed")]
    HandshakeFailed,
    /// The peer said good-bye.
    #[error("closed by the peer")]
    PeerClosed,
    /// We did.
    #[error("closed by us")]
    Local,
}

/// One DTLS association: the handshake, and afterwards the repeating of its last flight and the good-byes.
///
/// A server gives up what only the handshake needs, some ten kilobytes, as soon as it is complete.
pub struct Handshake {
    config: Config,
    is_client: bool,
    phase: Phase,
    machine: Machine,
    expected: Vec<Fingerprint>,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<Box<KeyingMaterial>>,
    queue: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A server that has heard nothing.
    Idle,
    Handshaking {
        until: Instant,
    },
    /// DTLS is complete, the fingerprint is missing.
    Withholding {
        until: Instant,
    },
    Connected,
    Closed,
}

impl Handshake {
    /// The passive side: waits for a ClientHello.
    ///
    /// `epoch` is the reading of the system's monotonic clock that [`Instant::ZERO`] stands for. The handshake never
    /// reads that clock; it only adds to `epoch`.
    pub fn server(
        now: Instant,
        epoch: std::time::Instant,
        certificate: &Certificate,
        config: &Config,
    ) -> Self {
        Self::new(now, epoch, certificate, config, false)
    }

    /// The active side: its ClientHello can be polled at once.
    pub fn client(
        now: Instant,
        epoch: std::time::Instant,
        certificate: &Certificate,
        config: &Config,
    ) -> Self {
        let mut handshake = Self::new(now, epoch, certificate, config, true);
        handshake.begin(now);
        handshake.on_timeout(now);
        handshake
    }

    fn new(
        now: Instant,
        epoch: std::time::Instant,
        certificate: &Certificate,
        config: &Config,
        is_client: bool,
    ) -> Self {
        Self {
            config: config.clone(),
            is_client,
            phase: Phase::Idle,
            machine: Machine::Whole(Box::new(Whole::new(
                now,
                epoch,
                certificate,
                config,
                is_client,
            ))),
            expected: Vec::new(),
            peer_certificate: None,
            keys: None,
            queue: VecDeque::new(),
        }
    }

    /// Says which certificates are acceptable: those with any of these fingerprints, of which the first eight count.
    /// Keys that waited for this are given out or the handshake closes.
    pub fn set_remote_fingerprints(&mut self, now: Instant, fingerprints: &[Fingerprint]) {
        if matches!(self.phase, Phase::Closed | Phase::Connected) {
            return;
        }
        self.expected = fingerprints
            .iter()
            .take(MAX_FINGERPRINTS)
            .cloned()
            .collect();
        if self.is_mismatch() {
            self.close_with(now, CloseReason::FingerprintMismatch);
        } else if matches!(self.phase, Phase::Withholding { .. }) && !self.expected.is_empty() {
            self.accept_peer();
        }
    }

    /// Takes a datagram that [`crate::demux::classify`] calls DTLS, from an address that passed a check.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.phase == Phase::Closed || datagram.len() > MAX_DATAGRAM {
            return;
        }
        self.begin(now);
        if self.is_hopeless(datagram) {
            return self.close_with(now, CloseReason::NoCommonCipherSuite);
        }
        match &mut self.machine {
            Machine::Whole(whole) => {
                let result = whole.on_datagram(now, datagram);
                self.after_input(now, result);
            }
            Machine::Settled(settled) => {
                let heard = settled.hear(datagram);
                self.after_hearing(now, heard);
            }
        }
    }

    /// Whether a client begins with cipher suites of which we have none.
    fn is_hopeless(&self, datagram: &[u8]) -> bool {
        let is_ours = |number: u16| {
            let mut suites = self.config.0.inner.dtls12_cipher_suites();
            suites.any(|one| one.suite().as_u16() == number)
        };
        !self.is_client
            && matches!(self.phase, Phase::Handshaking { .. })
            && hello::offers_none(datagram, is_ours)
    }

    /// The next thing to do; to be drained after every input.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.queue.pop_front();
        if self.queue.is_empty() {
            // For most of its life there is nothing to say.
            self.queue = VecDeque::new();
        }
        output
    }

    /// When [`on_timeout`](Self::on_timeout) is due, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        let limit = match self.phase {
            Phase::Idle | Phase::Connected => None,
            Phase::Handshaking { until } | Phase::Withholding { until } => Some(until),
            Phase::Closed => return None,
        };
        let timer = match &self.machine {
            Machine::Whole(whole) => whole.timer,
            Machine::Settled(_) => None,
        };
        [limit, timer].into_iter().flatten().min()
    }

    /// Retransmits what is due, and gives up what took too long.
    pub fn on_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Closed | Phase::Idle => return,
            Phase::Handshaking { until } if now >= until => {
                self.close_with(now, CloseReason::HandshakeTimeout);
                return;
            }
            Phase::Withholding { until } if now >= until => {
                self.close_with(now, CloseReason::FingerprintTimeout);
                return;
            }
            Phase::Handshaking { .. } | Phase::Withholding { .. } | Phase::Connected => {}
        }
        if let Machine::Whole(whole) = &mut self.machine {
            let result = whole.on_timeout(now);
            self.after_input(now, result);
        }
    }

    /// Says good-bye to the peer, if it can be told.
    pub fn close(&mut self, now: Instant) {
        if self.phase != Phase::Closed {
            self.close_with(now, CloseReason::Local);
        }
    }

    /// Whether the handshake is complete and the peer accepted.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether it is complete but for the fingerprint that the peer should have.
    pub fn awaits_fingerprint(&self) -> bool {
        matches!(self.phase, Phase::Withholding { .. })
    }

    fn begin(&mut self, now: Instant) {
        if self.phase == Phase::Idle {
            let until = later(now, self.config.0.settings.handshake_timeout);
            self.phase = Phase::Handshaking { until };
        }
    }

    fn after_input(&mut self, now: Instant, result: Result<(), dimpl::Error>) {
        let steps = self.machine.drain(now);
        self.take(now, steps);
        let Err(error) = result else {
            return;
        };
        match self.phase {
            Phase::Closed => {}
            // The keys are out and media needs no DTLS; unless the peer said that it is gone, consent decides.
            Phase::Connected => {
                if let Machine::Whole(whole) = &mut self.machine {
                    whole.timer = None;
                }
                if matches!(
                    error,
                    dimpl::Error::SecurityError(dimpl::SecurityError::FatalAlert { .. })
                ) {
                    self.close_with(now, CloseReason::PeerClosed);
                }
            }
            Phase::Idle | Phase::Handshaking { .. } | Phase::Withholding { .. } => {
                self.close_with(now, why(&error));
            }
        }
    }

    fn after_hearing(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Finished | Heard::Hint => {
                if let Machine::Settled(settled) = &mut self.machine {
                    let again = settled.repeat(now, heard).to_vec();
                    for datagram in again {
                        self.push(Output::Datagram(datagram));
                    }
                }
            }
            Heard::Fatal if self.phase != Phase::Connected => {
                self.close_with(now, CloseReason::HandshakeFailed);
            }
            Heard::GoodBye | Heard::Fatal => {
                let answer = match (&mut self.machine, heard) {
                    (Machine::Settled(settled), Heard::GoodBye) => settled.say_goodbye(),
                    _ => None,
                };
                if let Some(answer) = answer {
                    self.push(Output::Datagram(answer));
                }
                self.close_with(now, CloseReason::PeerClosed);
            }
        }
    }

    /// Works through one round of `dimpl`'s output: keys first, datagrams last, and none if the round ends it all.
    fn take(&mut self, now: Instant, steps: Vec<Step>) {
        let (mut datagrams, mut completed, mut peer_closed) = (Vec::new(), false, false);
        for step in steps {
            match step {
                Step::Datagram(bytes) => datagrams.push(bytes),
                Step::PeerCertificate(der) => {
                    let sha256 = Fingerprint::of(HashAlgorithm::Sha256, &der);
                    self.push(Output::PeerCertificate { sha256 });
                    self.peer_certificate = Some(der);
                }
                Step::Keys(profile, exported) => {
                    let profile = map_profile(profile);
                    self.keys = profile.and_then(|profile| {
                        let keys =
                            KeyingMaterial::from_exporter(profile, &exported, self.is_client);
                        keys.ok().map(Box::new)
                    });
                }
                Step::Connected => completed = true,
                Step::PeerClosed => peer_closed = true,
            }
        }
        if self.phase == Phase::Closed {
            return;
        }
        if self.is_mismatch() {
            self.close_with(now, CloseReason::FingerprintMismatch);
            return;
        }
        if completed {
            if self.keys.is_none() {
                self.close_with(now, CloseReason::NoCommonSrtpProfile);
                return;
            }
            if !self.is_client {
                self.settle(&datagrams);
            }
            let until = later(now, self.config.0.settings.fingerprint_timeout);
            self.phase = Phase::Withholding { until };
            if !self.expected.is_empty() {
                self.accept_peer();
            }
        }
        for bytes in datagrams {
            self.push(Output::Datagram(bytes));
        }
        if peer_closed {
            self.close_with(now, CloseReason::PeerClosed);
        }
    }

    /// Whether a certificate and expectations are there and do not fit.
    fn is_mismatch(&self) -> bool {
        self.peer_certificate.as_ref().is_some_and(|der| {
            !self.expected.is_empty() && !self.expected.iter().any(|f| f.matches(der))
        })
    }

    /// Gives out the keys. The caller has seen that the peer's fingerprint is expected.
    fn accept_peer(&mut self) {
        let has_peer = self.peer_certificate.is_some();
        if let Some(keys) = self.keys.take_if(|_| has_peer) {
            self.phase = Phase::Connected;
            self.expected = Vec::new();
            self.peer_certificate = None;
            self.push(Output::KeysReady(*keys));
            self.push(Output::Connected);
        }
    }

    /// Gives up what only a handshake needs. `flight` completes it for the peer, which may ask for it again. With a cipher
    /// that does not tell its keys everything stays.
    fn settle(&mut self, flight: &[Vec<u8>]) {
        let Machine::Whole(whole) = &mut self.machine else {
            return;
        };
        if let (Some(opened), Some(sealed)) = (whole.opened.take(), whole.sealed.take()) {
            let settled = Settled::new(opened, sealed, flight.to_vec());
            self.machine = Machine::Settled(Box::new(settled));
        }
    }

    fn close_with(&mut self, now: Instant, reason: CloseReason) {
        // Only a peer that completed the handshake can be told; before, `dimpl` just stops.
        let tell = matches!(self.phase, Phase::Withholding { .. } | Phase::Connected)
            && reason != CloseReason::PeerClosed;
        let farewell = match &mut self.machine {
            Machine::Whole(whole) => whole.close(now),
            Machine::Settled(settled) => settled.say_goodbye().into_iter().collect(),
        };
        for datagram in farewell.into_iter().filter(|_| tell) {
            self.push(Output::Datagram(datagram));
        }
        self.phase = Phase::Closed;
        self.keys = None;
        self.push(Output::Closed(reason));
    }

    fn push(&mut self, output: Output) {
        // Never full if the owner drains after each input; the bound is for one that does not.
        if self.queue.len() >= MAX_OUTPUTS {
            self.queue.pop_front();
        }
        self.queue.push_back(output);
    }
}

impl core::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Handshake")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// What an error of a handshake means for whoever looks for its cause.
fn why(error: &dimpl::Error) -> CloseReason {
    use dimpl::{Error, SecurityError};
    match error {
        Error::Timeout(_) => CloseReason::HandshakeTimeout,
        Error::SecurityError(SecurityError::FatalAlert { description }) => {
            CloseReason::Alert(*description)
        }
        Error::SecurityError(SecurityError::UnsupportedClientVersion(_)) => CloseReason::Version,
        Error::SecurityError(
            SecurityError::NoMutuallyAcceptableCipherSuite
            | SecurityError::NoCommonCipherSuite
            | SecurityError::NoCommonKeyExchangeGroup,
        ) => CloseReason::NoCommonCipherSuite,
        _ => CloseReason::HandshakeFailed,
    }
}

fn map_profile(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmHmacSha1_80),
        _ => None,
    }
}

/// `at` + `by`.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "clock::Instant saturates at both ends"
)]
fn later(at: Instant, by: Duration) -> Instant {
    at + by
}

#[cfg(test)]
mod tests {
    use super::*;
    use dimpl::crypto::Dtls12CipherSuite;
    use proptest::prelude::*;
    use std::sync::{Mutex, OnceLock};

    const DELAY: Duration = Duration::from_millis(10);

    /// What happens to the `n`th datagram of the run, counted over both directions.
    #[derive(Clone, Copy, PartialEq)]
    enum Fate {
        Arrives,
        Lost,
        Late,
    }

    /// Notable outputs of one side, in order.
    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Sent,
        Peer(Fingerprint),
        Keys(KeyingMaterial),
        Connected,
        Closed(CloseReason),
    }

    /// Client, server, and a wire of 10 ms between them.
    struct Pair {
        now: Instant,
        sides: [Handshake; 2],
        seen: [Vec<Seen>; 2],
        wire: Vec<(Instant, usize, Vec<u8>)>,
        carried: usize,
        fate: Box<dyn Fn(usize) -> Fate>,
    }

    const CLIENT: usize = 0;
    const SERVER: usize = 1;

    fn certificates() -> &'static [Certificate; 2] {
        static MADE: OnceLock<[Certificate; 2]> = OnceLock::new();
        MADE.get_or_init(|| [(); 2].map(|()| Certificate::generate().unwrap()))
    }

    /// Its self-test takes a while, so it is made once for each size.
    fn config(mtu: usize) -> Config {
        static MADE: Mutex<Vec<Config>> = Mutex::new(Vec::new());
        let mut made = MADE.lock().unwrap();
        if let Some(config) = made.iter().find(|config| config.0.settings.mtu == mtu) {
            return config.clone();
        }
        let settings = Settings {
            mtu,
            ..Settings::default()
        };
        let config = Config::new(settings).unwrap();
        made.push(config.clone());
        config
    }

    impl Pair {
        fn new(client_mtu: usize, fate: impl Fn(usize) -> Fate + 'static) -> Self {
            let (now, epoch) = (Instant::from_millis(1), std::time::Instant::now());
            let [client, server] = certificates();
            Self {
                now,
                sides: [
                    Handshake::client(now, epoch, client, &config(client_mtu)),
                    Handshake::server(now, epoch, server, &config(1_200)),
                ],
                seen: [Vec::new(), Vec::new()],
                wire: Vec::new(),
                carried: 0,
                fate: Box::new(fate),
            }
        }

        /// Both sides know whom to expect.
        fn introduced(client_mtu: usize, fate: impl Fn(usize) -> Fate + 'static) -> Self {
            let mut pair = Self::new(client_mtu, fate);
            pair.introduce(CLIENT);
            pair.introduce(SERVER);
            pair
        }

        fn introduce(&mut self, side: usize) {
            let expected = certificates()[1 - side].fingerprint(HashAlgorithm::Sha256);
            self.sides[side].set_remote_fingerprints(self.now, &[expected]);
        }

        fn collect(&mut self) {
            for side in [CLIENT, SERVER] {
                while let Some(output) = self.sides[side].poll() {
                    let seen = match output {
                        Output::Datagram(bytes) => {
                            let at = match (self.fate)(self.carried) {
                                Fate::Arrives => Some(self.now + DELAY),
                                Fate::Late => Some(self.now + 3 * DELAY),
                                Fate::Lost => None,
                            };
                            self.carried += 1;
                            self.wire.extend(at.map(|at| (at, 1 - side, bytes)));
                            Seen::Sent
                        }
                        Output::PeerCertificate { sha256 } => Seen::Peer(sha256),
                        Output::KeysReady(keys) => Seen::Keys(keys),
                        Output::Connected => Seen::Connected,
                        Output::Closed(reason) => Seen::Closed(reason),
                    };
                    self.seen[side].push(seen);
                }
            }
        }

        /// Runs for `duration`, or until nothing is left to do.
        fn run(&mut self, duration: Duration) {
            let end = self.now + duration;
            for _ in 0..10_000 {
                self.collect();
                let arrivals = self.wire.iter().map(|(at, ..)| *at);
                let deadlines = self.sides.iter().filter_map(Handshake::deadline);
                let Some(next) = arrivals.chain(deadlines).min().filter(|at| *at <= end) else {
                    self.now = end;
                    return;
                };
                self.now = self.now.max(next);
                if let Some(index) = self.wire.iter().position(|(at, ..)| *at <= self.now) {
                    let (_, to, bytes) = self.wire.remove(index);
                    self.sides[to].on_datagram(self.now, &bytes);
                    continue;
                }
                for side in &mut self.sides {
                    if side.deadline().is_some_and(|at| at <= self.now) {
                        side.on_timeout(self.now);
                    }
                }
            }
            panic!("no end");
        }

        fn keys(&self, side: usize) -> Option<&KeyingMaterial> {
            let mut keys = self.seen[side].iter().filter_map(|seen| match seen {
                Seen::Keys(keys) => Some(keys),
                _ => None,
            });
            let first = keys.next();
            assert!(keys.next().is_none(), "keys come once");
            first
        }

        fn closed(&self, side: usize) -> Option<CloseReason> {
            self.seen[side].iter().find_map(|seen| match seen {
                Seen::Closed(reason) => Some(*reason),
                _ => None,
            })
        }

        fn assert_connected(&self, why: &str) {
            let (client, server) = (self.keys(CLIENT), self.keys(SERVER));
            assert!(client.is_some() && server.is_some(), "{why}");
            assert_eq!(
                client.map(KeyingMaterial::mirrored).as_ref(),
                server,
                "{why}"
            );
            assert!(self.sides.iter().all(Handshake::is_connected), "{why}");
        }
    }

    #[test]
    fn both_sides_get_the_same_keys() {
        let mut pair = Pair::introduced(1_200, |_| Fate::Arrives);
        pair.run(Duration::from_secs(1));
        pair.assert_connected("no loss");
        assert_eq!(pair.keys(SERVER).unwrap().profile, Profile::AeadAes256Gcm);
        let [client, server] = certificates();
        for (side, peer) in [(CLIENT, server), (SERVER, client)] {
            let fingerprint = peer.fingerprint(HashAlgorithm::Sha256);
            assert!(pair.seen[side].contains(&Seen::Peer(fingerprint)));
        }
        assert!(pair.sides.iter().all(|side| side.deadline().is_none()));
    }

    #[test]
    fn a_client_may_offer_one_profile_only() {
        for profile in Profile::ALL {
            let config = Config::offering(Settings::default(), profile).unwrap();
            // The ClientHello is lost once, so that it is also repeated.
            let mut pair = Pair::new(1_200, |n| if n == 0 { Fate::Lost } else { Fate::Arrives });
            let [client, _] = certificates();
            let epoch = std::time::Instant::now();
            pair.sides[CLIENT] = Handshake::client(pair.now, epoch, client, &config);
            pair.introduce(CLIENT);
            pair.introduce(SERVER);
            pair.run(Duration::from_secs(5));
            pair.assert_connected(profile.name());
            assert_eq!(pair.keys(SERVER).unwrap().profile, profile);
        }
    }

    /// A pair whose client is configured so.
    fn pair_with(config: &Config) -> Pair {
        let mut pair = Pair::new(1_200, |_| Fate::Arrives);
        let [client, _] = certificates();
        let epoch = std::time::Instant::now();
        pair.sides[CLIENT] = Handshake::client(pair.now, epoch, client, config);
        pair.introduce(CLIENT);
        pair.introduce(SERVER);
        pair
    }

    #[test]
    fn a_client_without_a_profile_in_common_is_told_apart() {
        let mut pair = pair_with(&Config::offering_no_encryption(Settings::default()).unwrap());
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.closed(SERVER), Some(CloseReason::NoCommonSrtpProfile));
        assert_eq!(pair.keys(SERVER), None);
    }

    #[test]
    fn why_a_handshake_failed_is_told() {
        // The client's first datagram: its version is two octets after the headers of record and message.
        let hello = || {
            let mut pair = pair_with(&config(1_200));
            let hello =
                std::iter::from_fn(|| pair.sides[CLIENT].poll()).find_map(|output| match output {
                    Output::Datagram(datagram) => Some(datagram),
                    _ => None,
                });
            (pair, hello.expect("a client begins"))
        };
        let closed = |pair: &mut Pair| {
            pair.collect();
            pair.closed(SERVER)
        };
        let (mut pair, mut old) = hello();
        old[25..27].copy_from_slice(&[254, 255]);
        let now = pair.now;
        pair.sides[SERVER].on_datagram(now, &old);
        assert_eq!(closed(&mut pair), Some(CloseReason::Version));

        // Two suites without AEAD, which dimpl does not know; ours are behind an empty session id and cookie.
        let (mut pair, mut poor) = hello();
        let count = usize::from(poor[62]) / 2;
        for suite in poor[63..63 + 2 * count].chunks_exact_mut(2) {
            suite.copy_from_slice(&[0xc0, 0x0a]);
        }
        let now = pair.now;
        pair.sides[SERVER].on_datagram(now, &poor);
        assert_eq!(closed(&mut pair), Some(CloseReason::NoCommonCipherSuite));

        // handshake_failure, fatal, in the clear.
        let (mut pair, hello) = hello();
        let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
        let now = pair.now;
        pair.sides[SERVER].on_datagram(now, &hello);
        pair.sides[SERVER].on_datagram(now, &alert);
        assert_eq!(closed(&mut pair), Some(CloseReason::Alert(40)));
    }

    #[test]
    fn the_server_has_its_keys_before_the_client_can_finish() {
        for fate in [Fate::Arrives, Fate::Lost] {
            let mut pair =
                Pair::introduced(1_200, move |n| if n == 2 { fate } else { Fate::Arrives });
            pair.run(Duration::from_secs(5));
            let seen = &pair.seen[SERVER];
            let keys = seen
                .iter()
                .position(|s| matches!(s, Seen::Keys(_)))
                .unwrap();
            assert_eq!(seen[keys + 1], Seen::Connected);
            let last_sent = seen.iter().rposition(|s| *s == Seen::Sent).unwrap();
            assert!(
                last_sent > keys + 1,
                "the last flight follows the keys: {seen:?}"
            );
            // Nothing that the client could finish with went out before: everything earlier is the first flight.
            let flight = seen[..keys].iter().filter(|s| **s == Seen::Sent).count();
            assert!(flight >= 1);
        }
    }

    #[test]
    fn any_lost_or_late_datagram_is_made_up_for() {
        let mut clean = Pair::introduced(1_200, |_| Fate::Arrives);
        clean.run(Duration::from_secs(1));
        for fate in [Fate::Lost, Fate::Late] {
            for unlucky in 0..clean.carried {
                let fates = move |n| if n == unlucky { fate } else { Fate::Arrives };
                let mut pair = Pair::introduced(1_200, fates);
                pair.run(Duration::from_secs(5));
                pair.assert_connected(&format!("datagram {unlucky}"));
            }
        }
        let mut pair = Pair::introduced(300, |n| {
            if n % 3 == 1 {
                Fate::Lost
            } else {
                Fate::Arrives
            }
        });
        pair.run(Duration::from_secs(14));
        pair.assert_connected("every third lost");
    }

    #[test]
    fn a_client_hello_in_fragments_is_put_together() {
        for mtu in [64, 80, 100] {
            for late in 0..3 {
                let fates = move |n| if n == late { Fate::Late } else { Fate::Arrives };
                let mut pair = Pair::introduced(mtu, fates);
                pair.collect();
                let fragments = pair.wire.len();
                assert!(fragments > 1, "{fragments} of {mtu}");
                assert!(pair.wire.iter().all(|(.., bytes)| bytes.len() <= mtu));
                pair.run(Duration::from_secs(5));
                pair.assert_connected(&format!("mtu {mtu}, {late} late"));
            }
        }
    }

    #[test]
    fn keys_wait_for_a_late_fingerprint() {
        let mut pair = Pair::new(1_200, |_| Fate::Arrives);
        pair.introduce(CLIENT);
        pair.run(Duration::from_secs(9));
        assert!(
            pair.sides[CLIENT].is_connected(),
            "the client does not wait"
        );
        assert!(!pair.sides[SERVER].is_connected());
        assert_eq!(pair.keys(SERVER), None);
        // That there are none yet is no fingerprint that fits.
        pair.sides[SERVER].set_remote_fingerprints(pair.now, &[]);
        pair.run(Duration::from_millis(500));
        assert_eq!(pair.keys(SERVER), None);
        pair.introduce(SERVER);
        pair.run(Duration::from_secs(60));
        pair.assert_connected("late");
        assert_eq!(pair.closed(SERVER), None);
    }

    #[test]
    fn a_fingerprint_that_never_comes_ends_it_after_ten_seconds() {
        let mut pair = Pair::new(1_200, |_| Fate::Arrives);
        pair.introduce(CLIENT);
        let begun = pair.now;
        pair.run(Duration::from_secs(9));
        assert_eq!(pair.closed(SERVER), None);
        pair.run(Duration::from_secs(2));
        assert_eq!(pair.closed(SERVER), Some(CloseReason::FingerprintTimeout));
        assert_eq!(
            pair.closed(CLIENT),
            Some(CloseReason::PeerClosed),
            "is told"
        );
        assert_eq!(pair.keys(SERVER), None);
        assert!(pair.now - begun <= Duration::from_secs(11));
        pair.introduce(SERVER);
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.keys(SERVER), None, "too late is too late");
    }

    #[test]
    fn a_wrong_certificate_gets_no_keys() {
        let wrong = certificates()[SERVER].fingerprint(HashAlgorithm::Sha384);
        for late in [false, true] {
            let mut pair = Pair::new(1_200, |_| Fate::Arrives);
            pair.introduce(CLIENT);
            if late {
                pair.run(Duration::from_secs(1));
            }
            let now = pair.now;
            pair.sides[SERVER].set_remote_fingerprints(now, core::slice::from_ref(&wrong));
            pair.run(Duration::from_secs(20));
            assert_eq!(pair.closed(SERVER), Some(CloseReason::FingerprintMismatch));
            assert_eq!(pair.keys(SERVER), None);
            let client = if late {
                CloseReason::PeerClosed
            } else {
                CloseReason::HandshakeTimeout
            };
            assert_eq!(pair.closed(CLIENT), Some(client));
            assert!(pair.sides.iter().all(|side| side.deadline().is_none()));
        }
    }

    #[test]
    fn any_of_several_fingerprints_and_hashes_will_do() {
        let [client, server] = certificates();
        for algorithm in [
            HashAlgorithm::Sha256,
            HashAlgorithm::Sha384,
            HashAlgorithm::Sha512,
        ] {
            let mut pair = Pair::new(1_200, |_| Fate::Arrives);
            pair.introduce(CLIENT);
            let expected = [
                server.fingerprint(HashAlgorithm::Sha256),
                client.fingerprint(algorithm),
            ];
            let now = pair.now;
            pair.sides[SERVER].set_remote_fingerprints(now, &expected);
            pair.run(Duration::from_secs(1));
            pair.assert_connected(algorithm.name());
        }
    }

    #[test]
    fn silence_ends_a_handshake() {
        let mut pair = Pair::introduced(1_200, |n| if n == 0 { Fate::Arrives } else { Fate::Lost });
        pair.run(Duration::from_secs(20));
        assert_eq!(pair.closed(SERVER), Some(CloseReason::HandshakeTimeout));
        assert_eq!(pair.closed(CLIENT), Some(CloseReason::HandshakeTimeout));
    }

    #[test]
    fn garbage_opens_a_handshake_only_for_its_time() {
        let mut pair = Pair::introduced(1_200, |_| Fate::Lost);
        let mut garbage = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60];
        garbage.extend([0x55; 60]);
        assert_eq!(pair.sides[SERVER].deadline(), None);
        let now = pair.now;
        pair.sides[SERVER].on_datagram(now, &garbage);
        pair.sides[SERVER].on_datagram(now, &vec![22; MAX_DATAGRAM + 1]);
        pair.run(Duration::from_secs(20));
        assert_eq!(pair.closed(SERVER), Some(CloseReason::HandshakeTimeout));
        assert!(!pair.seen[SERVER].contains(&Seen::Sent), "no answer to it");
    }

    #[test]
    fn a_huge_certificate_is_no_trouble() {
        let (now, epoch) = (Instant::from_millis(1), std::time::Instant::now());
        let mut made = certificates()[CLIENT].clone();
        made.0.certificate.resize(12_000, 0);
        let expected = made.fingerprint(HashAlgorithm::Sha256);
        let mut pair = Pair::introduced(1_200, |_| Fate::Arrives);
        pair.sides[CLIENT] = Handshake::client(now, epoch, &made, &config(1_200));
        pair.introduce(CLIENT);
        let now = pair.now;
        pair.sides[SERVER].set_remote_fingerprints(now, core::slice::from_ref(&expected));
        pair.run(Duration::from_secs(5));
        assert!(pair.seen[SERVER].contains(&Seen::Peer(expected)));
    }

    #[test]
    fn completion_without_srtp_is_a_failure() {
        // `dimpl` completes and gives no keys when `use_srtp` has nothing in common.
        let mut pair = Pair::introduced(1_200, |_| Fate::Lost);
        let der = certificates()[CLIENT].der().to_vec();
        let steps = vec![
            Step::PeerCertificate(der),
            Step::Connected,
            Step::Datagram(vec![20; 20]),
        ];
        let now = pair.now;
        pair.sides[SERVER].begin(now);
        pair.sides[SERVER].take(now, steps);
        pair.collect();
        assert_eq!(pair.closed(SERVER), Some(CloseReason::NoCommonSrtpProfile));
        assert!(!pair.seen[SERVER].contains(&Seen::Sent), "nor a Finished");
    }

    /// How a hostile client treats one datagram of an otherwise proper handshake.
    #[derive(Clone, Debug)]
    enum Mangled {
        Flip(usize, u8),
        Cut(usize),
        Grow(u8),
        Twice,
        /// Overwrites a three-byte length of the first handshake header: message, fragment offset, fragment length.
        Length(usize, u32),
    }

    impl Mangled {
        fn apply(&self, datagram: &[u8]) -> Vec<u8> {
            let mut bytes = datagram.to_vec();
            match self {
                Self::Flip(at, mask) => {
                    let at = at % bytes.len();
                    bytes[at] ^= mask;
                }
                Self::Cut(at) => bytes.truncate(at % bytes.len()),
                Self::Grow(byte) => bytes.extend([*byte; 64]),
                Self::Twice => bytes.extend_from_slice(datagram),
                Self::Length(field, value) => {
                    let at = [14, 19, 22][field % 3];
                    if let Some(length) = bytes.get_mut(at..at + 3) {
                        length.copy_from_slice(&value.to_be_bytes()[1..]);
                    }
                }
            }
            bytes
        }
    }

    fn mangled() -> impl Strategy<Value = Mangled> {
        prop_oneof![
            (any::<usize>(), 1_u8..).prop_map(|(at, mask)| Mangled::Flip(at, mask)),
            any::<usize>().prop_map(Mangled::Cut),
            any::<u8>().prop_map(Mangled::Grow),
            Just(Mangled::Twice),
            (
                any::<usize>(),
                prop_oneof![Just(0), Just(1), Just(0xFF_FFFF), 0..2_000_u32]
            )
                .prop_map(|(field, value)| Mangled::Length(field, value)),
        ]
    }

    proptest! {
        /// Neither we nor `dimpl` panic, and what goes out stays bounded.
        #[test]
        fn no_hostile_client_is_trouble(
            plan in proptest::collection::vec((0_usize..12, mangled()), 1..6),
            mtu in prop_oneof![Just(80_usize), Just(300), Just(1_200)],
        ) {
            let mut pair = Pair::introduced(mtu, |_| Fate::Arrives);
            let (mut taken, mut sent) = (0, 0);
            for _ in 0..40 {
                while let Some(output) = pair.sides[CLIENT].poll() {
                    let Output::Datagram(bytes) = output else { continue };
                    for (at, mangled) in &plan {
                        if *at == taken {
                            pair.sides[SERVER].on_datagram(pair.now, &mangled.apply(&bytes));
                        }
                    }
                    taken += 1;
                    pair.sides[SERVER].on_datagram(pair.now, &bytes);
                }
                while let Some(output) = pair.sides[SERVER].poll() {
                    let Output::Datagram(bytes) = output else { continue };
                    sent += bytes.len();
                    pair.sides[CLIENT].on_datagram(pair.now, &bytes);
                }
                pair.now += Duration::from_millis(100);
                for side in &mut pair.sides {
                    side.on_timeout(pair.now);
                }
            }
            prop_assert!(sent < 40_000, "{} bytes for one handshake", sent);
        }

        #[test]
        fn no_garbage_is_trouble(datagrams in proptest::collection::vec(
            (20_u8..64, proptest::collection::vec(any::<u8>(), 0..200)),
            1..40,
        )) {
            let (now, epoch) = (Instant::from_millis(1), std::time::Instant::now());
            let mut server = Handshake::server(now, epoch, &certificates()[SERVER], &config(1_200));
            for (kind, body) in datagrams {
                // A record header that fits, so that more than its first byte is read.
                let mut bytes = vec![kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                bytes.push(body.len() as u8);
                bytes.extend(body);
                server.on_datagram(now, &bytes);
                while server.poll().is_some() {}
            }
        }
    }

    #[test]
    fn closing_is_told_to_the_peer() {
        let mut pair = Pair::introduced(1_200, |_| Fate::Arrives);
        pair.run(Duration::from_secs(1));
        let now = pair.now;
        pair.sides[SERVER].close(now);
        pair.sides[SERVER].close(now);
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.closed(SERVER), Some(CloseReason::Local));
        assert_eq!(pair.closed(CLIENT), Some(CloseReason::PeerClosed));
        assert_eq!(
            pair.seen[SERVER].last(),
            Some(&Seen::Closed(CloseReason::Local))
        );
    }

    /// A pair whose client can't but use this cipher suite.
    fn with_suite(suite: Dtls12CipherSuite) -> Pair {
        let inner = dimpl::Config::builder()
            .dtls12_cipher_suites(&[suite])
            .build()
            .unwrap();
        let config = Config(Arc::new(Checked {
            settings: Settings::default(),
            inner: Arc::new(inner),
            offered: None,
        }));
        let mut pair = Pair::new(1_200, |_| Fate::Arrives);
        let epoch = std::time::Instant::now();
        pair.sides[CLIENT] = Handshake::client(pair.now, epoch, &certificates()[CLIENT], &config);
        pair.introduce(CLIENT);
        pair.introduce(SERVER);
        pair
    }

    fn has_settled(pair: &Pair) -> bool {
        matches!(pair.sides[SERVER].machine, Machine::Settled(_))
    }

    #[test]
    fn good_byes_work_both_ways_with_every_suite() {
        for (suite, settles) in [
            (Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256, true),
            (Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384, true),
            (
                Dtls12CipherSuite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256,
                false,
            ),
        ] {
            for (leaver, other) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
                let mut pair = with_suite(suite);
                pair.run(Duration::from_secs(1));
                pair.assert_connected("whatever the suite");
                assert_eq!(has_settled(&pair), settles, "{suite:?}");
                let now = pair.now;
                pair.sides[leaver].close(now);
                pair.run(Duration::from_secs(1));
                let reasons = [pair.closed(leaver), pair.closed(other)];
                let expected = [CloseReason::Local, CloseReason::PeerClosed].map(Some);
                assert_eq!(reasons, expected, "{suite:?}");
                let last = &pair.seen[other][pair.seen[other].len() - 2..];
                let answer = [Seen::Sent, Seen::Closed(CloseReason::PeerClosed)];
                assert_eq!(last, answer, "good-bye is answered (RFC 5246 §7.2.1)");
            }
        }
    }

    /// A connected pair, and what the client sent from its ClientHello to its good-bye.
    fn overheard() -> (Pair, Vec<Vec<u8>>) {
        let mut pair = Pair::introduced(1_200, |_| Fate::Arrives);
        let mut heard = Vec::new();
        for round in 0..5 {
            if round == 4 {
                let now = pair.now;
                pair.sides[CLIENT].close(now);
            }
            pair.collect();
            heard.extend(
                pair.wire
                    .iter()
                    .filter(|(_, to, _)| *to == SERVER)
                    .map(|(.., bytes)| bytes.clone()),
            );
            if round < 4 {
                pair.run(DELAY);
            }
        }
        pair.wire.clear();
        pair.assert_server_goes_on();
        (pair, heard)
    }

    impl Pair {
        fn assert_server_goes_on(&self) {
            assert!(has_settled(self) && self.sides[SERVER].is_connected());
            assert_eq!(self.closed(SERVER), None);
        }

        /// A Finished as the client sends it again: in a new record (RFC 6347 §4.2.2).
        fn finished_again(&mut self) -> Vec<u8> {
            let Machine::Whole(client) = &mut self.sides[CLIENT].machine else {
                unreachable!("clients do not settle");
            };
            let key = client.sealed.as_mut().unwrap();
            settled::seal(key, 22, [[20; 12], [0; 12]].concat()).unwrap()
        }

        /// How many datagrams the server answers.
        fn ask_server(&mut self, datagram: &[u8]) -> usize {
            self.sides[SERVER].on_datagram(self.now, datagram);
            let before = self.seen[SERVER].len();
            self.collect();
            self.wire.clear();
            let sent = self.seen[SERVER][before..].iter();
            sent.filter(|seen| **seen == Seen::Sent).count()
        }
    }

    #[test]
    fn only_an_authentic_good_bye_ends_it() {
        let (mut pair, heard) = overheard();
        let good_bye = heard.last().unwrap();
        assert_eq!(good_bye[0], 21, "an alert");
        for at in 0..good_bye.len() {
            let mut forged = good_bye.clone();
            forged[at] ^= 1;
            assert_eq!(pair.ask_server(&forged), 0, "octet {at}");
            pair.assert_server_goes_on();
        }
        let plain = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0];
        assert_eq!(
            pair.ask_server(&plain),
            0,
            "without keys anybody can say so"
        );
        pair.assert_server_goes_on();
        let mut behind_rubbish = plain.to_vec();
        behind_rubbish.extend(good_bye);
        assert_eq!(pair.ask_server(&behind_rubbish), 1);
        assert_eq!(pair.closed(SERVER), Some(CloseReason::PeerClosed));
        assert_eq!(pair.ask_server(good_bye), 0, "nothing comes after it");
    }

    #[test]
    fn a_repeated_finished_gets_the_last_flight_again_and_nothing_else_does() {
        let (mut pair, heard) = overheard();
        let hello = &heard[0];
        assert_eq!(pair.ask_server(hello), 0, "a new handshake does not begin");
        let finished = pair.finished_again();
        assert_eq!(pair.ask_server(&finished), 1);
        let finished = pair.finished_again();
        assert_eq!(pair.ask_server(&finished), 0, "not at once");
        let mut answers = 0;
        for _ in 0..1_000 {
            pair.now += Duration::from_millis(1);
            let finished = pair.finished_again();
            answers += pair.ask_server(&finished);
        }
        assert!((19..=20).contains(&answers), "{answers} in a second");
        pair.assert_server_goes_on();
    }

    #[test]
    fn what_others_may_have_sent_gets_the_last_flight_sixteen_times() {
        let (mut pair, heard) = overheard();
        let finished = &heard[heard.len() - 2];
        // What precedes the Finished anybody could have written.
        let mut spoilt = finished.clone();
        *spoilt.last_mut().unwrap() ^= 1;
        let mut answers = 0;
        for _ in 0..6 {
            pair.now += Duration::from_secs(1);
            answers += pair.ask_server(&spoilt);
        }
        assert_eq!(answers, 6);
        // The Finished anybody could have recorded.
        let again = pair.finished_again();
        assert_eq!(pair.ask_server(&again), 0, "not at once");
        for recorded in [finished, &again] {
            for _ in 0..100 {
                pair.now += Duration::from_secs(1);
                answers += pair.ask_server(recorded);
            }
        }
        assert_eq!(answers, 16);
        let again = pair.finished_again();
        assert_eq!(pair.ask_server(&again), 1, "a new one nobody could");
        pair.assert_server_goes_on();
    }

    #[test]
    fn little_is_kept_of_a_settled_association() {
        let (pair, _) = overheard();
        let server = &pair.sides[SERVER];
        assert_eq!(server.queue.capacity(), 0);
        assert_eq!(server.expected.capacity(), 0);
        assert!(server.peer_certificate.is_none());
        let kept = size_of::<Handshake>() + size_of::<Settled>();
        assert!(kept <= 400, "{kept} bytes");
    }

    #[test]
    fn fingerprints_are_read_and_written_as_in_sdp() {
        let certificate = &certificates()[CLIENT];
        let text = certificate.fingerprint_sha256();
        assert_eq!(text.len(), 32 * 3 - 1);
        assert_eq!(text, certificate.0.fingerprint_str());
        let expected = certificate.fingerprint(HashAlgorithm::Sha256);
        assert_eq!(Fingerprint::parse("sha-256", &text), Ok(expected.clone()));
        assert_eq!(
            Fingerprint::parse("SHA-256", &text.to_lowercase()),
            Ok(expected.clone())
        );
        assert_eq!(expected.to_string(), format!("sha-256 {text}"));
        assert_eq!(
            Fingerprint::parse("sha-1", &text),
            Err(BadFingerprint::Algorithm)
        );
        for value in ["", "AB", &text[1..], &text[3..], &text.replace(':', "")] {
            assert_eq!(
                Fingerprint::parse("sha-256", value),
                Err(BadFingerprint::Value),
                "{value}"
            );
        }
    }

    #[test]
    fn foreign_keys_are_looked_at_first() {
        let made = &certificates()[CLIENT].0;
        let (certificate, key) = (made.certificate.clone(), made.private_key.clone());
        assert!(Certificate::from_der(certificate.clone(), key.clone()).is_ok());
        assert!(Certificate::from_der(Vec::new(), key).is_err());
        assert!(Certificate::from_der(certificate, vec![1, 2, 3]).is_err());
        assert!(
            Config::new(Settings {
                mtu: 10,
                ..Settings::default()
            })
            .is_err()
        );
    }
}
