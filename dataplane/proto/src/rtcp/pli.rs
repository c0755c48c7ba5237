use super::{Full, Writer, format, packet_type};
use crate::rtp::wire::u32_at;

/// Picture Loss Indication: a receiver needs a key frame (RFC 4585 §6.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    /// Who needs it.
    pub sender: u32,
    /// The RTP stream.
    pub media: u32,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        Some(Self {
            sender: u32_at(body, 0)?,
            media: u32_at(body, 4)?,
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`Full`] if there is no room.
    pub fn write(&self, out: &mut Writer<'_>) -> Result<(), Full> {
        out.packet(packet_type::PAYLOAD_FEEDBACK, format::PLI, |cursor| {
            cursor.u32(self.sender)?;
            cursor.u32(self.media)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_the_rfc() {
        let mut buffer = [0; 12];
        let pli = Pli {
            sender: 1,
            media: 0x0a0b_0c0d,
        };
        pli.write(&mut Writer::new(&mut buffer)).unwrap();
        assert_eq!(buffer, [0x81, 206, 0, 2, 0, 0, 0, 1, 10, 11, 12, 13]);
        assert_eq!(Pli::parse(&buffer[4..]), Some(pli));
        assert_eq!(Pli::parse(&buffer[4..11]), None);
    }
}
