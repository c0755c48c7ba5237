use clock::{Duration, NtpTime};

use super::{Full, Writer, packet_type};
use crate::rtp::wire::{Cursor, u8_at, u24_at, u32_at};

/// Length of a report block (RFC 3550 §6.4.1).
const BLOCK_LENGTH: usize = 24;

/// What a receiver says about one RTP stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The RTP stream.
    pub ssrc: u32,
    /// Packets lost since the report before, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, signed 24 bits: larger values are clamped when written.
    pub cumulative_lost: i32,
    /// Highest sequence number with the cycles above it.
    pub extended_highest_sequence: u32,
    /// In units of the clock rate.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the last sender report; 0 if there was none.
    pub last_sender_report: u32,
    /// Time since then in 1/65536 s.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    /// The round trip of a sender whose wall clock showed `arrival` when this came (RFC 3550 §6.4.1).
    ///
    /// `None` before the receiver had a sender report, or if the times contradict each other.
    pub fn round_trip(&self, arrival: NtpTime) -> Option<Duration> {
        if self.last_sender_report == 0 {
            return None;
        }
        let elapsed = arrival.middle_bits().wrapping_sub(self.last_sender_report);
        let ticks = elapsed.checked_sub(self.delay_since_last_sender_report)?;
        let nanos = u64::from(ticks).saturating_mul(1_000_000_000) / 65_536;
        Some(Duration::from_nanos(nanos))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let lost = u24_at(bytes, 5)?;
        Some(Self {
            ssrc: u32_at(bytes, 0)?,
            fraction_lost: u8_at(bytes, 4)?,
            // Shifted up and arithmetically down again, the sign bit fills the upper byte.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            extended_highest_sequence: u32_at(bytes, 8)?,
            jitter: u32_at(bytes, 12)?,
            last_sender_report: u32_at(bytes, 16)?,
            delay_since_last_sender_report: u32_at(bytes, 20)?,
        })
    }

    pub(super) fn write(&self, cursor: &mut Cursor<'_>) -> Option<()> {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff);
        cursor.u32(self.ssrc)?;
        cursor.u8(self.fraction_lost)?;
        cursor.u24(lost.cast_unsigned())?;
        cursor.u32(self.extended_highest_sequence)?;
        cursor.u32(self.jitter)?;
        cursor.u32(self.last_sender_report)?;
        cursor.u32(self.delay_since_last_sender_report)
    }
}

/// The report blocks of a sender or receiver report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportBlocks<'a> {
    bytes: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    /// The first `count` blocks of `bytes`; extensions of a profile may follow (RFC 3550 §6.4.3).
    pub(super) fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        let length = usize::from(count).checked_mul(BLOCK_LENGTH)?;
        let bytes = bytes.get(..length)?;
        Some(Self { bytes })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.bytes.split_at_checked(BLOCK_LENGTH)?;
        self.bytes = rest;
        ReportBlock::parse(block)
    }
}

/// RR: report of one that does not send (RFC 3550 §6.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub sender: u32,
    /// About whom.
    pub blocks: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender: u32_at(body, 0)?,
            blocks: ReportBlocks::parse(count, body.get(4..)?)?,
        })
    }
}

impl ReceiverReport<'_> {
    /// Writes a receiver report of `sender`.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or more than 31 blocks.
    pub fn write(sender: u32, blocks: &[ReportBlock], out: &mut Writer<'_>) -> Result<(), Full> {
        let count = block_count(blocks)?;
        out.packet(packet_type::RECEIVER_REPORT, count, |cursor| {
            cursor.u32(sender)?;
            blocks.iter().try_for_each(|block| block.write(cursor))
        })
    }
}

pub(super) fn block_count(blocks: &[ReportBlock]) -> Result<u8, Full> {
    let count = u8::try_from(blocks.len()).map_err(|_| Full)?;
    if count > 31 { Err(Full) } else { Ok(count) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Packet, compound};
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_block() -> impl Strategy<Value = ReportBlock> {
        let fields = (any::<u32>(), any::<u8>(), -0x80_0000..=0x7f_ffff);
        (fields, any::<[u32; 4]>()).prop_map(|((ssrc, fraction_lost, cumulative_lost), rest)| {
            ReportBlock {
                ssrc,
                fraction_lost,
                cumulative_lost,
                extended_highest_sequence: rest[0],
                jitter: rest[1],
                last_sender_report: rest[2],
                delay_since_last_sender_report: rest[3],
            }
        })
    }

    proptest! {
        #[test]
        fn round_trip(sender: u32, blocks in prop::collection::vec(any_block(), 0..=31)) {
            let mut buffer = [0; 1024];
            let mut writer = Writer::new(&mut buffer);
            ReceiverReport::write(sender, &blocks, &mut writer).unwrap();
            let length = writer.len();
            prop_assert_eq!(length, 8 + 24 * blocks.len());
            let Some(Ok(Packet::ReceiverReport(report))) = compound(&buffer[..length]).unwrap().next() else {
                panic!("not a receiver report");
            };
            prop_assert_eq!(report.sender, sender);
            prop_assert_eq!(report.blocks.collect::<Vec<_>>(), blocks);
        }
    }

    #[test]
    fn loss_is_clamped_and_the_count_bounded() {
        let mut buffer = [0; 2048];
        let block = ReportBlock {
            cumulative_lost: i32::MIN,
            ..ReportBlock::default()
        };
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(
            ReceiverReport::write(1, &[block; 32], &mut writer),
            Err(Full)
        );
        ReceiverReport::write(1, &[block], &mut writer).unwrap();
        let Some(Ok(Packet::ReceiverReport(mut report))) = compound(&buffer[..32]).unwrap().next()
        else {
            panic!("not a receiver report");
        };
        assert_eq!(report.blocks.next().unwrap().cumulative_lost, -0x80_0000);
    }

    #[test]
    fn the_round_trip_of_the_rfc() {
        // RFC 3550 figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 5.250 s, round trip 6.125 s.
        let arrival = NtpTime::from_bits(0xb44d_b710_8000_0000);
        let block = ReportBlock {
            last_sender_report: 0xb705_2000,
            delay_since_last_sender_report: 0x0005_4000,
            ..ReportBlock::default()
        };
        assert_eq!(block.round_trip(arrival), Some(Duration::from_millis(6125)));
        let lie = ReportBlock {
            delay_since_last_sender_report: 0x00ff_0000,
            ..block
        };
        assert_eq!(lie.round_trip(arrival), None);
        assert_eq!(ReportBlock::default().round_trip(arrival), None);
    }

    #[test]
    fn more_blocks_than_bytes_is_an_error() {
        let packet = [0x81, 201, 0, 1, 0, 0, 0, 1];
        let first = compound(&packet).unwrap().next();
        assert_eq!(first, Some(Err(super::super::Malformed::Contents)));
    }
}
