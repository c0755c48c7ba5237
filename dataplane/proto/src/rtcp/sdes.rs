use super::{Full, Writer, packet_type};
use crate::rtp::wire::{u8_at, u32_at};

/// The item that names an endpoint (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// SDES: who is behind an SSRC (RFC 3550 §6.5). Iterates over (SSRC, CNAME); chunks without a CNAME are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdes<'a> {
    chunks: u8,
    bytes: &'a [u8],
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        for _ in 0..count {
            (_, rest) = split_chunk(rest)?;
        }
        Some(Self {
            chunks: count,
            bytes: body,
        })
    }
}

impl Sdes<'_> {
    /// Writes the `cname` of `ssrc`.
    ///
    /// # Errors
    /// [`Full`] if there is no room, or the name is longer than 255 bytes.
    pub fn write(ssrc: u32, cname: &[u8], out: &mut Writer<'_>) -> Result<(), Full> {
        let length = u8::try_from(cname.len()).map_err(|_| Full)?;
        out.packet(packet_type::SOURCE_DESCRIPTION, 1, |cursor| {
            cursor.u32(ssrc)?;
            cursor.u8(CNAME)?;
            cursor.u8(length)?;
            cursor.put(cname)?;
            // The list of items ends with a null; the alignment of the packet adds the rest (RFC 3550 §6.5).
            cursor.u8(0)
        })
    }
}

impl<'a> Iterator for Sdes<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.chunks = self.chunks.checked_sub(1)?;
            let (chunk, rest) = split_chunk(self.bytes)?;
            self.bytes = rest;
            if let (ssrc, Some(cname)) = chunk {
                return Some((ssrc, cname));
            }
        }
    }
}

/// The SSRC and CNAME of the first chunk, and what follows it.
#[expect(
    clippy::type_complexity,
    reason = "a pair and its rest, used twice above"
)]
fn split_chunk(bytes: &[u8]) -> Option<((u32, Option<&[u8]>), &[u8])> {
    let ssrc = u32_at(bytes, 0)?;
    let mut cname = None;
    let mut at = 4_usize;
    loop {
        let item = u8_at(bytes, at)?;
        at = at.checked_add(1)?;
        if item == 0 {
            break;
        }
        let start = at.checked_add(1)?;
        let end = start.checked_add(usize::from(u8_at(bytes, at)?))?;
        let value = bytes.get(start..end)?;
        if item == CNAME && cname.is_none() {
            cname = Some(value);
        }
        at = end;
    }
    let rest = bytes.get(at.next_multiple_of(4)..)?;
    Some(((ssrc, cname), rest))
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, compound};
    use super::*;

    fn read(bytes: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
        match compound(bytes).unwrap().next() {
            Some(Ok(Packet::Sdes(sdes))) => Some(sdes.map(|(s, c)| (s, c.to_vec())).collect()),
            _ => None,
        }
    }

    #[test]
    fn names_of_every_length_round_trip() {
        let mut buffer = [0xff; 300];
        for length in 0..=255 {
            let name = vec![b'x'; length];
            let mut writer = Writer::new(&mut buffer);
            Sdes::write(9, &name, &mut writer).unwrap();
            let end = writer.len();
            assert_eq!(read(&buffer[..end]), Some(vec![(9, name)]));
        }
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(Sdes::write(9, &[0; 256], &mut writer), Err(Full));
    }

    #[test]
    fn other_items_are_passed_over() {
        let packet = [
            0x82, 202, 0, 5, //
            0, 0, 0, 1, 2, 1, b'n', 0, //
            0, 0, 0, 2, 2, 1, b'n', 1, 2, b'a', b'b', 0,
        ];
        assert_eq!(read(&packet), Some(vec![(2, b"ab".to_vec())]));
        let unended = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b'];
        assert_eq!(read(&unended), None);
    }
}
