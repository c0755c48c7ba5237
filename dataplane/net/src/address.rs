//! Socket addresses in the shape the kernel reads and writes.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for the larger of `sockaddr_in` and `sockaddr_in6`.
pub(crate) const NAME_BYTES: usize = 28;

const NAME_V4_BYTES: usize = 16;
const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// Writes `address` as a `sockaddr_in` or `sockaddr_in6`; how many bytes that takes.
pub(crate) fn write_name(address: SocketAddr, name: &mut [u8; NAME_BYTES]) -> usize {
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            name[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
            name[4..8].copy_from_slice(&v4.ip().octets());
            name[8..16].fill(0);
            NAME_V4_BYTES
        }
        SocketAddr::V6(v6) => {
            name[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
            name[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
            name[8..24].copy_from_slice(&v6.ip().octets());
            name[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            NAME_BYTES
        }
    }
}

/// Reads what the kernel wrote; `None` if it is neither IPv4 nor IPv6.
pub(crate) fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    if family == FAMILY_V4 {
        let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
        Some(SocketAddrV4::new(ip.into(), port).into())
    } else if family == FAMILY_V6 {
        let flow = u32::from_ne_bytes(*name.get(4..)?.first_chunk()?);
        let ip: [u8; 16] = *name.get(8..)?.first_chunk()?;
        let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
        Some(SocketAddrV6::new(ip.into(), port, flow, scope).into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3);
        for address in ["192.0.2.1:4242", "[2001:db8::1]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            let mut name = [0xff; NAME_BYTES];
            let len = write_name(address, &mut name);
            assert_eq!(read_name(&name[..len]), Some(address));
            assert_eq!(read_name(&name[..len - 13]), None);
        }
        let mut name = [0; NAME_BYTES];
        write_name(link_local.into(), &mut name);
        assert_eq!(read_name(&name), Some(link_local.into()));
        assert_eq!(read_name(&[0; NAME_BYTES]), None);
    }

    #[test]
    fn the_layout_is_that_of_the_system() {
        assert_eq!(size_of::<libc::sockaddr_in>(), NAME_V4_BYTES);
        assert_eq!(size_of::<libc::sockaddr_in6>(), NAME_BYTES);
    }
}
