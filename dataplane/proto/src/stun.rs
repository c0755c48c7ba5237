//! STUN messages (RFC 8489) with the attributes of ICE (RFC 8445 §16.1): a parser that borrows and a writer into a
//! caller's buffer. Only what a Binding exchange needs is here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;

/// Length of the header in bytes (RFC 8489 §5).
pub const HEADER_LEN: usize = 20;
/// More attributes than this make a message malformed. Browsers send seven.
pub const MAX_ATTRIBUTES: usize = 32;
/// A response of [`write_binding_success`] or [`write_binding_error`] fits into this many bytes.
pub const MAX_RESPONSE_LEN: usize = 96;

const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
/// RFC 8489 §14.3: USERNAME is shorter than 509 bytes.
const MAX_USERNAME_LEN: usize = 508;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 4;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// How many unknown comprehension-required attributes are remembered for a 420 response.
const MAX_UNKNOWN: usize = 4;

mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802A;
    /// Comprehension-required attributes that carry nothing for us but are no error: MAPPED-ADDRESS, REALM, NONCE,
    /// MESSAGE-INTEGRITY-SHA256.
    pub const HARMLESS: [u16; 4] = [0x0001, 0x0014, 0x0015, 0x001C];
}

/// The 96 random bits that pair a response with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// RFC 8489 §5: the two class bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// It worked.
    SuccessResponse,
    /// It did not; see [`Message::error_code`].
    ErrorResponse,
}

/// RFC 8489 §5: the twelve method bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

impl Method {
    /// The only method that ICE uses.
    pub const BINDING: Self = Self(1);
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its header, or not as long as its header says, or not a multiple of four.
    #[error("length does not fit the datagram")]
    Length,
    /// The two first bits are not zero, or the magic cookie is another.
    #[error("not a STUN header")]
    Header,
    /// An attribute reaches over the end.
    #[error("attribute reaches over the end")]
    Truncated,
    /// An attribute of this type has a length or value that its definition does not allow.
    #[error("attribute {0:#06x} has a forbidden length or value")]
    Attribute(u16),
    /// More than [`MAX_ATTRIBUTES`].
    #[error("too many attributes")]
    TooManyAttributes,
    /// Something follows FINGERPRINT (RFC 8489 §14.7).
    #[error("FINGERPRINT is not last")]
    AfterFingerprint,
}

/// The caller's buffer cannot hold the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("buffer too small for the message")]
pub struct BufferTooSmall;

/// A password for MESSAGE-INTEGRITY with short-term credentials (RFC 8489 §9.1.1).
///
/// It is kept as it is: prepared for the cipher library it would take 1.4 KiB of every agent, two of them, to save a fraction of a
/// microsecond once in seconds.
#[derive(Clone)]
pub struct IntegrityKey(Box<[u8]>);

impl IntegrityKey {
    /// Keeps `password`.
    pub fn new(password: &[u8]) -> Self {
        Self(password.into())
    }
}

impl core::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}

/// A well-formed message, borrowed from the datagram. What it says is unproven until [`Message::verify`].
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    transaction: TransactionId,
    username: Option<&'a [u8]>,
    priority: Option<u32>,
    use_candidate: bool,
    ice_controlling: Option<u64>,
    ice_controlled: Option<u64>,
    xor_mapped_address: Option<SocketAddr>,
    error_code: Option<u16>,
    /// Offset of the attribute, and its value.
    integrity: Option<(usize, &'a [u8; INTEGRITY_LEN])>,
    fingerprint_is_valid: Option<bool>,
    unknown: [u16; MAX_UNKNOWN],
    unknown_count: usize,
}

impl<'a> Message<'a> {
    /// Parses a whole datagram as one message.
    ///
    /// Of repeated attributes the first counts (RFC 8489 §14); what follows MESSAGE-INTEGRITY is ignored except
    /// FINGERPRINT (§14.5).
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong; nothing is repaired.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, mut rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Length)?;
        let mut message = Self::parse_header(header, bytes)?;
        let mut count = 0_usize;
        while !rest.is_empty() {
            count = count.saturating_add(1);
            if count > MAX_ATTRIBUTES {
                return Err(Malformed::TooManyAttributes);
            }
            if message.fingerprint_is_valid.is_some() {
                return Err(Malformed::AfterFingerprint);
            }
            let offset = bytes.len().saturating_sub(rest.len());
            let (kind, value, after) = split_attribute(rest)?;
            message.take(kind, value, offset)?;
            rest = after;
        }
        Ok(message)
    }

    fn parse_header(header: &[u8; HEADER_LEN], bytes: &'a [u8]) -> Result<Self, Malformed> {
        let &[t0, t1, l0, l1, c0, c1, c2, c3, transaction @ ..] = header;
        if t0 & 0xC0 != 0 || [c0, c1, c2, c3] != MAGIC_COOKIE {
            return Err(Malformed::Header);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if !length.is_multiple_of(4) || length.checked_add(HEADER_LEN) != Some(bytes.len()) {
            return Err(Malformed::Length);
        }
        let (class, method) = split_type(u16::from_be_bytes([t0, t1]));
        Ok(Self {
            bytes,
            class,
            method,
            transaction: TransactionId(transaction),
            username: None,
            priority: None,
            use_candidate: false,
            ice_controlling: None,
            ice_controlled: None,
            xor_mapped_address: None,
            error_code: None,
            integrity: None,
            fingerprint_is_valid: None,
            unknown: [0; MAX_UNKNOWN],
            unknown_count: 0,
        })
    }

    /// Takes in the attribute that begins at `offset`.
    fn take(&mut self, kind: u16, value: &'a [u8], offset: usize) -> Result<(), Malformed> {
        let bad = Malformed::Attribute(kind);
        if kind == attribute::FINGERPRINT {
            let claimed = u32::from_be_bytes(value.try_into().map_err(|_| bad)?);
            let covered = self.bytes.get(..offset).ok_or(bad)?;
            self.fingerprint_is_valid = Some(crc32(covered) ^ FINGERPRINT_XOR == claimed);
            return Ok(());
        }
        if self.integrity.is_some() {
            return Ok(());
        }
        match kind {
            attribute::USERNAME => {
                if value.len() > MAX_USERNAME_LEN {
                    return Err(bad);
                }
                self.username.get_or_insert(value);
            }
            attribute::MESSAGE_INTEGRITY => {
                self.integrity = Some((offset, value.try_into().map_err(|_| bad)?));
            }
            attribute::PRIORITY => {
                let value = value.try_into().map_err(|_| bad)?;
                self.priority.get_or_insert(u32::from_be_bytes(value));
            }
            attribute::USE_CANDIDATE => {
                if !value.is_empty() {
                    return Err(bad);
                }
                self.use_candidate = true;
            }
            attribute::ICE_CONTROLLING => {
                let value = value.try_into().map_err(|_| bad)?;
                self.ice_controlling
                    .get_or_insert(u64::from_be_bytes(value));
            }
            attribute::ICE_CONTROLLED => {
                let value = value.try_into().map_err(|_| bad)?;
                self.ice_controlled.get_or_insert(u64::from_be_bytes(value));
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = read_xor_address(value, &self.transaction).ok_or(bad)?;
                self.xor_mapped_address.get_or_insert(address);
            }
            attribute::ERROR_CODE => {
                self.error_code
                    .get_or_insert(read_error_code(value).ok_or(bad)?);
            }
            // RFC 8489 §14: below 0x8000 an attribute must be understood.
            0..0x8000 if !attribute::HARMLESS.contains(&kind) => self.remember_unknown(kind),
            _ => {}
        }
        Ok(())
    }

    fn remember_unknown(&mut self, kind: u16) {
        if let Some(slot) = self.unknown.get_mut(self.unknown_count) {
            *slot = kind;
            self.unknown_count = self.unknown_count.saturating_add(1);
        }
    }

    /// Request, indication or response.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What is asked or answered.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The transaction that this belongs to.
    pub fn transaction_id(&self) -> TransactionId {
        self.transaction
    }

    /// Length of the whole message in bytes.
    pub fn wire_len(&self) -> usize {
        self.bytes.len()
    }

    /// USERNAME. In a connectivity check: receiver's ufrag, colon, sender's ufrag (RFC 8445 §7.2.2).
    pub fn username(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// PRIORITY of a connectivity check.
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// Whether the controlling side nominates this pair.
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// Tie-breaker of ICE-CONTROLLING.
    pub fn ice_controlling(&self) -> Option<u64> {
        self.ice_controlling
    }

    /// Tie-breaker of ICE-CONTROLLED.
    pub fn ice_controlled(&self) -> Option<u64> {
        self.ice_controlled
    }

    /// The address that the responder saw the request come from.
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_mapped_address
    }

    /// ERROR-CODE, 300 to 699.
    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// Attributes that must be understood and are not, at most four.
    pub fn unknown_required(&self) -> &[u16] {
        self.unknown.get(..self.unknown_count).unwrap_or_default()
    }

    /// Whether MESSAGE-INTEGRITY is there at all.
    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether FINGERPRINT is right; `None` if there is none.
    pub fn fingerprint_is_valid(&self) -> Option<bool> {
        self.fingerprint_is_valid
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with `key`. Compares in constant time.
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let Some((offset, claimed)) = self.integrity else {
            return false;
        };
        integrity(self.bytes, offset, key).is_some_and(|tag| {
            aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), claimed).is_ok()
        })
    }
}

/// The type and value of the first attribute in `bytes`, and what follows its padding.
fn split_attribute(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), Malformed> {
    let (&[k0, k1, l0, l1], rest) = bytes
        .split_first_chunk::<ATTRIBUTE_HEADER_LEN>()
        .ok_or(Malformed::Truncated)?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (padded, after) = rest
        .split_at_checked(length.next_multiple_of(4))
        .ok_or(Malformed::Truncated)?;
    let value = padded.get(..length).ok_or(Malformed::Truncated)?;
    Ok((u16::from_be_bytes([k0, k1]), value, after))
}

/// RFC 8489 §5, figure 3: class bits lie between method bits.
fn split_type(bits: u16) -> (Class, Method) {
    let class = match (bits & 0x0100 != 0, bits & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::SuccessResponse,
        (true, true) => Class::ErrorResponse,
    };
    let method = (bits & 0x000F) | ((bits & 0x00E0) >> 1) | ((bits & 0x3E00) >> 2);
    (class, Method(method))
}

fn join_type(class: Class, method: Method) -> u16 {
    let class = match class {
        Class::Request => 0,
        Class::Indication => 0x0010,
        Class::SuccessResponse => 0x0100,
        Class::ErrorResponse => 0x0110,
    };
    let Method(bits) = method;
    class | (bits & 0x000F) | ((bits & 0x0070) << 1) | ((bits & 0x0F80) << 2)
}

/// RFC 8489 §14.2.
fn read_xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let [m0, m1, ..] = MAGIC_COOKIE;
    let port = u16::from_be_bytes([p0 ^ m0, p1 ^ m1]);
    let mask = address_mask(transaction);
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(xor::<4>(address.try_into().ok()?, &mask))),
        2 => IpAddr::V6(Ipv6Addr::from(xor::<16>(address.try_into().ok()?, &mask))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Magic cookie and transaction id, which addresses are hidden with.
fn address_mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    for (to, from) in mask
        .iter_mut()
        .zip(MAGIC_COOKIE.iter().chain(&transaction.0))
    {
        *to = *from;
    }
    mask
}

fn xor<const N: usize>(mut address: [u8; N], mask: &[u8; 16]) -> [u8; N] {
    for (byte, mask) in address.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    address
}

/// RFC 8489 §14.8.
fn read_error_code(value: &[u8]) -> Option<u16> {
    let (&[_, _, hundreds, rest], _reason) = value.split_first_chunk::<4>()?;
    let hundreds = u16::from(hundreds & 0x07);
    if !(3..=6).contains(&hundreds) || rest > 99 {
        return None;
    }
    Some(hundreds.wrapping_mul(100).wrapping_add(u16::from(rest)))
}

/// RFC 8489 §14.5: HMAC-SHA1 up to the attribute at `offset`, as if that attribute ended the message.
fn integrity(bytes: &[u8], offset: usize, key: &IntegrityKey) -> Option<hmac::Tag> {
    let adjusted = offset
        .checked_add(ATTRIBUTE_HEADER_LEN)?
        .checked_add(INTEGRITY_LEN)?
        .checked_sub(HEADER_LEN)?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key.0);
    let mut context = hmac::Context::with_key(&key);
    context.update(bytes.get(..2)?);
    context.update(&u16::try_from(adjusted).ok()?.to_be_bytes());
    context.update(bytes.get(4..offset)?);
    Some(context.sign())
}

/// CRC-32 as in ITU V.42 (RFC 8489 §14.7).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32_table();
    let mut crc = u32::MAX;
    for byte in bytes {
        let [index, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        crc = TABLE.get(usize::from(index)).copied().unwrap_or_default() ^ (crc >> 8);
    }
    !crc
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, where a mistake is a compile error"
)]
const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xEDB8_8320;
            }
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// Which role the sender of a connectivity check has, with its tie-breaker (RFC 8445 §7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends ICE-CONTROLLING.
    Controlling(u64),
    /// Sends ICE-CONTROLLED.
    Controlled(u64),
}

/// What a connectivity check says (RFC 8445 §7.2.4).
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    /// Fresh and unguessable.
    pub transaction: TransactionId,
    /// The receiver's ufrag, which comes first in USERNAME.
    pub receiver_ufrag: &'a [u8],
    /// The sender's ufrag.
    pub sender_ufrag: &'a [u8],
    /// PRIORITY that a peer-reflexive candidate would have.
    pub priority: u32,
    /// The sender's role.
    pub role: Role,
    /// Nominates the pair; only the controlling side may.
    pub use_candidate: bool,
}

/// Writes a connectivity check and returns its length.
///
/// # Errors
/// [`BufferTooSmall`].
pub fn write_binding_request(
    buffer: &mut [u8],
    request: &BindingRequest<'_>,
    key: &IntegrityKey,
) -> Result<usize, BufferTooSmall> {
    let mut writer = Writer::begin(buffer, Class::Request, request.transaction)?;
    writer.attribute(
        attribute::USERNAME,
        &[request.receiver_ufrag, b":", request.sender_ufrag],
    )?;
    let (kind, tie_breaker) = match request.role {
        Role::Controlling(tie_breaker) => (attribute::ICE_CONTROLLING, tie_breaker),
        Role::Controlled(tie_breaker) => (attribute::ICE_CONTROLLED, tie_breaker),
    };
    writer.attribute(kind, &[&tie_breaker.to_be_bytes()])?;
    if request.use_candidate {
        writer.attribute(attribute::USE_CANDIDATE, &[])?;
    }
    writer.attribute(attribute::PRIORITY, &[&request.priority.to_be_bytes()])?;
    writer.finish(key)
}

/// Writes the success response to `transaction` and returns its length: 64 bytes for IPv4, 76 for IPv6.
///
/// # Errors
/// [`BufferTooSmall`]; never with [`MAX_RESPONSE_LEN`] bytes.
pub fn write_binding_success(
    buffer: &mut [u8],
    transaction: TransactionId,
    mapped: SocketAddr,
    key: &IntegrityKey,
) -> Result<usize, BufferTooSmall> {
    let mut writer = Writer::begin(buffer, Class::SuccessResponse, transaction)?;
    let mask = address_mask(&transaction);
    let [m0, m1, ..] = mask;
    let [p0, p1] = mapped.port().to_be_bytes();
    let port = [p0 ^ m0, p1 ^ m1];
    match mapped.ip() {
        IpAddr::V4(ip) => writer.attribute(
            attribute::XOR_MAPPED_ADDRESS,
            &[&[0, 1], &port, &xor(ip.octets(), &mask)],
        )?,
        IpAddr::V6(ip) => writer.attribute(
            attribute::XOR_MAPPED_ADDRESS,
            &[&[0, 2], &port, &xor(ip.octets(), &mask)],
        )?,
    }
    writer.finish(key)
}

/// Writes the error response `code` (300 to 699) to `transaction` and returns its length.
///
/// The reason phrase is left empty to stay shorter than the question. `unknown` becomes UNKNOWN-ATTRIBUTES of a
/// 420 and counts up to four.
///
/// # Errors
/// [`BufferTooSmall`]; never with [`MAX_RESPONSE_LEN`] bytes.
pub fn write_binding_error(
    buffer: &mut [u8],
    transaction: TransactionId,
    code: u16,
    unknown: &[u16],
    key: &IntegrityKey,
) -> Result<usize, BufferTooSmall> {
    let mut writer = Writer::begin(buffer, Class::ErrorResponse, transaction)?;
    let [_, hundreds] = (code / 100).to_be_bytes();
    let [_, rest] = (code % 100).to_be_bytes();
    writer.attribute(attribute::ERROR_CODE, &[&[0, 0, hundreds, rest]])?;
    let mut kinds = [0; 2 * MAX_UNKNOWN];
    let mut length = 0_usize;
    for (slot, kind) in kinds.as_chunks_mut::<2>().0.iter_mut().zip(unknown) {
        *slot = kind.to_be_bytes();
        length = length.saturating_add(2);
    }
    if length > 0 {
        let kinds = kinds.get(..length).unwrap_or_default();
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &[kinds])?;
    }
    writer.finish(key)
}

struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    fn begin(
        buffer: &'a mut [u8],
        class: Class,
        transaction: TransactionId,
    ) -> Result<Self, BufferTooSmall> {
        let mut writer = Self { buffer, length: 0 };
        writer.put(&join_type(class, Method::BINDING).to_be_bytes())?;
        writer.put(&[0, 0])?;
        writer.put(&MAGIC_COOKIE)?;
        writer.put(&transaction.0)?;
        Ok(writer)
    }

    /// Appends an attribute whose value is `parts` one after the other.
    fn attribute(&mut self, kind: u16, parts: &[&[u8]]) -> Result<(), BufferTooSmall> {
        let length = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let wire = u16::try_from(length).map_err(|_| BufferTooSmall)?;
        self.put(&kind.to_be_bytes())?;
        self.put(&wire.to_be_bytes())?;
        for part in parts {
            self.put(part)?;
        }
        let padding = length.next_multiple_of(4).saturating_sub(length);
        self.put([0; 3].get(..padding).unwrap_or_default())?;
        self.set_length(0)
    }

    /// Appends MESSAGE-INTEGRITY and FINGERPRINT.
    fn finish(mut self, key: &IntegrityKey) -> Result<usize, BufferTooSmall> {
        let tag = integrity(self.buffer, self.length, key).ok_or(BufferTooSmall)?;
        self.attribute(attribute::MESSAGE_INTEGRITY, &[tag.as_ref()])?;
        // RFC 8489 §14.7: the length field covers FINGERPRINT before the sum is made.
        self.set_length(ATTRIBUTE_HEADER_LEN.saturating_add(FINGERPRINT_LEN))?;
        let sum = crc32(self.buffer.get(..self.length).ok_or(BufferTooSmall)?) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &[&sum.to_be_bytes()])?;
        Ok(self.length)
    }

    /// Writes the length field for what is there and `coming` more bytes.
    fn set_length(&mut self, coming: usize) -> Result<(), BufferTooSmall> {
        let body = self
            .length
            .saturating_add(coming)
            .saturating_sub(HEADER_LEN);
        let wire = u16::try_from(body).map_err(|_| BufferTooSmall)?;
        let field = self.buffer.get_mut(2..4).ok_or(BufferTooSmall)?;
        field.copy_from_slice(&wire.to_be_bytes());
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        let end = self.length.checked_add(bytes.len()).ok_or(BufferTooSmall)?;
        let target = self
            .buffer
            .get_mut(self.length..end)
            .ok_or(BufferTooSmall)?;
        target.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }
}

/// Body of a fuzz target: parsing does not panic, and a parsed message is consistent.
#[doc(hidden)]
pub fn fuzz_stun(data: &[u8]) {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    assert_eq!(
        message.wire_len(),
        data.len(),
        "the whole datagram is parsed"
    );
    let key = IntegrityKey::new(b"VOkJxbRl1RmTxUk/WvJxBt");
    if message.verify(&key) {
        assert!(message.has_integrity(), "only what is there verifies");
    }
    assert!(message.unknown_required().len() <= MAX_UNKNOWN, "bounded");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769: the password of all three samples.
    const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
    const TRANSACTION: TransactionId = TransactionId([
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ]);
    /// RFC 5769 §2.1.
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e20746573742063\
        6c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70c\
        bfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
    /// RFC 5769 §2.2.
    const SAMPLE_RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f\
        7220002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    /// RFC 5769 §2.3.
    const SAMPLE_RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f\
        7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed\
        4180280004c8fb0b4c";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn reads_the_sample_request() {
        let bytes = unhex(SAMPLE_REQUEST);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class(), Class::Request);
        assert_eq!(message.method(), Method::BINDING);
        assert_eq!(message.transaction_id(), TRANSACTION);
        assert_eq!(message.username(), Some(b"evtj:h6vY".as_slice()));
        assert_eq!(message.priority(), Some(0x6e00_01ff));
        assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
        assert_eq!(message.ice_controlling(), None);
        assert!(!message.use_candidate());
        assert_eq!(message.fingerprint_is_valid(), Some(true));
        assert!(message.verify(&IntegrityKey::new(PASSWORD)));
        assert!(!message.verify(&IntegrityKey::new(b"another password")));
    }

    #[test]
    fn reads_the_sample_responses() {
        for (sample, address) in [
            (SAMPLE_RESPONSE_V4, "192.0.2.1:32853"),
            (
                SAMPLE_RESPONSE_V6,
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
            ),
        ] {
            let bytes = unhex(sample);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.class(), Class::SuccessResponse);
            assert_eq!(message.xor_mapped_address(), Some(address.parse().unwrap()));
            assert_eq!(message.fingerprint_is_valid(), Some(true));
            assert!(message.verify(&IntegrityKey::new(PASSWORD)));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = unhex(SAMPLE_REQUEST);
        let key = IntegrityKey::new(PASSWORD);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(message) = Message::parse(&damaged) {
                assert_ne!(message.fingerprint_is_valid(), Some(true), "bit {bit}");
                // The last eight bytes are FINGERPRINT, which integrity does not cover.
                assert!(
                    bit / 8 >= bytes.len() - 8 || !message.verify(&key),
                    "bit {bit}"
                );
            }
        }
    }

    #[test]
    fn every_cut_is_malformed() {
        let bytes = unhex(SAMPLE_REQUEST);
        for length in 0..bytes.len() {
            assert!(Message::parse(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes;
        longer.extend([0; 4]);
        assert_eq!(Message::parse(&longer).unwrap_err(), Malformed::Length);
    }

    fn request<'a>() -> BindingRequest<'a> {
        BindingRequest {
            transaction: TRANSACTION,
            receiver_ufrag: b"node",
            sender_ufrag: b"browser",
            priority: 7,
            role: Role::Controlled(42),
            use_candidate: false,
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let key = IntegrityKey::new(PASSWORD);
        let mut buffer = [0; 200];
        let nominating = BindingRequest {
            role: Role::Controlling(43),
            use_candidate: true,
            ..request()
        };
        for request in [request(), nominating] {
            let length = write_binding_request(&mut buffer, &request, &key).unwrap();
            let message = Message::parse(&buffer[..length]).unwrap();
            assert_eq!(message.username(), Some(b"node:browser".as_slice()));
            assert_eq!(message.priority(), Some(7));
            assert_eq!(message.use_candidate(), request.use_candidate);
            match request.role {
                Role::Controlling(tie) => assert_eq!(message.ice_controlling(), Some(tie)),
                Role::Controlled(tie) => assert_eq!(message.ice_controlled(), Some(tie)),
            }
            assert!(message.verify(&key));
            assert_eq!(message.fingerprint_is_valid(), Some(true));
        }
    }

    #[test]
    fn responses_have_their_documented_size() {
        let key = IntegrityKey::new(PASSWORD);
        let mut buffer = [0; MAX_RESPONSE_LEN];
        for (address, expected) in [("192.0.2.1:7", 64), ("[2001:db8::1]:7", 76)] {
            let address = address.parse().unwrap();
            let length = write_binding_success(&mut buffer, TRANSACTION, address, &key).unwrap();
            assert_eq!(length, expected);
            let message = Message::parse(&buffer[..length]).unwrap();
            assert_eq!(message.xor_mapped_address(), Some(address));
            assert!(message.verify(&key));
        }
        let unknown = [1, 2, 3, 4, 5];
        let length = write_binding_error(&mut buffer, TRANSACTION, 420, &unknown, &key).unwrap();
        let message = Message::parse(&buffer[..length]).unwrap();
        assert_eq!(message.error_code(), Some(420));
        assert_eq!(message.class(), Class::ErrorResponse);
        assert!(message.verify(&key));
        let length = write_binding_error(&mut buffer, TRANSACTION, 487, &[], &key).unwrap();
        assert_eq!(length, 60);
    }

    #[test]
    fn a_small_buffer_is_an_error_at_every_size() {
        let key = IntegrityKey::new(PASSWORD);
        let mut buffer = [0; 200];
        let full = write_binding_request(&mut buffer, &request(), &key).unwrap();
        for length in 0..full {
            assert_eq!(
                write_binding_request(&mut buffer[..length], &request(), &key),
                Err(BufferTooSmall)
            );
        }
    }

    /// A request whose attributes are `attributes`, without integrity.
    fn raw(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 200];
        let mut writer = Writer::begin(&mut bytes, Class::Request, TRANSACTION).unwrap();
        for (kind, value) in attributes {
            writer.attribute(*kind, &[value]).unwrap();
        }
        let length = writer.length;
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn after_integrity_only_the_fingerprint_counts() {
        let bytes = raw(&[
            (attribute::MESSAGE_INTEGRITY, &[0; 20]),
            (attribute::USE_CANDIDATE, &[]),
            (attribute::USERNAME, b"forged"),
        ]);
        let message = Message::parse(&bytes).unwrap();
        assert!(!message.use_candidate());
        assert_eq!(message.username(), None);
        let bytes = raw(&[
            (attribute::FINGERPRINT, &[0; 4]),
            (attribute::USE_CANDIDATE, &[]),
        ]);
        assert_eq!(
            Message::parse(&bytes).unwrap_err(),
            Malformed::AfterFingerprint
        );
    }

    #[test]
    fn wrong_sizes_and_too_many_attributes_are_malformed() {
        for (kind, value) in [
            (attribute::PRIORITY, [0; 3].as_slice()),
            (attribute::ICE_CONTROLLING, &[0; 4]),
            (attribute::ICE_CONTROLLED, &[0; 9]),
            (attribute::MESSAGE_INTEGRITY, &[0; 32]),
            (attribute::USE_CANDIDATE, &[1]),
            (attribute::FINGERPRINT, &[]),
            (attribute::XOR_MAPPED_ADDRESS, &[0, 2, 0, 0, 1, 2, 3, 4]),
            (attribute::XOR_MAPPED_ADDRESS, &[0, 3, 0, 0, 1, 2, 3, 4]),
            (attribute::ERROR_CODE, &[0, 0, 2, 0]),
        ] {
            let error = Message::parse(&raw(&[(kind, value)])).unwrap_err();
            assert_eq!(error, Malformed::Attribute(kind));
        }
        let many = vec![(0x8000, [].as_slice()); MAX_ATTRIBUTES + 1];
        assert_eq!(
            Message::parse(&raw(&many)).unwrap_err(),
            Malformed::TooManyAttributes
        );
        assert!(Message::parse(&raw(&many[1..])).is_ok());
    }

    #[test]
    fn unknown_required_attributes_are_remembered_up_to_four() {
        let bytes = raw(&[(0x7000, &[]), (0x0014, &[]), (0xC057, &[]), (0x7001, &[9])]);
        assert_eq!(
            Message::parse(&bytes).unwrap().unknown_required(),
            [0x7000, 0x7001]
        );
        let bytes = raw(&[(0x7000, [].as_slice()); 6]);
        assert_eq!(Message::parse(&bytes).unwrap().unknown_required().len(), 4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(
            mut data in proptest::collection::vec(any::<u8>(), 0..200),
            plausible: bool,
        ) {
            if plausible && data.len() >= HEADER_LEN {
                data.truncate(data.len() & !3);
                let length = (data.len() - HEADER_LEN) as u16;
                data[0] &= 0x3F;
                data[2..4].copy_from_slice(&length.to_be_bytes());
                data[4..8].copy_from_slice(&MAGIC_COOKIE);
            }
            fuzz_stun(&data);
        }

        #[test]
        fn type_bits_survive(method in 0_u16..0x1000, class in 0_usize..4) {
            let class = [
                Class::Request,
                Class::Indication,
                Class::SuccessResponse,
                Class::ErrorResponse,
            ][class];
            prop_assert_eq!(split_type(join_type(class, Method(method))), (class, Method(method)));
        }
    }
}
