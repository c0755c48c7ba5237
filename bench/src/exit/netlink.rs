//! The packet counter of a device's `clsact` qdisc, read over rtnetlink: a few microseconds, where `tc -s` takes milliseconds.

use std::fmt;
use std::io::{Read, Write};

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;

const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWQDISC: u16 = 36;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
/// Header of a message and of a traffic-control message, in octets.
const HEADER: usize = 16;
const TC_HEADER: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
/// More than a dump of two devices ever needs.
const REPLY: usize = 32 * 1024;

/// Reads how many packets the one `clsact` qdisc of a network namespace has seen. It stays with the namespace it was opened in.
pub(super) struct Counter {
    socket: Socket,
    reply: Vec<u8>,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Error> {
        let socket = Socket::new(
            Domain::from(AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(NETLINK_ROUTE)),
        )
        .map_err(Error::system("open a netlink socket"))?;
        Ok(Self {
            socket,
            reply: vec![0; REPLY],
        })
    }

    /// Packets so far, each segment of a segmented send counted.
    pub(super) fn read(&mut self) -> Result<u64, Error> {
        let doing = "read the counters of the exit";
        self.socket
            .write_all(&request())
            .map_err(Error::system(doing))?;
        let mut found = None;
        loop {
            let length = self
                .socket
                .read(&mut self.reply)
                .map_err(Error::system(doing))?;
            let reply = self.reply.get(..length).unwrap_or_default();
            for message in Messages(reply) {
                match message.kind {
                    RTM_NEWQDISC => found = found.or_else(|| clsact_packets(message.body)),
                    NLMSG_DONE => {
                        return found.ok_or_else(|| {
                            Error::system(doing)(std::io::Error::other("no clsact qdisc"))
                        });
                    }
                    NLMSG_ERROR => {
                        return Err(Error::system(doing)(std::io::Error::other(
                            "netlink refused",
                        )));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn request() -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + TC_HEADER);
    request.extend(((HEADER + TC_HEADER) as u32).to_ne_bytes());
    request.extend(RTM_GETQDISC.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([0; TC_HEADER]);
    request
}

/// The count in a description of a qdisc, if that is a `clsact`.
fn clsact_packets(body: &[u8]) -> Option<u64> {
    let attributes = body.get(TC_HEADER..)?;
    let kind = Attributes(attributes).find(|(kind, _)| *kind == TCA_KIND)?;
    if kind.1 != b"clsact\0" {
        return None;
    }
    let (_, statistics) = Attributes(attributes).find(|(kind, _)| *kind == TCA_STATS2)?;
    // struct gnet_stats_basic: bytes (u64), packets (u32). The 64-bit count comes as a second attribute only when it is needed.
    let (_, basic) = Attributes(statistics).find(|(kind, _)| *kind == TCA_STATS_BASIC)?;
    let packets = basic.get(8..12)?.try_into().ok()?;
    Some(u64::from(u32::from_ne_bytes(packets)))
}

struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, body })
    }
}

/// Type, length, value; lengths include the four octets before the value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    }
}
