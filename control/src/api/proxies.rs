//! Who asks: the other end of the connection, or whom a trusted reverse proxy there asks for.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

/// Addresses with a common beginning, `10.0.0.0/8` or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// This host alone, where a reverse proxy usually is.
    pub fn loopback() -> Vec<Self> {
        let (v4, v6) = (
            IpAddr::from([127, 0, 0, 0]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        );
        vec![
            Self {
                address: v4,
                prefix: 8,
            },
            Self {
                address: v6,
                prefix: 128,
            },
        ]
    }

    /// The address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not ADDRESS or ADDRESS/BITS");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        match prefix <= most {
            true => Ok(Self { address, prefix }),
            false => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.address, network.prefix)
    }
}

/// A proxy of ours is there, which says for whom it asks.
pub fn is_trusted(proxies: &[Network], peer: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(peer))
}

/// The address that limits count and applications are shown: that of the peer, or what a trusted proxy says.
pub fn client(proxies: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let said = is_trusted(proxies, peer).then(|| said(headers));
    said.flatten().unwrap_or(peer)
}

/// The last of `X-Forwarded-For`, which the proxy wrote: those before it are what the client says, and so may be an `X-Real-IP`, which counts
/// only where the other is missing. A proxy may add its line below the client's: the last line counts.
fn said(headers: &HeaderMap) -> Option<IpAddr> {
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let text = match forwarded {
        Some(all) => all.to_str().ok()?.rsplit(',').next()?,
        None => headers.get("x-real-ip")?.to_str().ok()?,
    };
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Who asks, where proxies of this host are trusted.
    fn asks(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, text) in headers {
            map.append(*name, text.parse().expect("good"));
        }
        client(&Network::loopback(), address(peer), &map).to_string()
    }

    #[test]
    fn networks_hold_what_begins_like_them() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ] {
            let network: Network = network.parse().expect("good");
            assert!(network.contains(address(inside)), "{inside}");
            assert!(!network.contains(address(outside)), "{outside}");
            assert_eq!(String::from(network).parse(), Ok(network));
        }
        for bad in [
            "",
            "x",
            "10.0.0.0/33",
            "::1/129",
            "10.0.0.0/-1",
            "10.0.0.0/",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_our_own_proxies_are_believed() {
        let forwarded = ("x-forwarded-for", "1.1.1.1, 198.51.100.2");
        let real = ("x-real-ip", "198.51.100.3");
        assert_eq!(asks("127.0.0.1", &[forwarded]), "198.51.100.2");
        assert_eq!(asks("::1", &[real]), "198.51.100.3");
        assert_eq!(asks("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(asks("203.0.113.9", &[forwarded]), "203.0.113.9");
        assert_eq!(asks("203.0.113.9", &[real]), "203.0.113.9");
    }

    #[test]
    fn clients_cannot_speak_for_the_proxy() {
        let (own, proxy) = ("1.1.1.1", "198.51.100.2");
        for appended in [
            &[("x-real-ip", own), ("x-forwarded-for", proxy)][..],
            &[("x-forwarded-for", own), ("x-forwarded-for", proxy)],
        ] {
            assert_eq!(asks("127.0.0.1", appended), proxy, "{appended:?}");
        }
        let unreadable = [("x-real-ip", own), ("x-forwarded-for", "unknown")];
        assert_eq!(asks("127.0.0.1", &unreadable), "127.0.0.1");
    }
}
