//! A media packet on its way through the engine: where it lies and what is known of it. Never its bytes.

use clock::Instant;
use packet::{Arena, SlotId};
use proto::codec::dependency::Layer;
use proto::rtp::Uri;

/// Most header extensions of one packet that are passed on.
pub(crate) const ELEMENTS_MAX: usize = 8;

/// A decrypted media packet; retransmissions are unwrapped already. Copying it copies no reference to the slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) slot: SlotId,
    /// Where the payload lies in the slot, without padding.
    pub(crate) payload: (u16, u16),
    pub(crate) encoding: u32,
    /// [`Encoding::source`](super::Encoding) when it came. If that has changed since, another RTP stream has taken the
    /// encoding over, and the numbers of this packet mean nothing any more.
    pub(crate) source: u32,
    /// When it came; `None` for a packet out of the cache.
    pub(crate) arrival: Option<Instant>,
    /// Sequence number that does not wrap.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    /// The first packet of a picture that needs no other.
    pub(crate) key_frame: bool,
    /// Others that follow it came before: it was sent again, or overtaken.
    pub(crate) late: bool,
    /// Its payload is of RFC 2198: sound of packets before it may come first.
    pub(crate) repeats: bool,
    /// Its temporal layer by the dependency descriptor.
    pub(crate) layer: Option<Layer>,
    pub(crate) elements: Elements,
}

impl Packet {
    /// One without a payload, which belongs to no encoding.
    pub(crate) fn empty(slot: SlotId) -> Self {
        Self {
            slot,
            payload: (0, 0),
            encoding: u32::MAX,
            source: 0,
            arrival: None,
            sequence: 0,
            timestamp: 0,
            payload_type: 0,
            marker: false,
            key_frame: false,
            late: false,
            repeats: false,
            layer: None,
            elements: Elements::default(),
        }
    }

    pub(crate) fn payload<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        &arena.bytes(self.slot)[usize::from(self.payload.0)..usize::from(self.payload.1)]
    }

    /// Which bytes of the slot are needed: payload and header extensions.
    pub(crate) fn extent(&self) -> (u16, u16) {
        let first = self.elements.iter().map(|element| element.offset).min();
        let first = first.map_or(self.payload.0, |first| first.min(self.payload.0));
        (first, self.payload.1)
    }

    /// The same packet in another slot, where it lies `back` bytes nearer to the start.
    pub(crate) fn moved(&self, slot: SlotId, back: u16) -> Self {
        let mut moved = *self;
        moved.slot = slot;
        moved.payload = (self.payload.0 - back, self.payload.1 - back);
        for element in moved.elements.entries.iter_mut().flatten() {
            element.offset -= back;
        }
        moved
    }

    pub(crate) fn payload_len(&self) -> usize {
        usize::from(self.payload.1 - self.payload.0)
    }
}

/// Where the header extensions lie that a subscriber may get.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elements {
    entries: [Option<ElementAt>; ELEMENTS_MAX],
}

/// One header extension: what it means, and where in the slot its value lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementAt {
    pub(crate) uri: Uri,
    pub(crate) offset: u16,
    pub(crate) len: u8,
}

impl Elements {
    /// Remembers one more; what is too much is left out.
    pub(crate) fn push(&mut self, element: ElementAt) {
        if let Some(free) = self.entries.iter_mut().find(|entry| entry.is_none()) {
            *free = Some(element);
        }
    }

    /// Whether there is nothing to pass on.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries[0].is_none()
    }

    /// The value of one of them, in `bytes` that lie in the slot from `start` on.
    pub(crate) fn value<'a>(&self, uri: Uri, bytes: &'a [u8], start: u16) -> Option<&'a [u8]> {
        let at = self.iter().find(|at| at.uri == uri)?;
        let from = usize::from(at.offset - start);
        Some(&bytes[from..from + usize::from(at.len)])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ElementAt> + '_ {
        self.entries.iter().map_while(|entry| *entry)
    }
}
