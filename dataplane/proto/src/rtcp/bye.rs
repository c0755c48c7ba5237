use super::{Full, Writer, packet_type};
use crate::rtp::wire::u32_at;

/// BYE: RTP streams that have ended (RFC 3550 §6.6). Iterates over their SSRCs; the reason is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let length = usize::from(count).checked_mul(4)?;
        let ssrcs = body.get(..length)?;
        Some(Self { ssrcs })
    }
}

impl Bye<'_> {
    /// Writes the end of `ssrcs`.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or more than 31 of them.
    pub fn write(ssrcs: &[u32], out: &mut Writer<'_>) -> Result<(), Full> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| Full)?;
        if count > 31 {
            return Err(Full);
        }
        out.packet(packet_type::BYE, count, |cursor| {
            ssrcs.iter().try_for_each(|&ssrc| cursor.u32(ssrc))
        })
    }
}

impl Iterator for Bye<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let ssrc = u32_at(self.ssrcs, 0)?;
        self.ssrcs = self.ssrcs.get(4..)?;
        Some(ssrc)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Malformed, Packet, compound};
    use super::*;

    #[test]
    fn round_trip_and_reason() {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        Bye::write(&[1, 2, 3], &mut writer).unwrap();
        assert_eq!(Bye::write(&[0; 32], &mut writer), Err(Full));
        let length = writer.len();
        let Some(Ok(Packet::Bye(bye))) = compound(&buffer[..length]).unwrap().next() else {
            panic!("not a BYE");
        };
        assert_eq!(bye.collect::<Vec<_>>(), [1, 2, 3]);
        let reason = [0x81, 203, 0, 2, 0, 0, 0, 7, 3, b'e', b'n', b'd'];
        let Some(Ok(Packet::Bye(bye))) = compound(&reason).unwrap().next() else {
            panic!("not a BYE");
        };
        assert_eq!(bye.collect::<Vec<_>>(), [7]);
        let short = [0x82, 203, 0, 1, 0, 0, 0, 7];
        assert_eq!(
            compound(&short).unwrap().next(),
            Some(Err(Malformed::Contents))
        );
    }
}
