//! Control messages: what the kernel tells about a datagram, and what we tell it about a send.

use core::time::Duration;
use std::net::IpAddr;

/// Room for everything a socket of ours reports with a datagram: address, time, dropped packets.
pub(crate) const RECEIVE_CONTROL_BYTES: usize = space(20) + space(16) + space(4);
/// Room for everything we say about a send: segment size, source address.
pub(crate) const SEND_CONTROL_BYTES: usize = space(2) + space(20);

const HEADER: usize = size_of::<libc::cmsghdr>();
const WORD: usize = size_of::<usize>();

/// What came along with a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The address of ours that it was sent to.
    pub(crate) local: Option<IpAddr>,
    /// When the kernel got it, since the Unix epoch.
    pub(crate) stamp: Option<Duration>,
    /// Packets that this socket has dropped in its life.
    pub(crate) drops: Option<u32>,
}

/// Reads the control messages of a datagram. What is cut off or unknown is left out.
pub(crate) fn read(mut control: &[u8]) -> Received {
    let mut received = Received::default();
    while let Some((level, kind, data, rest)) = next(control) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // struct in_pktinfo: interface, the local address of the socket, the address in the header.
                let address = data.get(4..).and_then(|data| data.first_chunk::<4>());
                received.local = address.map(|octets| IpAddr::from(*octets));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // struct in6_pktinfo (RFC 3542 §6.1): address, interface.
                received.local = data.first_chunk::<16>().map(|octets| IpAddr::from(*octets));
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => received.stamp = read_timespec(data),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                received.drops = data.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
        control = rest;
    }
    received
}

/// Writes the control messages of a send; how many bytes they take.
pub(crate) fn write(
    segment: Option<u16>,
    source: Option<IpAddr>,
    control: &mut [u8; SEND_CONTROL_BYTES],
) -> usize {
    let mut len = 0;
    if let Some(segment) = segment {
        len += put(
            &mut control[len..],
            (libc::SOL_UDP, libc::UDP_SEGMENT),
            &segment.to_ne_bytes(),
        );
    }
    match source {
        Some(IpAddr::V4(address)) => {
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&address.octets());
            len += put(
                &mut control[len..],
                (libc::IPPROTO_IP, libc::IP_PKTINFO),
                &info,
            );
        }
        Some(IpAddr::V6(address)) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&address.octets());
            len += put(
                &mut control[len..],
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
                &info,
            );
        }
        None => {}
    }
    len
}

/// Bytes that a message with `data` bytes takes, padding included (CMSG_SPACE).
const fn space(data: usize) -> usize {
    HEADER + data.next_multiple_of(WORD)
}

fn put(control: &mut [u8], (level, kind): (i32, i32), data: &[u8]) -> usize {
    let (header, rest) = control.split_at_mut(HEADER);
    header[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    header[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    header[WORD + 4..].copy_from_slice(&kind.to_ne_bytes());
    let padded = data.len().next_multiple_of(WORD);
    rest[..data.len()].copy_from_slice(data);
    rest[data.len()..padded].fill(0);
    HEADER + padded
}

/// Level, type and data of the first message, and what follows it.
fn next(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(*control.first_chunk()?);
    let level = i32::from_ne_bytes(*control.get(WORD..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(WORD + 4..)?.first_chunk()?);
    let data = control.get(HEADER..len)?;
    let rest = control.get(len.next_multiple_of(WORD)..);
    Some((level, kind, data, rest.unwrap_or_default()))
}

fn read_timespec(data: &[u8]) -> Option<Duration> {
    let seconds = i64::from_ne_bytes(*data.first_chunk()?);
    let nanos = i64::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    let nanos = u32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_system() {
        // SAFETY: these compute with their argument only.
        let (info, segment) = unsafe { (libc::CMSG_SPACE(20), libc::CMSG_SPACE(2)) };
        assert_eq!(space(20), info as usize);
        assert_eq!(space(2), segment as usize);
        assert_eq!(size_of::<libc::in_pktinfo>(), 12);
        assert_eq!(size_of::<libc::in6_pktinfo>(), 20);
    }

    #[test]
    fn a_source_address_reads_back() {
        for address in ["192.0.2.7", "2001:db8::7"] {
            let address: IpAddr = address.parse().unwrap();
            let mut control = [0xff; SEND_CONTROL_BYTES];
            let len = write(Some(1200), Some(address), &mut control);
            assert_eq!(read(&control[..len]).local, Some(address));
            let (level, kind, data, _) = next(&control).unwrap();
            assert_eq!((level, kind), (libc::SOL_UDP, libc::UDP_SEGMENT));
            assert_eq!(data, 1200u16.to_ne_bytes());
        }
        assert_eq!(write(None, None, &mut [0; SEND_CONTROL_BYTES]), 0);
    }

    #[test]
    fn reports_are_understood_and_cut_ones_ignored() {
        let mut control = [0; RECEIVE_CONTROL_BYTES];
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&5i64.to_ne_bytes());
        stamp[8..].copy_from_slice(&7i64.to_ne_bytes());
        let time = put(
            &mut control,
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS),
            &stamp,
        );
        let len = time
            + put(
                &mut control[time..],
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
                &9u32.to_ne_bytes(),
            );
        let received = read(&control[..len]);
        assert_eq!(received.stamp, Some(Duration::new(5, 7)));
        assert_eq!(received.drops, Some(9));
        assert_eq!(read(&control[..len - 5]).drops, None);
        assert_eq!(read(&[0; 64]), Received::default());
        assert_eq!(read(&[0xff; 64]), Received::default());
    }
}
