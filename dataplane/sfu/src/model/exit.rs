//! What the packet path needs of a transport, apart from the rest, so that those of many transports fit into the cache.

use core::ops::{Index, IndexMut};

use proto::srtp::Handle;

use super::Path;

/// Most packets that wait for one transport between two flushes.
pub(crate) const WAITING_MAX: u32 = 2048;

/// The way out through one transport.
// Two cache lines, as processors fetch them.
#[repr(align(128))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exit {
    /// The runs that wait for it, a list in the queue.
    pub(crate) runs: List,
    /// Packets in those runs.
    pub(crate) waiting: u32,
    pub(crate) keys: Option<Keys>,
    /// Where media may go.
    pub(crate) path: Option<Path>,
    /// Every packet is numbered, and may have to wait.
    pub(crate) is_numbered: bool,
}

/// First and last of a list, by place; both mean nothing in an empty one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// With what media are protected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) context: Handle,
    /// What protection adds to a packet, in bytes.
    pub(crate) overhead: u16,
}

/// The exits of all transports, by the same keys.
#[derive(Debug)]
pub(crate) struct Exits(Vec<Exit>);

impl Exits {
    /// Room for those of so many transports; memory that was never used is not touched.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// A new one for a new transport.
    pub(crate) fn reset(&mut self, transport: u32) {
        let index = transport as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Exit::default());
        }
        self.0[index] = Exit::default();
    }

    /// Fetches an exit before it is needed.
    pub(crate) fn prefetch(&self, transport: u32) {
        if let Some(exit) = self.0.get(transport as usize) {
            packet::prefetch(exit, size_of::<Exit>());
        }
    }
}

impl Index<u32> for Exits {
    type Output = Exit;

    fn index(&self, transport: u32) -> &Exit {
        &self.0[transport as usize]
    }
}

impl IndexMut<u32> for Exits {
    fn index_mut(&mut self, transport: u32) -> &mut Exit {
        &mut self.0[transport as usize]
    }
}
