use super::{Full, Writer, format, packet_type};
use crate::rtp::wire::{u8_at, u32_at};

/// The four bytes that tell REMB from other application messages.
const IDENTIFIER: &[u8] = b"REMB";
/// The mantissa has 18 bits.
const MANTISSA_BITS: u32 = 18;

/// Receiver Estimated Maximum Bitrate (draft-alvestrand-rmcat-remb-03 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender: u32,
    /// The estimate in bit/s. More than 64 bits can hold is `u64::MAX`.
    pub bits_per_second: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    /// Whether the application message is a REMB.
    pub(super) fn recognizes(body: &[u8]) -> bool {
        body.get(8..12) == Some(IDENTIFIER)
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let count = u8_at(body, 12)?;
        let fields = u32_at(body, 12)? & 0x00ff_ffff;
        let (exponent, mantissa) = (fields >> MANTISSA_BITS, u64::from(fields & 0x3_ffff));
        let length = usize::from(count).checked_mul(4)?;
        Some(Self {
            sender: u32_at(body, 0)?,
            bits_per_second: shift(mantissa, exponent),
            ssrcs: body.get(16..)?.get(..length)?,
        })
    }

    /// The RTP streams that the estimate is for.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + 'a {
        let (chunks, _) = self.ssrcs.as_chunks::<4>();
        chunks.iter().map(|&bytes| u32::from_be_bytes(bytes))
    }
}

impl Remb<'_> {
    /// Writes an estimate. It is rounded down to 18 significant bits, so that it promises nothing.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or more than 255 SSRCs.
    pub fn write(
        sender: u32,
        bits_per_second: u64,
        ssrcs: &[u32],
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| Full)?;
        let exponent = 64_u32
            .saturating_sub(bits_per_second.leading_zeros())
            .saturating_sub(MANTISSA_BITS);
        let mantissa = (bits_per_second.checked_shr(exponent).unwrap_or(0) & 0x3_ffff) as u32;
        out.packet(
            packet_type::PAYLOAD_FEEDBACK,
            format::APPLICATION,
            |cursor| {
                cursor.u32(sender)?;
                cursor.u32(0)?;
                cursor.put(IDENTIFIER)?;
                cursor.u8(count)?;
                cursor.u24((exponent << MANTISSA_BITS) | mantissa)?;
                ssrcs.iter().try_for_each(|&ssrc| cursor.u32(ssrc))
            },
        )
    }
}

/// `mantissa * 2^exponent`, or as much as fits.
fn shift(mantissa: u64, exponent: u32) -> u64 {
    if mantissa == 0 {
        return 0;
    }
    if exponent > mantissa.leading_zeros() {
        return u64::MAX;
    }
    mantissa.checked_shl(exponent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Malformed, Packet, compound};
    use super::*;
    use proptest::prelude::*;

    fn round_trip(bits_per_second: u64, ssrcs: &[u32]) -> (u64, Vec<u32>) {
        let mut buffer = [0; 1100];
        let mut writer = Writer::new(&mut buffer);
        Remb::write(3, bits_per_second, ssrcs, &mut writer).unwrap();
        let length = writer.len();
        match compound(&buffer[..length]).unwrap().next() {
            Some(Ok(Packet::Remb(remb))) => (remb.bits_per_second, remb.ssrcs().collect()),
            other => panic!("not a REMB: {other:?}"),
        }
    }

    #[test]
    fn small_estimates_are_exact() {
        for rate in [0, 1, 30_000, 0x3_ffff, 0x4_0000, 250_000 << 4] {
            assert_eq!(round_trip(rate, &[1, 2]), (rate, vec![1, 2]));
        }
    }

    #[test]
    fn an_estimate_beyond_64_bits_is_clamped() {
        let packet = [
            0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xff, 0xff, 0xff,
        ];
        let Some(Ok(Packet::Remb(remb))) = compound(&packet).unwrap().next() else {
            panic!("not a REMB");
        };
        assert_eq!(remb.bits_per_second, u64::MAX);
        let mut lying = packet;
        lying[16] = 1;
        assert_eq!(
            compound(&lying).unwrap().next(),
            Some(Err(Malformed::Contents))
        );
        let mut other = packet;
        other[12] = b'X';
        let mut packets = compound(&other).unwrap();
        assert_eq!((packets.next(), packets.unknown()), (None, 1));
    }

    proptest! {
        #[test]
        fn rounds_down_by_less_than_a_131072th(rate: u64, ssrcs in prop::collection::vec(any::<u32>(), 0..=255)) {
            let (read, back) = round_trip(rate, &ssrcs);
            prop_assert!(read <= rate && rate - read <= rate >> 17);
            prop_assert_eq!(back, ssrcs);
        }
    }
}
