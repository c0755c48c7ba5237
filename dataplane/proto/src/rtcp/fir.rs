use super::{Full, Writer, format, packet_type};
use crate::rtp::wire::{u8_at, u32_at};

/// Full Intra Request: the sender must send a key frame (RFC 5104 §4.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender: u32,
    entries: &'a [u8],
}

/// One RTP stream that a FIR asks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// The RTP stream.
    pub ssrc: u32,
    /// Grows with each new request; a repetition keeps it.
    pub sequence: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender: u32_at(body, 0)?,
            entries: body.get(8..)?,
        })
    }

    /// The RTP streams that are asked of.
    pub fn entries(&self) -> FirEntries<'a> {
        FirEntries {
            bytes: self.entries,
        }
    }
}

impl Fir<'_> {
    /// Writes a request of `sender`.
    ///
    /// # Errors
    /// [`Full`] if there is no room.
    pub fn write(sender: u32, entries: &[FirEntry], out: &mut Writer<'_>) -> Result<(), Full> {
        out.packet(packet_type::PAYLOAD_FEEDBACK, format::FIR, |cursor| {
            cursor.u32(sender)?;
            // RFC 5104 §4.3.1.2: the SSRC of the media source is not used and is 0.
            cursor.u32(0)?;
            entries.iter().try_for_each(|entry| {
                cursor.u32(entry.ssrc)?;
                cursor.u8(entry.sequence)?;
                cursor.u24(0)
            })
        })
    }
}

/// Iterates over the entries of a [`Fir`].
#[derive(Clone, Debug)]
pub struct FirEntries<'a> {
    bytes: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let (entry, rest) = self.bytes.split_at_checked(8)?;
        self.bytes = rest;
        Some(FirEntry {
            ssrc: u32_at(entry, 0)?,
            sequence: u8_at(entry, 4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, compound};
    use super::*;

    #[test]
    fn round_trip() {
        let entries = [(1, 7), (u32::MAX, 255)].map(|(ssrc, sequence)| FirEntry { ssrc, sequence });
        let mut buffer = [0; 28];
        Fir::write(5, &entries, &mut Writer::new(&mut buffer)).unwrap();
        let Some(Ok(Packet::Fir(fir))) = compound(&buffer).unwrap().next() else {
            panic!("not a FIR");
        };
        assert_eq!(fir.sender, 5);
        assert_eq!(fir.entries().collect::<Vec<_>>(), entries);
        assert_eq!(buffer[..4], [0x84, 206, 0, 6]);
    }
}
