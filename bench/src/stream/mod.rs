//! What publishers send: players of synthetic and of recorded media, and the check of what arrives.
//!
//! A player is sans-IO: it says when its next packet is due and hands out payloads; RTP headers, sequence numbers, extensions and
//! SRTP are the caller's. Every synthetic payload names its stream, its number and its time of sending, and the rest of it follows
//! from these, so that a receiver can tell a right payload from a wrong one without having seen what was sent.

mod dump;
mod payload;
mod player;
mod recording;
mod synthetic;

pub use dump::DumpError;
pub use payload::{Verified, Wrong, verify};
pub use player::{Error, Outgoing, Player};
pub use recording::Recording;

use std::sync::Arc;

use crate::plan::{Codec, Medium};

/// Checks the payloads of one stream, synthetic or recorded. Cheap to clone: a recording is shared.
#[derive(Clone, Debug)]
pub struct Verifier(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Synthetic { codec: Codec, seed: u64 },
    Recorded(Arc<Recording>),
}

impl Verifier {
    /// A verifier of what a [`Player`] of the same medium and seed sends.
    ///
    /// # Errors
    /// When a recording can't be read.
    pub fn new(medium: &Medium, seed: u64) -> Result<Self, Error> {
        Ok(Self(match medium {
            Medium::Synthetic(synthetic) => Kind::Synthetic {
                codec: synthetic.codec,
                seed,
            },
            Medium::Recorded { path, codec } => Kind::Recorded(Recording::open(path, *codec)?),
        }))
    }

    /// Checks one payload: RTP header, extensions and padding taken off, RTX unwrapped.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(&self, payload: &[u8]) -> Result<Verified, Wrong> {
        match &self.0 {
            Kind::Synthetic { codec, seed } => verify(*codec, *seed, payload),
            Kind::Recorded(recording) => recording.verify(payload),
        }
    }
}
