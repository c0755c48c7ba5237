use clock::NtpTime;

use super::{Full, Writer, packet_type};
use crate::rtp::wire::{u8_at, u16_at, u32_at, u64_at};

/// Receiver Reference Time Report Block (RFC 3611 §4.4).
const REFERENCE_TIME: u8 = 4;
/// DLRR Report Block (RFC 3611 §4.5).
const DLRR: u8 = 5;
/// Length of a sub-block of DLRR.
const DLRR_LENGTH: usize = 12;

/// XR: extended reports (RFC 3611). Only the blocks by which a receiver that does not send learns its round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedReport<'a> {
    /// Who reports.
    pub sender: u32,
    blocks: &'a [u8],
}

/// Delay since the last receiver reference time: the answer to one receiver (RFC 3611 §4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dlrr {
    /// The receiver.
    pub ssrc: u32,
    /// Middle 32 bits of the reference time that it sent.
    pub last_reference_time: u32,
    /// Time since that came, in 1/65536 s.
    pub delay: u32,
}

impl<'a> ExtendedReport<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let report = Self {
            sender: u32_at(body, 0)?,
            blocks: body.get(4..)?,
        };
        let mut rest = report.blocks;
        while !rest.is_empty() {
            (_, _, rest) = split_block(rest)?;
        }
        Some(report)
    }

    /// The clock of the receiver when it sent this, if it says so.
    pub fn reference_time(&self) -> Option<NtpTime> {
        let (_, body) = self.blocks().find(|&(kind, _)| kind == REFERENCE_TIME)?;
        u64_at(body, 0).map(NtpTime::from_bits)
    }

    /// What the sender answers to receivers.
    pub fn dlrr(&self) -> impl Iterator<Item = Dlrr> + 'a {
        let of_kind = self.blocks().filter(|&(kind, _)| kind == DLRR);
        of_kind.flat_map(|(_, body)| {
            body.chunks_exact(DLRR_LENGTH).filter_map(|entry| {
                Some(Dlrr {
                    ssrc: u32_at(entry, 0)?,
                    last_reference_time: u32_at(entry, 4)?,
                    delay: u32_at(entry, 8)?,
                })
            })
        })
    }

    fn blocks(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.blocks;
        core::iter::from_fn(move || {
            let (kind, body, after) = split_block(rest)?;
            rest = after;
            Some((kind, body))
        })
    }
}

/// The answer to a receiver whose reference time `ntp` came `delay` ago.
pub fn dlrr(receiver: u32, ntp: NtpTime, delay: clock::Duration) -> Dlrr {
    Dlrr {
        ssrc: receiver,
        last_reference_time: ntp.middle_bits(),
        delay: crate::rtp::reception::in_65536ths(delay),
    }
}

/// Writes an extended report of `sender` that answers receivers.
///
/// # Errors
/// [`Full`] if there is no room.
pub fn write_dlrr(sender: u32, answers: &[Dlrr], out: &mut Writer<'_>) -> Result<(), Full> {
    let words = u16::try_from(answers.len().saturating_mul(3)).map_err(|_| Full)?;
    out.packet(packet_type::EXTENDED_REPORT, 0, |cursor| {
        cursor.u32(sender)?;
        cursor.u8(DLRR)?;
        cursor.u8(0)?;
        cursor.u16(words)?;
        answers.iter().try_for_each(|answer| {
            cursor.u32(answer.ssrc)?;
            cursor.u32(answer.last_reference_time)?;
            cursor.u32(answer.delay)
        })
    })
}

/// Writes an extended report of `sender`, a receiver whose clock shows `now`.
///
/// # Errors
/// [`Full`] if there is no room.
pub fn write_reference_time(sender: u32, now: NtpTime, out: &mut Writer<'_>) -> Result<(), Full> {
    out.packet(packet_type::EXTENDED_REPORT, 0, |cursor| {
        cursor.u32(sender)?;
        cursor.u8(REFERENCE_TIME)?;
        cursor.u8(0)?;
        cursor.u16(2)?;
        cursor.u64(now.to_bits())
    })
}

/// Type and contents of the first block, and what follows it.
fn split_block(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let kind = u8_at(bytes, 0)?;
    let length = usize::from(u16_at(bytes, 2)?).checked_mul(4)?;
    let (body, rest) = bytes.get(4..)?.split_at_checked(length)?;
    Some((kind, body, rest))
}

#[cfg(test)]
mod tests {
    use super::super::{Malformed, Packet, compound};
    use super::*;
    use clock::Duration;

    fn read(bytes: &[u8]) -> ExtendedReport<'_> {
        match compound(bytes).unwrap().next() {
            Some(Ok(Packet::ExtendedReport(report))) => report,
            other => panic!("not an XR: {other:?}"),
        }
    }

    #[test]
    fn reference_time_and_its_answer() {
        let mut buffer = [0; 64];
        let now = NtpTime::from_bits(0x0102_0304_0506_0708);
        let mut writer = Writer::new(&mut buffer);
        write_reference_time(7, now, &mut writer).unwrap();
        let length = writer.len();
        assert_eq!(length, 20);
        let report = read(&buffer[..length]);
        assert_eq!((report.sender, report.reference_time()), (7, Some(now)));
        assert_eq!(report.dlrr().count(), 0);

        let answer = dlrr(7, now, Duration::from_millis(250));
        assert_eq!(
            (answer.last_reference_time, answer.delay),
            (0x0304_0506, 16_384)
        );
        let mut writer = Writer::new(&mut buffer);
        write_dlrr(9, &[answer, Dlrr::default()], &mut writer).unwrap();
        let length = writer.len();
        let report = read(&buffer[..length]);
        assert_eq!(report.dlrr().collect::<Vec<_>>(), [answer, Dlrr::default()]);
        assert_eq!(report.reference_time(), None);
    }

    #[test]
    fn blocks_that_do_not_fit_are_an_error() {
        let packet = [0x80, 207, 0, 2, 0, 0, 0, 1, 4, 0, 0, 2];
        assert_eq!(
            compound(&packet).unwrap().next(),
            Some(Err(Malformed::Contents))
        );
    }
}
