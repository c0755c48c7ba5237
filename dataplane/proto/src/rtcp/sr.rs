use clock::NtpTime;

use super::rr::{ReportBlock, ReportBlocks, block_count};
use super::{Full, Writer, packet_type};
use crate::rtp::wire::{u32_at, u64_at};

/// What a sender says about its own RTP stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// The RTP stream.
    pub ssrc: u32,
    /// Wall-clock time of this report.
    pub ntp: NtpTime,
    /// The same instant as an RTP timestamp.
    pub timestamp: u32,
    /// Packets sent since the beginning.
    pub packets: u32,
    /// Payload bytes sent since the beginning, without headers and padding.
    pub octets: u32,
}

/// SR: report of one that sends (RFC 3550 §6.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// About itself.
    pub info: SenderInfo,
    /// About others.
    pub blocks: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let info = SenderInfo {
            ssrc: u32_at(body, 0)?,
            ntp: NtpTime::from_bits(u64_at(body, 4)?),
            timestamp: u32_at(body, 12)?,
            packets: u32_at(body, 16)?,
            octets: u32_at(body, 20)?,
        };
        let blocks = ReportBlocks::parse(count, body.get(24..)?)?;
        Some(Self { info, blocks })
    }
}

impl SenderReport<'_> {
    /// Writes a sender report.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or more than 31 blocks.
    pub fn write(
        info: &SenderInfo,
        blocks: &[ReportBlock],
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let count = block_count(blocks)?;
        out.packet(packet_type::SENDER_REPORT, count, |cursor| {
            cursor.u32(info.ssrc)?;
            cursor.u64(info.ntp.to_bits())?;
            cursor.u32(info.timestamp)?;
            cursor.u32(info.packets)?;
            cursor.u32(info.octets)?;
            blocks.iter().try_for_each(|block| block.write(cursor))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rr::tests::any_block;
    use super::super::{Packet, compound};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(numbers: [u32; 4], ntp: u64, blocks in prop::collection::vec(any_block(), 0..=31)) {
            let info = SenderInfo {
                ssrc: numbers[0],
                ntp: NtpTime::from_bits(ntp),
                timestamp: numbers[1],
                packets: numbers[2],
                octets: numbers[3],
            };
            let mut buffer = [0; 1024];
            let mut writer = Writer::new(&mut buffer);
            SenderReport::write(&info, &blocks, &mut writer).unwrap();
            let length = writer.len();
            let Some(Ok(Packet::SenderReport(report))) = compound(&buffer[..length]).unwrap().next() else {
                panic!("not a sender report");
            };
            prop_assert_eq!(report.info, info);
            prop_assert_eq!(report.blocks.collect::<Vec<_>>(), blocks);
        }
    }
}
