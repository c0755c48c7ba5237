//! ICE candidates as text (RFC 8839 §5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::error::Error;

/// One `candidate:` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Equal for candidates of the same type, base and protocol (RFC 8445 §5.1.1.3).
    pub foundation: String,
    /// 1 for RTP, and for RTCP too where it is multiplexed.
    pub component: u16,
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Higher is better (RFC 8445 §5.1.2).
    pub priority: u32,
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// How it was found.
    pub kind: CandidateType,
    /// `active`, `passive` or `so`, on TCP (RFC 6544 §4.5).
    pub tcp_type: Option<String>,
    /// The generation that it belongs to, where it says so (RFC 8840).
    pub ufrag: Option<String>,
}

/// The transport protocol of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP (RFC 6544).
    Tcp,
    /// Anything else, in lower case.
    Other(String),
}

/// The address of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A number.
    Ip(IpAddr),
    /// A name, as a rule in `.local` to hide the number (mDNS).
    Name(String),
}

/// How a candidate was found (RFC 8445 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateType {
    /// An address of the host.
    Host,
    /// Seen by a STUN server.
    ServerReflexive,
    /// Seen by the peer.
    PeerReflexive,
    /// Lent by a TURN server.
    Relayed,
}

/// Reads a trickled candidate: `candidate:…` as in `RTCIceCandidate.candidate`, also with `a=` before it. `None` is the
/// end of candidates, which browsers signal with the empty string (RFC 8838).
///
/// # Errors
///
/// [`Error::Syntax`] when it is malformed. Unknown extension attributes are no error.
pub fn parse_candidate(text: &str) -> Result<Option<Candidate>, Error> {
    let text = text.trim();
    let text = text.strip_prefix("a=").unwrap_or(text);
    if text.is_empty() || text == "end-of-candidates" {
        return Ok(None);
    }
    let value = text
        .strip_prefix("candidate:")
        .ok_or(Error::syntax(1, "candidate: is expected"))?;
    Candidate::parse(value, 1).map(Some)
}

impl Candidate {
    /// A host candidate of an ICE-lite agent; `rank` counts its addresses from 0, best first.
    pub(crate) fn host(address: SocketAddr, rank: u16, foundation: usize) -> Self {
        // RFC 8445 §5.1.2.1: type preference 126, then a preference that differs for each address, then 256 − component.
        let priority = (126 << 24) | (u32::from(u16::MAX.saturating_sub(rank)) << 8) | 255;
        Self {
            foundation: foundation.to_string(),
            component: 1,
            protocol: Protocol::Udp,
            priority,
            address: Address::Ip(address.ip().to_canonical()),
            port: address.port(),
            kind: CandidateType::Host,
            tcp_type: None,
            ufrag: None,
        }
    }

    /// Reads what follows `candidate:`.
    pub(crate) fn parse(value: &str, line: u32) -> Result<Self, Error> {
        let wrong = |what| Error::syntax(line, what);
        let mut words = value.split_ascii_whitespace();
        let foundation = words
            .next()
            .ok_or(wrong("a candidate without a foundation"))?;
        let component = number(words.next()).ok_or(wrong("the component is not a number"))?;
        let protocol = match words.next().map(str::to_ascii_lowercase) {
            Some(word) if word == "udp" => Protocol::Udp,
            Some(word) if word == "tcp" => Protocol::Tcp,
            Some(word) => Protocol::Other(word),
            None => return Err(wrong("a candidate without a protocol")),
        };
        let priority = number(words.next()).ok_or(wrong("the priority is not a number"))?;
        let address = words
            .next()
            .ok_or(wrong("a candidate without an address"))?;
        let address = match address.parse() {
            Ok(ip) => Address::Ip(ip),
            Err(_) => Address::Name(address.to_owned()),
        };
        let port = number(words.next()).ok_or(wrong("the port is not a number up to 65535"))?;
        let (Some("typ"), Some(kind)) = (words.next(), words.next()) else {
            return Err(wrong("a candidate without a type"));
        };
        let kind = CandidateType::parse(kind).ok_or(wrong("an unknown type of candidate"))?;
        let mut candidate = Self {
            foundation: foundation.to_owned(),
            component,
            protocol,
            priority,
            address,
            port,
            kind,
            tcp_type: None,
            ufrag: None,
        };
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "tcptype" => candidate.tcp_type = Some(value.to_owned()),
                "ufrag" => candidate.ufrag = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(candidate)
    }
}

fn number<T: std::str::FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

impl CandidateType {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "srflx" => Self::ServerReflexive,
            "prflx" => Self::PeerReflexive,
            "relay" => Self::Relayed,
            _ => return None,
        })
    }
}

impl fmt::Display for CandidateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        })
    }
}

/// Prints what follows `candidate:`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match &self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Other(name) => name,
        };
        write!(
            f,
            "{} {} {protocol} {} ",
            self.foundation, self.component, self.priority
        )?;
        match &self.address {
            Address::Ip(ip) => write!(f, "{ip}")?,
            Address::Name(name) => f.write_str(name)?,
        }
        write!(f, " {} typ {}", self.port, self.kind)?;
        if let Some(tcp_type) = &self.tcp_type {
            write!(f, " tcptype {tcp_type}")?;
        }
        if let Some(ufrag) = &self.ufrag {
            write!(f, " ufrag {ufrag}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_browsers_trickle() {
        let chromium = "candidate:936098276 1 udp 2122194687 192.0.2.2 46433 typ host generation 0 ufrag 4BFT network-id 1";
        let got = parse_candidate(chromium)
            .expect("valid")
            .expect("not the end");
        assert_eq!(got.protocol, Protocol::Udp);
        assert_eq!(got.address, Address::Ip(IpAddr::from([192, 0, 2, 2])));
        assert_eq!((got.port, got.kind), (46433, CandidateType::Host));
        assert_eq!(got.ufrag.as_deref(), Some("4BFT"));

        let mdns = "candidate:1 1 UDP 2113937151 0f8a6dbe-3b1c-4f0a-9a4b-2ab5f0f4d6c1.local 53724 typ host";
        let got = parse_candidate(mdns).expect("valid").expect("not the end");
        assert!(matches!(got.address, Address::Name(name) if name.ends_with(".local")));

        let tcp = "a=candidate:3 1 TCP 2105524479 fd00::2 9 typ host tcptype active";
        let got = parse_candidate(tcp).expect("valid").expect("not the end");
        assert_eq!(got.tcp_type.as_deref(), Some("active"));

        let relay =
            "candidate:7 1 udp 41885695 198.51.100.9 61000 typ relay raddr 203.0.113.4 rport 50000";
        let got = parse_candidate(relay).expect("valid").expect("not the end");
        assert_eq!(got.kind, CandidateType::Relayed);
    }

    #[test]
    fn the_empty_one_is_the_end() {
        for text in ["", "  ", "a=end-of-candidates"] {
            assert_eq!(parse_candidate(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_cut_short() {
        let whole = "candidate:1 1 udp 2130706431 192.0.2.2 40000 typ host";
        assert!(parse_candidate(whole).is_ok());
        for (end, _) in whole.match_indices(' ') {
            let cut = whole.get(..end).expect("a boundary");
            assert!(parse_candidate(cut).is_err(), "{cut:?}");
        }
        assert!(parse_candidate("1 1 udp 1 192.0.2.2 1 typ host").is_err());
        assert!(parse_candidate("candidate:1 1 udp 1 192.0.2.2 1 typ odd").is_err());
    }

    #[test]
    fn host_candidates_have_the_usual_priority() {
        let address = SocketAddr::from(([192, 0, 2, 2], 40000));
        assert_eq!(
            Candidate::host(address, 0, 1).to_string(),
            "1 1 udp 2130706431 192.0.2.2 40000 typ host"
        );
        assert_eq!(Candidate::host(address, 1, 1).priority, 2_130_706_175);
    }
}
