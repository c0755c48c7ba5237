use std::net::{IpAddr, SocketAddr};

use clock::Instant;

use crate::{Arena, SlotId};

/// The most datagrams that one turn takes in.
pub const MAX_BATCH: usize = 256;

/// One received datagram: a part of a slot, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The slot it lies in; one reference to it comes along.
    pub slot: SlotId,
    /// Where in the slot the payload begins, in bytes.
    pub offset: u16,
    /// Bytes of payload.
    pub len: u16,
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of ours that it was sent to, if the system said so: answers leave from there.
    pub local: Option<IpAddr>,
    /// When the kernel received it.
    pub arrival: Instant,
    /// Which socket of the driver it came by, counted from zero in the order they were opened.
    pub listener: u8,
}

impl Datagram {
    /// The payload.
    pub fn payload<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        let start = usize::from(self.offset);
        &arena.bytes(self.slot)[start..start + usize::from(self.len)]
    }

    /// The payload, for decrypting in place: only while nobody else has a reference to the slot.
    pub fn payload_mut<'a>(&self, arena: &'a mut Arena) -> &'a mut [u8] {
        let start = usize::from(self.offset);
        &mut arena.bytes_mut(self.slot)[start..start + usize::from(self.len)]
    }
}

/// What one turn received: at most [`MAX_BATCH`] datagrams, each with a reference to its slot.
///
/// Whoever drains the batch takes the references over.
#[derive(Debug)]
pub struct Batch {
    datagrams: Vec<Datagram>,
}

impl Batch {
    /// An empty batch, with all the memory it will ever need.
    pub fn new() -> Self {
        Self {
            datagrams: Vec::with_capacity(MAX_BATCH),
        }
    }

    /// Appends a datagram and takes over its reference.
    ///
    /// # Panics
    /// If the batch is full: look at [`Batch::room`] first.
    pub fn push(&mut self, datagram: Datagram) {
        assert!(!self.is_full(), "a batch has at most {MAX_BATCH} datagrams");
        self.datagrams.push(datagram);
    }

    /// How many more datagrams fit.
    pub fn room(&self) -> usize {
        MAX_BATCH - self.datagrams.len()
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Datagrams in it.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// The datagrams in order of arrival; the references stay with the batch.
    pub fn as_slice(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// Empties the batch; the references are the caller's from now on.
    pub fn drain(&mut self) -> impl Iterator<Item = Datagram> + '_ {
        self.datagrams.drain(..)
    }

    /// Empties the batch and lets go of every slot in it.
    pub fn clear(&mut self, arena: &mut Arena) {
        for datagram in self.datagrams.drain(..) {
            arena.release(datagram.slot);
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArenaSize;

    #[test]
    fn references_follow_the_datagrams() {
        let mut arena = Arena::new(ArenaSize {
            slots: 2,
            small_slots: 0,
            reserve: 0,
        })
        .unwrap();
        let mut batch = Batch::default();
        for text in [b"one", b"two"] {
            let slot = arena.alloc().unwrap();
            let datagram = Datagram {
                slot,
                offset: 16,
                len: 3,
                source: ([127, 0, 0, 1], 9).into(),
                local: None,
                arrival: Instant::ZERO,
                listener: 0,
            };
            datagram.payload_mut(&mut arena).copy_from_slice(text);
            batch.push(datagram);
        }
        assert_eq!((batch.len(), batch.room()), (2, MAX_BATCH - 2));
        assert_eq!(batch.as_slice()[1].payload(&arena), b"two");
        let kept = batch.drain().next().unwrap();
        assert!(batch.is_empty());
        assert_eq!(arena.in_use(), 2, "draining hands references over");
        arena.release(kept.slot);
        assert_eq!(arena.in_use(), 1);
    }

    #[test]
    fn clear_lets_go() {
        let mut arena = Arena::new(ArenaSize {
            slots: 1,
            small_slots: 0,
            reserve: 0,
        })
        .unwrap();
        let mut batch = Batch::new();
        batch.push(Datagram {
            slot: arena.alloc().unwrap(),
            offset: 0,
            len: 0,
            source: ([127, 0, 0, 1], 9).into(),
            local: None,
            arrival: Instant::ZERO,
            listener: 0,
        });
        batch.clear(&mut arena);
        assert!(batch.is_empty());
        assert_eq!(arena.in_use(), 0);
    }
}
