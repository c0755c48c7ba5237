//! ICE (RFC 8445): [`lite`] for the node, [`controlling`] for load generators and simulated browsers.

use std::net::SocketAddr;

use clock::{Duration, Instant, Rng};

use crate::stun::{self, BindingRequest, IntegrityKey, TransactionId};

pub mod controlling;
mod fuzz;
pub mod lite;

#[doc(hidden)]
pub use fuzz::fuzz_ice;

/// RFC 8839 §5.4: a ufrag has 4 to 256 characters; ours are shorter, so that a check fits into [`Datagram`].
const MAX_OWN_UFRAG: usize = 32;
const UFRAG_LENGTHS: core::ops::RangeInclusive<usize> = 4..=256;
/// RFC 8839 §5.4: at least 128 random bits.
const PASSWORD_LENGTHS: core::ops::RangeInclusive<usize> = 22..=256;
/// Largest check that we send: longest ufrags on both sides and every attribute.
const MAX_CHECK_LEN: usize = 384;
/// Checks to one address that may still be answered.
const MAX_PENDING: usize = 4;
/// RFC 8445 §5.1.2.1 with type preference 110 (peer-reflexive), local preference 65535, component 1.
const PEER_REFLEXIVE_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// The ufrag of the receiver in a check's USERNAME `receiver:sender` (RFC 8445 §7.2.2): the key by which a stranger's
/// first check finds its transport.
pub fn local_ufrag(username: &[u8]) -> Option<&[u8]> {
    split_username(username).map(|(local, _)| local)
}

/// Splits a received USERNAME into our ufrag and the peer's. A ufrag has no colon in it (RFC 8839 §5.4).
pub fn split_username(username: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = username.iter().position(|byte| *byte == b':')?;
    let (local, rest) = username.split_at_checked(colon)?;
    rest.split_first().map(|(_, remote)| (local, remote))
}

/// One side's ufrag and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ufrag: String,
    password: String,
}

/// RFC 8839 §5.4 allows no such ufrag or password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// Not 4 to 256 characters of letters, digits, `+` and `/`.
    #[error("ufrag has a wrong length or character")]
    Ufrag,
    /// Not 22 to 256 characters of letters, digits, `+` and `/`.
    #[error("password has a wrong length or character")]
    Password,
}

impl Credentials {
    /// Credentials as they stand in `a=ice-ufrag` and `a=ice-pwd`.
    ///
    /// # Errors
    /// [`BadCredentials`] for wrong lengths or characters. `-` and `_` and the like are let through in a ufrag or
    /// password, because some clients send them; a colon or a space is not.
    pub fn new(ufrag: &str, password: &str) -> Result<Self, BadCredentials> {
        let clean = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !UFRAG_LENGTHS.contains(&ufrag.len()) || !clean(ufrag) {
            return Err(BadCredentials::Ufrag);
        }
        if !PASSWORD_LENGTHS.contains(&password.len()) || !clean(password) {
            return Err(BadCredentials::Password);
        }
        Ok(Self {
            ufrag: ufrag.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Draws a ufrag of 8 and a password of 24 characters: 48 and 144 bits.
    pub fn generate(rng: &mut Rng) -> Self {
        Self {
            ufrag: draw(rng, 8),
            password: draw(rng, 24),
        }
    }

    /// The username fragment.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credentials({}, ..)", self.ufrag)
    }
}

fn draw(rng: &mut Rng, length: usize) -> String {
    const ICE_CHARS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length)
        .filter_map(|_| {
            let index = usize::try_from(rng.below(64)).ok()?;
            ICE_CHARS.get(index).copied().map(char::from)
        })
        .collect()
}

/// What an agent wants done.
#[expect(
    clippy::large_enum_variant,
    reason = "inline on purpose: sending a check allocates nothing, and one output exists at a time"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a check of our own.
    Send {
        /// Where to.
        to: SocketAddr,
        /// The message.
        datagram: Datagram,
    },
    /// Something happened.
    Event(Event),
}

/// What an agent has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first valid check came from this address; the owner routes datagrams from it here from now on.
    Checked(SocketAddr),
    /// The table was full and this address had to go; datagrams from it are a stranger's again.
    Forgotten(SocketAddr),
    /// Media goes here from now on.
    Selected {
        /// The peer's address.
        address: SocketAddr,
        /// Whether it answered our check. If not, its DTLS handshake completed there.
        proven: bool,
    },
    /// Nobody agreed for too long (RFC 7675): nothing may be sent any more.
    ConsentLost,
    /// No address was selected in time.
    Timeout,
}

/// Why a message was ignored. It was not answered either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    /// Neither request nor response, or another method than Binding.
    #[error("not a Binding request or response")]
    NotBinding,
    /// FINGERPRINT is there and wrong.
    #[error("FINGERPRINT is wrong")]
    WrongFingerprint,
    /// USERNAME is missing or has another ufrag than ours.
    #[error("USERNAME is missing or another's")]
    WrongUsername,
    /// MESSAGE-INTEGRITY is missing.
    #[error("MESSAGE-INTEGRITY is missing")]
    NoIntegrity,
    /// MESSAGE-INTEGRITY was made with another password.
    #[error("MESSAGE-INTEGRITY is wrong")]
    WrongIntegrity,
    /// PRIORITY or role is missing (RFC 8445 §7.2.4).
    #[error("PRIORITY or role is missing")]
    Incomplete,
    /// The answer would be longer than the question: an amplifier.
    #[error("the answer would be longer than the question")]
    AnswerTooLong,
    /// A response to nothing that we asked of that address.
    #[error("no such transaction with that address")]
    UnknownTransaction,
    /// An authentic error response.
    #[error("the peer refused our check")]
    Refused,
    /// The agent has ended.
    #[error("the agent has ended")]
    Ended,
}

/// A message of our own, stored inline.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    bytes: [u8; MAX_CHECK_LEN],
    length: usize,
}

impl Datagram {
    /// Writes `request`; `None` only if it does not fit, which the bounds on credentials rule out.
    fn check(request: &BindingRequest<'_>, key: &IntegrityKey) -> Option<Self> {
        let mut bytes = [0; MAX_CHECK_LEN];
        let length = stun::write_binding_request(&mut bytes, request, key).ok()?;
        Some(Self { bytes, length })
    }
}

impl core::ops::Deref for Datagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl core::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Datagram({} bytes)", self.length)
    }
}

/// Checks that every Binding request has to pass before its sender is believed (RFC 8445 §7.3, RFC 8489 §9.1.3).
fn authenticate_request(
    message: &stun::Message<'_>,
    ufrag: &str,
    key: &IntegrityKey,
) -> Result<(), Ignored> {
    if message.class() != stun::Class::Request || message.method() != stun::Method::BINDING {
        return Err(Ignored::NotBinding);
    }
    if message.fingerprint_is_valid() == Some(false) {
        return Err(Ignored::WrongFingerprint);
    }
    if message.username().and_then(local_ufrag) != Some(ufrag.as_bytes()) {
        return Err(Ignored::WrongUsername);
    }
    authenticate(message, key)
}

fn authenticate(message: &stun::Message<'_>, key: &IntegrityKey) -> Result<(), Ignored> {
    if !message.has_integrity() {
        return Err(Ignored::NoIntegrity);
    }
    if !message.verify(key) {
        return Err(Ignored::WrongIntegrity);
    }
    Ok(())
}

/// Checks of ours that may still be answered: the last few, each with its own transaction id, so that an answer tells
/// which of them it belongs to and a round trip is never mistaken (as retransmitted ids would).
#[derive(Clone, Debug, Default)]
struct Pending {
    sent: [Option<(TransactionId, Instant)>; MAX_PENDING],
    next: usize,
}

impl Pending {
    /// Draws the id of a check sent at `now`; the oldest is forgotten.
    fn begin(&mut self, now: Instant, rng: &mut Rng) -> TransactionId {
        let mut id = [0; 12];
        rng.fill(&mut id);
        let id = TransactionId(id);
        let slot = self.next;
        self.next = slot.wrapping_add(1) % MAX_PENDING;
        if let Some(slot) = self.sent.get_mut(slot) {
            *slot = Some((id, now));
        }
        id
    }

    /// When the check `id` was sent, if it still waits.
    fn sent_at(&self, id: TransactionId) -> Option<Instant> {
        let mut waiting = self.sent.iter().flatten();
        waiting.find(|(sent, _)| *sent == id).map(|(_, at)| *at)
    }

    fn clear(&mut self) {
        self.sent = Default::default();
    }
}

/// Accepts `message` as an answer to a check among `pending`, and returns when that was sent.
fn authenticate_response(
    message: &stun::Message<'_>,
    pending: &Pending,
    key: &IntegrityKey,
) -> Result<Instant, Ignored> {
    let sent_at = pending
        .sent_at(message.transaction_id())
        .ok_or(Ignored::UnknownTransaction)?;
    if message.method() != stun::Method::BINDING {
        return Err(Ignored::NotBinding);
    }
    if message.fingerprint_is_valid() == Some(false) {
        return Err(Ignored::WrongFingerprint);
    }
    authenticate(message, key)?;
    match message.class() {
        stun::Class::SuccessResponse => Ok(sent_at),
        stun::Class::ErrorResponse => Err(Ignored::Refused),
        stun::Class::Request | stun::Class::Indication => Err(Ignored::NotBinding),
    }
}

/// RFC 6298 §2.3, without the variance.
fn smooth(rtt: Option<Duration>, sample: Duration) -> Duration {
    match rtt {
        None => sample,
        Some(rtt) => {
            let sum = rtt.saturating_mul(7).saturating_add(sample);
            sum.checked_div(8).unwrap_or(sample)
        }
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

/// `interval` ± 20 % (RFC 7675 §5.1).
fn randomized(interval: Duration, rng: &mut Rng) -> Duration {
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    let (shortest, spread) = ((nanos / 5).saturating_mul(4), (nanos / 5).saturating_mul(2));
    Duration::from_nanos(shortest.saturating_add(rng.below(spread.saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_usernames_at_the_first_colon() {
        assert_eq!(local_ufrag(b"node:browser"), Some(b"node".as_slice()));
        assert_eq!(
            split_username(b"a:b:c"),
            Some((b"a".as_slice(), b"b:c".as_slice()))
        );
        assert_eq!(split_username(b":"), Some((b"".as_slice(), b"".as_slice())));
        assert_eq!(local_ufrag(b"node"), None);
        assert_eq!(local_ufrag(b""), None);
    }

    #[test]
    fn credentials_are_checked_and_drawn() {
        let mut rng = Rng::from_number(1);
        let drawn = Credentials::generate(&mut rng);
        assert_eq!(
            Credentials::new(drawn.ufrag(), drawn.password()),
            Ok(drawn.clone())
        );
        assert_ne!(Credentials::generate(&mut rng), drawn);
        assert!(!format!("{drawn:?}").contains(drawn.password()));
        let good = "p".repeat(22);
        for ufrag in ["abc", "a:cd", "a cd", &"u".repeat(257)] {
            assert_eq!(Credentials::new(ufrag, &good), Err(BadCredentials::Ufrag));
        }
        assert_eq!(
            Credentials::new("abcd", &good[1..]),
            Err(BadCredentials::Password)
        );
    }

    #[test]
    fn the_longest_check_fits_into_a_datagram() {
        let request = BindingRequest {
            transaction: TransactionId([0; 12]),
            receiver_ufrag: &[b'r'; 256],
            sender_ufrag: &[b's'; MAX_OWN_UFRAG],
            priority: PEER_REFLEXIVE_PRIORITY,
            role: stun::Role::Controlling(1),
            use_candidate: true,
        };
        let datagram = Datagram::check(&request, &IntegrityKey::new(b"password")).unwrap();
        assert!(datagram.len() <= MAX_CHECK_LEN);
    }

    #[test]
    fn intervals_spread_by_a_fifth() {
        let mut rng = Rng::from_number(2);
        let drawn: Vec<_> = (0..1000)
            .map(|_| randomized(Duration::from_secs(5), &mut rng))
            .collect();
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(4) && *least < Duration::from_millis(4_100));
        assert!(*most <= Duration::from_secs(6) && *most > Duration::from_millis(5_900));
    }
}
