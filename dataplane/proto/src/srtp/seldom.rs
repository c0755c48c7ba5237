//! Session keys that are seldom used. Ready for use AES-GCM takes six hundred octets, and RTCP is a packet now and then: so
//! only the keys lie here, and are made ready for each packet.

use core::fmt;

use super::backend::{Failed, wipe_frames};
use super::kdf::{SessionKeys, Use, derive};
use super::profile::{KeyError, MasterKey, Profile};
use super::transform::Transform;

/// The session keys of one direction for one use.
pub(super) struct SeldomUsed {
    profile: Profile,
    keys: SessionKeys,
}

impl SeldomUsed {
    /// Derives them from a master key, and sees that the ciphers take them.
    pub(super) fn new(master: &MasterKey, usage: Use) -> Result<Self, KeyError> {
        let (profile, keys) = (master.profile(), derive(master, usage)?);
        Transform::with_session_keys(profile, &keys)?;
        Ok(Self { profile, keys })
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// What they are when ready for use, for good.
    pub(super) fn transform(&self) -> Result<Transform, KeyError> {
        Transform::with_session_keys(self.profile, &self.keys)
    }

    /// Makes them ready for one call, and leaves no trace of that.
    pub(super) fn with<R>(
        &self,
        call: impl FnOnce(&Transform) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let outcome = self.ready(call);
        wipe_frames();
        outcome
    }

    #[inline(never)]
    fn ready<R>(&self, call: impl FnOnce(&Transform) -> Result<R, Failed>) -> Result<R, Failed> {
        call(&self.transform().map_err(|_| Failed)?)
    }
}

impl fmt::Debug for SeldomUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeldomUsed").finish_non_exhaustive()
    }
}
