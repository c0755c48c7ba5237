//! The header of packets that have nothing to pass on of the publisher's: nearly all of them.

use proto::rtp::{Element, FIXED_LENGTH, Fields, Uri, write_header};

use crate::model::subscriber::Described;

/// The extension block of packets that have nothing to pass on, ready but for the send time or the transport-wide number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
    /// Where that goes; 0 for nowhere.
    place: u8,
    is_numbered: bool,
}

impl Block {
    /// A block with a MID of the usual length fits.
    const LEN_MAX: usize = 32;

    /// From an RTP stream's MID, how long its pictures are held back, and the ids that were negotiated for it; `None` if the block is too long. The packets have a
    /// transport-wide number if they `are_numbered`, and a send time otherwise.
    pub(crate) fn new(described: &Described, are_numbered: bool) -> Option<Self> {
        let ids = &described.extensions;
        let uri = match are_numbered {
            true => Uri::TransportCc,
            false => Uri::AbsSendTime,
        };
        let len = if are_numbered { 2 } else { 3 };
        let mid = ids.id(Uri::Mid).map(|id| (id, &*described.mid));
        let time = ids.id(uri).map(|id| (id, &[0; 3][..len]));
        let hold = described.hold.as_ref();
        let hold = hold.and_then(|hold| Some((ids.id(Uri::PlayoutDelay)?, &hold.0[..])));
        let mut elements = [Element::new(0, &[]); 3];
        let mut count = 0;
        for (id, data) in mid.into_iter().chain(time).chain(hold) {
            elements[count] = Element::new(id, data);
            count += 1;
        }
        let mut header = [0; FIXED_LENGTH + Self::LEN_MAX];
        let len = write_header(&mut header, &Fields::default(), &elements[..count])?;
        let parsed = proto::rtp::Header::parse(&header[..len]).ok()?;
        let place = time.and_then(|(id, _)| {
            let place = proto::rtp::extension::locate(&parsed, &header[..len], id)?;
            Some(place.start - FIXED_LENGTH)
        });
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..len - FIXED_LENGTH].copy_from_slice(&header[FIXED_LENGTH..len]);
        Some(Self {
            bytes,
            len: (len - FIXED_LENGTH) as u8,
            place: place.unwrap_or(0) as u8,
            is_numbered: are_numbered,
        })
    }

    /// Appends a header with this block.
    pub(super) fn write_header(
        &self,
        fields: &Fields,
        send_time: [u8; 3],
        number: Option<u16>,
        headers: &mut Vec<u8>,
    ) {
        let mut header = [0; FIXED_LENGTH + Self::LEN_MAX];
        let (fixed, block) = header.split_at_mut(FIXED_LENGTH);
        // RFC 3550 §5.1: version 2, the X bit, marker and payload type.
        fixed[0] = 0x80 | u8::from(self.len > 0) << 4;
        fixed[1] = u8::from(fields.marker) << 7 | fields.payload_type & 0x7f;
        fixed[2..4].copy_from_slice(&fields.sequence.to_be_bytes());
        fixed[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
        block.copy_from_slice(&self.bytes);
        let at = usize::from(self.place);
        match number {
            _ if at == 0 => {}
            None => block[at..at + send_time.len()].copy_from_slice(&send_time),
            Some(number) => block[at..at + 2].copy_from_slice(&number.to_be_bytes()),
        }
        debug_assert!(at == 0 || self.is_numbered == number.is_some());
        headers.extend_from_slice(&header[..FIXED_LENGTH + usize::from(self.len)]);
    }
}
