//! The sending RTP contexts of all transports in one flat table.

use thiserror::Error;

use super::backend::prefetch_front;
use super::outbound_rtp::{HOT_LEN, OutboundRtp};
use super::profile::{KeyError, MasterKey, Profile};

/// No place: the end of the list of free ones.
const NONE: u32 = u32::MAX;

/// Names a context in a [`Slab`]. After the context was removed, the handle finds nothing, whoever has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    place: u32,
    generation: u32,
}

/// Why a context was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SlabError {
    /// As many contexts as the slab was made for are in it.
    #[error("no room for another SRTP context")]
    Full,
    /// The keys were not taken.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// SRTP contexts for the RTP that we send on many transports, one per transport, side by side and aligned to cache lines,
/// so that [`super::protect_batch`] can ask for them ahead of time.
///
/// All room is reserved at the start; memory of places that were never used is not touched. A context needs nothing else
/// while its transport sends at most [`super::INLINE_SOURCES`] SSRCs; the fifth and later ones cost an allocation when
/// they first appear. Keys are wiped when a context is removed.
#[derive(Debug)]
pub struct Slab {
    places: Vec<Place>,
    /// Apart from the contexts, because it is read first: densely packed it stays in cache.
    entries: Vec<Entry>,
    capacity: usize,
    free: u32,
    len: usize,
}

#[derive(Debug)]
#[repr(align(64))]
struct Place {
    context: Option<OutboundRtp>,
}

#[derive(Debug)]
struct Entry {
    /// Odd while the place is taken, so that a handle never matches an empty one.
    generation: u32,
    next_free: u32,
}

impl Slab {
    /// What one context takes, in octets.
    pub const CONTEXT_SIZE: usize = size_of::<Place>();

    /// An empty slab with room for `capacity` contexts, at most 2^32 - 1.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.min(NONE as usize);
        Self {
            places: Vec::with_capacity(capacity),
            entries: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            len: 0,
        }
    }

    /// How many contexts are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no context is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many contexts it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Derives the RTP session keys from our master key and puts a context with them into the slab.
    ///
    /// Of one master key there must be one context only, or indices repeat behind its back.
    ///
    /// # Errors
    /// [`SlabError::Full`]; [`SlabError::Key`] if the cipher library refuses a key.
    pub fn insert(&mut self, master: &MasterKey) -> Result<Handle, SlabError> {
        if self.len >= self.capacity {
            return Err(SlabError::Full);
        }
        let context = Some(OutboundRtp::new(master)?);
        let place = self.free;
        let taken = self.entries.get_mut(place as usize);
        let (place, generation) = match (taken, self.places.get_mut(place as usize)) {
            (Some(entry), Some(vacant)) => {
                vacant.context = context;
                self.free = entry.next_free;
                entry.generation = entry.generation.wrapping_add(1);
                (place, entry.generation)
            }
            _ => {
                let place = u32::try_from(self.places.len()).map_err(|_| SlabError::Full)?;
                self.places.push(Place { context });
                self.entries.push(Entry {
                    generation: 1,
                    next_free: NONE,
                });
                (place, 1)
            }
        };
        self.len = self.len.saturating_add(1);
        Ok(Handle { place, generation })
    }

    /// Takes a context out and wipes its keys. Says whether there was one.
    pub fn remove(&mut self, handle: Handle) -> bool {
        let Some(entry) = self.entries.get_mut(handle.place as usize) else {
            return false;
        };
        if entry.generation != handle.generation {
            return false;
        }
        entry.generation = entry.generation.wrapping_add(1);
        entry.next_free = self.free;
        self.free = handle.place;
        self.len = self.len.saturating_sub(1);
        if let Some(place) = self.places.get_mut(handle.place as usize) {
            place.context = None;
        }
        true
    }

    /// Whether a context with this handle is in the slab.
    pub fn contains(&self, handle: Handle) -> bool {
        self.get(handle).is_some()
    }

    /// The profile of a context.
    pub fn profile(&self, handle: Handle) -> Option<Profile> {
        Some(self.get(handle)?.profile())
    }

    /// How many SSRCs a context has sent.
    pub fn source_count(&self, handle: Handle) -> Option<usize> {
        Some(self.get(handle)?.source_count())
    }

    /// Asks for the memory of a context, to be called a few hundred nanoseconds before it is used.
    /// [`super::protect_batch`] does so within its jobs.
    #[inline]
    pub fn prefetch(&self, handle: Handle) {
        // Not a look at the context, not even whether there is one: that would be the very wait we want to avoid.
        if let Some(place) = self.places.get(handle.place as usize) {
            prefetch_front(place, HOT_LEN);
        }
    }

    /// Asks for what else a packet will read. Looks at the context, which should have been asked for before.
    #[inline]
    pub(super) fn prefetch_window(&self, handle: Handle, ssrc: u32, index: u64) {
        if let Some(Place {
            context: Some(context),
        }) = self.places.get(handle.place as usize)
        {
            context.prefetch_window(ssrc, index);
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut OutboundRtp> {
        let entry = self.entries.get(handle.place as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        self.places.get_mut(handle.place as usize)?.context.as_mut()
    }

    #[inline]
    pub(super) fn get(&self, handle: Handle) -> Option<&OutboundRtp> {
        let entry = self.entries.get(handle.place as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        self.places.get(handle.place as usize)?.context.as_ref()
    }
}
