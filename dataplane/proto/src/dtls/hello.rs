//! Which cipher suites a ClientHello offers (RFC 5246 §7.4.1.2, RFC 6347 §4.2.1).
//!
//! `dimpl` takes a ClientHello without a suite that it knows for one that it can't read, and waits for another. Whoever looks for the
//! cause of a standstill would not learn of it.

/// Content type of a handshake record (RFC 5246 §6.2.1), and its header's length in DTLS (RFC 6347 §4.1).
const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 13;
/// Handshake type of a ClientHello (RFC 5246 §7.4), and the length of what is in front of its body (RFC 6347 §4.2.2).
const CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER: usize = 12;
/// Version and random in front of the session's id.
const FIXED: usize = 2 + 32;

/// Whether a datagram begins with a ClientHello that offers none of those suites. One in fragments, or that can't be read, says nothing.
pub(super) fn offers_none(datagram: &[u8], is_ours: impl Fn(u16) -> bool) -> bool {
    suites(datagram).is_some_and(|suites| {
        let mut pairs = suites.chunks_exact(2);
        let is_whole = pairs.remainder().is_empty() && !suites.is_empty();
        is_whole
            && !pairs.any(
                |pair| matches!(pair, [high, low] if is_ours(u16::from_be_bytes([*high, *low]))),
            )
    })
}

fn suites(datagram: &[u8]) -> Option<&[u8]> {
    let (record, message) = datagram.split_at_checked(RECORD_HEADER)?;
    let (header, body) = message.split_at_checked(MESSAGE_HEADER)?;
    let [HANDSHAKE, _, _, 0, 0, ..] = record else {
        return None;
    };
    let [CLIENT_HELLO, l0, l1, l2, _, _, 0, 0, 0, f0, f1, f2] = header else {
        return None;
    };
    if [l0, l1, l2] != [f0, f1, f2] {
        return None;
    }
    let rest = after_short(body.get(FIXED..)?)?;
    let rest = after_short(rest)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// What follows a vector of at most 255 octets.
fn after_short(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first()?;
    rest.get(usize::from(*length)..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With a session id of 3 octets and no cookie.
    fn hello(suites: &[u16]) -> Vec<u8> {
        let mut body = vec![254, 253];
        body.extend([7; 32]);
        body.extend([3, 1, 2, 3, 0]);
        body.extend((suites.len() as u16 * 2).to_be_bytes());
        suites
            .iter()
            .for_each(|suite| body.extend(suite.to_be_bytes()));
        body.extend([1, 0]);
        let length = [0, 0, body.len() as u8];
        let mut message = vec![CLIENT_HELLO];
        message.extend(length.iter().chain(&[0; 5]).chain(&length));
        message.extend(body);
        let mut datagram = vec![HANDSHAKE, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend((message.len() as u16).to_be_bytes());
        datagram.extend(message);
        datagram
    }

    #[test]
    fn it_is_known_whether_anything_of_ours_is_offered() {
        let none = |datagram: &[u8]| offers_none(datagram, |suite| suite == 0xc02b);
        assert!(none(&hello(&[0xc00a, 0x00ff])));
        assert!(!none(&hello(&[0xc00a, 0xc02b])));
        assert!(!none(&hello(&[])));
        // A fragment, a later epoch, another message, and what ends too early.
        for (at, octet) in [(24, 9), (4, 1), (13, 2), (0, 23)] {
            let mut other = hello(&[0xc00a]);
            other[at] = octet;
            assert!(!none(&other), "{at}");
        }
        let whole = hello(&[0xc00a]);
        let end = whole.len() - 2;
        assert!(none(&whole[..end]) && (0..end).all(|end| !none(&whole[..end])));
    }

    proptest! {
        #[test]
        fn anything_can_be_read(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            offers_none(&datagram, |_| false);
        }
    }
}
