//! Protection profiles and the keys they need.

use core::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroize;

/// The longest master key of any profile, in octets.
pub const MAX_KEY_LEN: usize = 32;

/// The longest master salt of any profile, in octets.
pub const MAX_SALT_LEN: usize = 14;

/// The SRTCP trailer that holds the E flag and the SRTCP index (RFC 3711 §3.4), in octets.
pub(super) const SRTCP_WORD_LEN: usize = 4;

/// A DTLS-SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
///
/// `SRTP_AES128_CM_HMAC_SHA1_32` is left out on purpose: a tag of 32 bits is forged too easily, and every browser offers
/// one of these three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_256_GCM`, RFC 7714.
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`, RFC 7714.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, RFC 3711: mandatory to implement (RFC 8827 §6.5).
    Aes128CmHmacSha1_80,
}

impl Profile {
    /// Every profile, the one we prefer first.
    pub const ALL: [Self; 3] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes128CmHmacSha1_80,
    ];

    /// The name in IANA's registry of DTLS-SRTP protection profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::Aes128CmHmacSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
        }
    }

    /// The number in the same registry, as it stands in the `use_srtp` extension (RFC 5764 §4.1.2).
    pub const fn id(self) -> u16 {
        match self {
            Self::AeadAes256Gcm => 0x0008,
            Self::AeadAes128Gcm => 0x0007,
            Self::Aes128CmHmacSha1_80 => 0x0001,
        }
    }

    /// The profile with this number in the registry, if it is one of ours.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.id() == id)
    }

    /// Length of the master key and of the session encryption keys, in octets.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::Aes128CmHmacSha1_80 => 16,
        }
    }

    /// Length of the master salt and of the session salts, in octets.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Length of the authentication tag, in octets.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 16,
            Self::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// By how many octets a protected RTP packet is longer than the plain one.
    pub const fn rtp_overhead(self) -> usize {
        self.tag_len()
    }

    /// By how many octets a protected RTCP packet is longer than the plain one: the tag and the index.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len().saturating_add(SRTCP_WORD_LEN)
    }

    /// How many octets a DTLS exporter must yield for this profile (RFC 5764 §4.2).
    pub const fn exporter_len(self) -> usize {
        self.key_len()
            .saturating_add(self.salt_len())
            .saturating_mul(2)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why keys were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Key, salt or exporter output does not have the length that the profile asks for.
    #[error("keying material has the wrong length for its SRTP profile")]
    Length,
    /// The cipher library did not accept the key.
    #[error("the cipher library refused an SRTP key")]
    Refused,
}

/// Master key and master salt of one direction (RFC 3711 §3.2.1). Wiped when dropped, never printed.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    key: [u8; MAX_KEY_LEN],
    salt: [u8; MAX_SALT_LEN],
}

impl MasterKey {
    /// Takes a master key and salt for `profile`.
    ///
    /// # Errors
    /// [`KeyError::Length`] unless they are [`Profile::key_len`] and [`Profile::salt_len`] octets long.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return Err(KeyError::Length);
        }
        let mut master = Self {
            profile,
            key: [0; MAX_KEY_LEN],
            salt: [0; MAX_SALT_LEN],
        };
        for (to, from) in master.key.iter_mut().zip(key) {
            *to = *from;
        }
        for (to, from) in master.salt.iter_mut().zip(salt) {
            *to = *from;
        }
        Ok(master)
    }

    /// The profile that these keys are for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The master key.
    pub fn key(&self) -> &[u8] {
        self.key.get(..self.profile.key_len()).unwrap_or_default()
    }

    /// The master salt.
    pub fn salt(&self) -> &[u8] {
        self.salt.get(..self.profile.salt_len()).unwrap_or_default()
    }

    /// The salt with zero octets appended up to 112 bits, as key derivation wants it (RFC 7714 §11).
    pub(super) fn padded_salt(&self) -> &[u8; MAX_SALT_LEN] {
        &self.salt
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile
            && bool::from(self.key.ct_eq(&other.key) & self.salt.ct_eq(&other.salt))
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// What a DTLS handshake yields for SRTP: the keys of both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyingMaterial {
    /// The profile that was negotiated.
    pub profile: Profile,
    /// What we encrypt with.
    pub local: MasterKey,
    /// What the peer encrypts with.
    pub remote: MasterKey,
}

impl KeyingMaterial {
    /// Splits the output of the `EXTRACTOR-dtls_srtp` exporter: client key, server key, client salt, server salt
    /// (RFC 5764 §4.2). `local_is_client` says whether we were the DTLS client.
    ///
    /// # Errors
    /// [`KeyError::Length`] unless `exported` is [`Profile::exporter_len`] octets long.
    pub fn from_exporter(
        profile: Profile,
        exported: &[u8],
        local_is_client: bool,
    ) -> Result<Self, KeyError> {
        if exported.len() != profile.exporter_len() {
            return Err(KeyError::Length);
        }
        let keys_len = profile.key_len().saturating_mul(2);
        let (keys, salts) = exported
            .split_at_checked(keys_len)
            .ok_or(KeyError::Length)?;
        let (client_key, server_key) = keys
            .split_at_checked(profile.key_len())
            .ok_or(KeyError::Length)?;
        let (client_salt, server_salt) = salts
            .split_at_checked(profile.salt_len())
            .ok_or(KeyError::Length)?;
        let client = MasterKey::new(profile, client_key, client_salt)?;
        let server = MasterKey::new(profile, server_key, server_salt)?;
        let (local, remote) = if local_is_client {
            (client, server)
        } else {
            (server, client)
        };
        Ok(Self {
            profile,
            local,
            remote,
        })
    }

    /// The same keys as the peer sees them: its local is our remote.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            profile: self.profile,
            local: self.remote.clone(),
            remote: self.local.clone(),
        }
    }
}
