//! Where a media node is, in all the ways in which people write it.

use std::net::{IpAddr, SocketAddr};

/// Where nodes listen for the link unless they are told otherwise.
pub const LINK_PORT: u16 = 7443;

/// Reads `quic://IP:PORT`, `IP:PORT`, `IP`, or what OpenVidu calls a media server's URI, `ws://IP:8888/kurento`, of which only the IP is
/// ours: the port is that of another protocol.
///
/// # Errors
/// A text for people when it is none of these. Names are none: a node has one address.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let address = match text.split_once("://") {
        None => literal(text),
        Some(("quic", rest)) => literal(rest.strip_suffix('/').unwrap_or(rest)),
        Some(("ws" | "wss", rest)) => {
            let host = rest.split('/').next().unwrap_or(rest);
            literal(host).map(|address| SocketAddr::new(address.ip(), LINK_PORT))
        }
        Some(_) => None,
    };
    let usable = address.filter(|one| !one.ip().is_unspecified() && !one.ip().is_multicast());
    let usable = usable.filter(|one| one.port() != 0);
    usable.ok_or_else(|| {
        format!("'{text}' is not quic://IP:PORT, IP:PORT or IP (a literal address, no name)")
    })
}

fn literal(text: &str) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>();
    let with_port = text.parse().ok();
    with_port.or_else(|| ip.ok().map(|ip| SocketAddr::new(ip, LINK_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, address) in [
            ("quic://10.0.0.1:9000", "10.0.0.1:9000"),
            ("quic://10.0.0.1:9000/", "10.0.0.1:9000"),
            ("quic://10.0.0.1", "10.0.0.1:7443"),
            ("10.0.0.1:9000", "10.0.0.1:9000"),
            (" 10.0.0.1 ", "10.0.0.1:7443"),
            ("ws://10.0.0.1:8888/kurento", "10.0.0.1:7443"),
            ("wss://10.0.0.1:8433/kurento", "10.0.0.1:7443"),
            ("fd00::1", "[fd00::1]:7443"),
            ("[fd00::1]", "[fd00::1]:7443"),
            ("quic://[fd00::1]:9000", "[fd00::1]:9000"),
        ] {
            let wanted = address.parse().expect("an address");
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
        for text in [
            "",
            "quic://",
            "quic://node-1:7443",
            "http://10.0.0.1",
            "10.0.0.1:0",
            "0.0.0.0",
            "10.0.0.1:99999",
            "quic://10.0.0.1:7443/x",
            "224.0.0.1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
