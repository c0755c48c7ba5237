//! RTCP (RFC 3550 §6, RFC 4585): reading the packets of a datagram and writing new ones.
//!
//! [`compound`] checks the framing of a whole datagram and then iterates over its packets; each packet type is a file
//! of its own. A [`Writer`] appends packets to a buffer of the caller and never leaves half a packet there.

mod bye;
mod fir;
mod fuzz;
mod nack;
mod pli;
mod remb;
mod rr;
mod sdes;
mod sr;
mod twcc;
mod xr;

pub use bye::Bye;
pub use fir::{Fir, FirEntries, FirEntry};
#[doc(hidden)]
pub use fuzz::fuzz;
pub use nack::{Nack, NackSequences};
pub use pli::Pli;
pub use remb::Remb;
pub use rr::{ReceiverReport, ReportBlock, ReportBlocks};
pub use sdes::Sdes;
pub use sr::{SenderInfo, SenderReport};
pub use twcc::{Report, Reports, Status, TransportFeedback, write_transport_feedback};
pub use xr::{Dlrr, ExtendedReport, dlrr, write_dlrr, write_reference_time};

use crate::rtp::wire::{Cursor, u8_at, u16_at};

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// Feedback message types, RFC 4585 §6.2 and §6.3.
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_WIDE: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// Length of the header of a packet: version, padding, count, type, length.
const HEADER_LENGTH: usize = 4;

/// Why bytes are not RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The version of a packet is not 2.
    #[error("RTCP version is not 2")]
    Version,
    /// The datagram is empty or a packet is longer than what is left of it.
    #[error("RTCP packet does not fit its datagram")]
    Length,
    /// Padding in a packet that is not the last, or more padding than packet (RFC 3550 §6.4.1).
    #[error("RTCP padding does not fit its packet")]
    Padding,
    /// The contents of a packet are shorter than its count or length says.
    #[error("RTCP packet contradicts itself")]
    Contents,
}

/// One RTCP packet, of those that we understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR, RFC 3550 §6.4.1.
    SenderReport(SenderReport<'a>),
    /// RR, RFC 3550 §6.4.2.
    ReceiverReport(ReceiverReport<'a>),
    /// SDES, RFC 3550 §6.5.
    Sdes(Sdes<'a>),
    /// BYE, RFC 3550 §6.6.
    Bye(Bye<'a>),
    /// Generic NACK, RFC 4585 §6.2.1.
    Nack(Nack<'a>),
    /// Picture Loss Indication, RFC 4585 §6.3.1.
    Pli(Pli),
    /// Full Intra Request, RFC 5104 §4.3.1.
    Fir(Fir<'a>),
    /// Receiver Estimated Maximum Bitrate, draft-alvestrand-rmcat-remb.
    Remb(Remb<'a>),
    /// Transport-wide congestion control, draft-holmer-rmcat-transport-wide-cc-extensions.
    TransportFeedback(TransportFeedback<'a>),
    /// XR, RFC 3611: the blocks for the round trip of a receiver.
    ExtendedReport(ExtendedReport<'a>),
}

/// Checks the framing of a datagram and iterates over its packets. Compound and reduced-size (RFC 5506) are the same.
///
/// # Errors
/// [`Malformed`] if version, lengths or padding of any packet are wrong: then nothing of the datagram is used.
pub fn compound(datagram: &[u8]) -> Result<Packets<'_>, Malformed> {
    if datagram.is_empty() {
        return Err(Malformed::Length);
    }
    let mut rest = datagram;
    while !rest.is_empty() {
        let (frame, after) = Frame::split(rest)?;
        if frame.padded && !after.is_empty() {
            return Err(Malformed::Padding);
        }
        rest = after;
    }
    Ok(Packets {
        rest: datagram,
        unknown: 0,
    })
}

/// The packets of a datagram. Unknown types are skipped; a known one whose contents are wrong is an error of its own.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    unknown: u32,
}

impl Packets<'_> {
    /// How many packets of unknown type have been skipped so far.
    pub const fn unknown(&self) -> u32 {
        self.unknown
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (frame, after) = Frame::split(self.rest).ok()?;
            self.rest = after;
            match frame.read() {
                Ok(Some(packet)) => return Some(Ok(packet)),
                Ok(None) => self.unknown = self.unknown.saturating_add(1),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

/// A packet without its header and padding.
struct Frame<'a> {
    packet_type: u8,
    /// Reception report count, source count or format.
    count: u8,
    padded: bool,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let fields = (u8_at(bytes, 0), u8_at(bytes, 1), u16_at(bytes, 2));
        let (Some(first), Some(packet_type), Some(words)) = fields else {
            return Err(Malformed::Length);
        };
        if first >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let length = usize::from(words)
            .saturating_mul(4)
            .saturating_add(HEADER_LENGTH);
        let (packet, rest) = bytes.split_at_checked(length).ok_or(Malformed::Length)?;
        let padded = first & 0x20 != 0;
        let padding = match packet.last() {
            Some(&count) if padded => usize::from(count),
            _ => 0,
        };
        // RFC 3550 §6.4.1: the count includes itself. It should be a multiple of four, but Chromium pads its
        // transport-wide feedback by one to three bytes.
        if padded && padding == 0 {
            return Err(Malformed::Padding);
        }
        let end = length.checked_sub(padding).ok_or(Malformed::Padding)?;
        let body = packet.get(HEADER_LENGTH..end).ok_or(Malformed::Padding)?;
        let frame = Self {
            packet_type,
            count: first & 0x1f,
            padded,
            body,
        };
        Ok((frame, rest))
    }

    /// `None` if the type is unknown.
    fn read(&self) -> Result<Option<Packet<'a>>, Malformed> {
        let (count, body) = (self.count, self.body);
        let packet = match self.packet_type {
            packet_type::SENDER_REPORT => {
                SenderReport::parse(count, body).map(Packet::SenderReport)
            }
            packet_type::RECEIVER_REPORT => {
                ReceiverReport::parse(count, body).map(Packet::ReceiverReport)
            }
            packet_type::SOURCE_DESCRIPTION => Sdes::parse(count, body).map(Packet::Sdes),
            packet_type::BYE => Bye::parse(count, body).map(Packet::Bye),
            packet_type::TRANSPORT_FEEDBACK => match count {
                format::NACK => Nack::parse(body).map(Packet::Nack),
                format::TRANSPORT_WIDE => {
                    TransportFeedback::parse(body).map(Packet::TransportFeedback)
                }
                _ => return Ok(None),
            },
            packet_type::PAYLOAD_FEEDBACK => match count {
                format::PLI => Pli::parse(body).map(Packet::Pli),
                format::FIR => Fir::parse(body).map(Packet::Fir),
                // Other application messages than REMB share the format (RFC 4585 §6.4).
                format::APPLICATION if !Remb::recognizes(body) => return Ok(None),
                format::APPLICATION => Remb::parse(body).map(Packet::Remb),
                _ => return Ok(None),
            },
            packet_type::EXTENDED_REPORT => ExtendedReport::parse(body).map(Packet::ExtendedReport),
            _ => return Ok(None),
        };
        packet.map(Some).ok_or(Malformed::Contents)
    }
}

/// The buffer of a [`Writer`] has no room for the packet; what was written before is untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for another RTCP packet")]
pub struct Full;

/// Appends RTCP packets to a buffer of the caller.
#[derive(Debug)]
pub struct Writer<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Writer<'a> {
    /// A writer that starts at the beginning of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            cursor: Cursor::new(buffer),
        }
    }

    /// How many bytes have been written: always whole packets.
    pub fn len(&self) -> usize {
        self.cursor.used()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes still fit.
    pub fn room(&self) -> usize {
        self.cursor.room()
    }

    /// Writes one packet: its header, what `body` appends, and then its length.
    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        body: impl FnOnce(&mut Cursor<'a>) -> Option<()>,
    ) -> Result<(), Full> {
        let start = self.cursor.used();
        let written = write_packet(&mut self.cursor, packet_type, count, body);
        if written.is_none() {
            self.cursor.truncate(start);
        }
        written.ok_or(Full)
    }
}

fn write_packet<'a>(
    cursor: &mut Cursor<'a>,
    packet_type: u8,
    count: u8,
    body: impl FnOnce(&mut Cursor<'a>) -> Option<()>,
) -> Option<()> {
    let start = cursor.used();
    cursor.u8(0x80 | (count & 0x1f))?;
    cursor.u8(packet_type)?;
    cursor.u16(0)?;
    body(cursor)?;
    cursor.align(start)?;
    let length = cursor
        .used()
        .checked_sub(start)?
        .checked_sub(HEADER_LENGTH)?;
    cursor.patch_u16(start.checked_add(2)?, u16::try_from(length / 4).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compound_is_read_in_order_and_unknown_types_are_counted() {
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer);
        ReceiverReport::write(1, &[], &mut writer).unwrap();
        // APP (204) is not understood.
        writer.packet(204, 0, |cursor| cursor.u64(0)).unwrap();
        let pli = Pli {
            sender: 1,
            media: 2,
        };
        pli.write(&mut writer).unwrap();
        let length = writer.len();
        let mut packets = compound(&buffer[..length]).unwrap();
        assert!(matches!(
            packets.next(),
            Some(Ok(Packet::ReceiverReport(_)))
        ));
        assert_eq!(packets.next(), Some(Ok(Packet::Pli(pli))));
        assert_eq!((packets.next(), packets.unknown()), (None, 1));
    }

    #[test]
    fn framing_is_strict() {
        assert_eq!(compound(&[]).err(), Some(Malformed::Length));
        assert_eq!(compound(&[0x80, 201, 0]).err(), Some(Malformed::Length));
        assert_eq!(compound(&[0x80, 201, 0, 1]).err(), Some(Malformed::Length));
        assert_eq!(compound(&[0x40, 201, 0, 0]).err(), Some(Malformed::Version));
        // Good packet, then three stray bytes.
        assert_eq!(
            compound(&[0x80, 201, 0, 0, 0x80, 201, 0]).err(),
            Some(Malformed::Length)
        );
        // A known type with nothing in it is framed well and an error by itself.
        let mut packets = compound(&[0x80, 201, 0, 0]).unwrap();
        assert_eq!(packets.next(), Some(Err(Malformed::Contents)));
        assert_eq!(packets.next(), None);
    }

    #[test]
    fn padding_is_for_the_last_packet_only() {
        let padded = |count| [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, count];
        for (count, error) in [
            (4, None),
            (0, Some(Malformed::Padding)),
            (3, None),
            (9, Some(Malformed::Padding)),
        ] {
            assert_eq!(compound(&padded(count)).err(), error, "{count}");
        }
        let twice = [padded(4), padded(4)].concat();
        assert_eq!(compound(&twice).err(), Some(Malformed::Padding));
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_no_trace() {
        let mut buffer = [0; 20];
        let mut writer = Writer::new(&mut buffer);
        let pli = Pli {
            sender: 1,
            media: 2,
        };
        assert_eq!(pli.write(&mut writer), Ok(()));
        assert_eq!(pli.write(&mut writer), Err(Full));
        assert_eq!((writer.len(), writer.room()), (12, 8));
    }
}
