//! A published stream and its media sections.

use proto::rtp::{ExtensionMap, Uri};

use crate::api::{Kind, PayloadType, PublisherId, TapId};

/// Where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A transport of this engine: its key.
    Transport(u32),
    /// Another worker, which has the transport, through a tap there.
    Tap { tap: TapId, worker: u16 },
}

/// Another worker that gets every packet of a medium once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) id: TapId,
    pub(crate) worker: u16,
}

/// A stream that arrives.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) id: PublisherId,
    pub(crate) origin: Origin,
    /// Keys of its media sections, in the order of its description.
    pub(crate) media: Vec<u32>,
}

/// One media section of it.
#[derive(Debug)]
pub(crate) struct Medium {
    pub(crate) kind: Kind,
    pub(crate) origin: Origin,
    /// Which medium of its publisher it is, from zero.
    pub(crate) place: u8,
    pub(crate) mid: Box<[u8]>,
    pub(crate) codecs: Vec<PayloadType>,
    pub(crate) extensions: ExtensionMap,
    /// Keys, lowest first.
    pub(crate) encodings: Vec<u32>,
    /// Key of the encoding that is forwarded.
    pub(crate) selected: Option<u32>,
    /// The outgoing RTP streams that copy it.
    pub(crate) listeners: Vec<Listener>,
    /// Workers where somebody subscribes.
    pub(crate) taps: Vec<Tap>,
}

/// Who gets a copy, by keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) outgoing: u32,
    pub(crate) transport: u32,
}

impl Medium {
    /// What a payload type stands for, its own or that of its RTX.
    pub(crate) fn codec(&self, payload_type: u8) -> Option<(&PayloadType, Role)> {
        self.codecs.iter().find_map(|codec| {
            if codec.payload_type == payload_type {
                Some((codec, Role::Media))
            } else if codec.rtx == Some(payload_type) {
                Some((codec, Role::Rtx))
            } else {
                None
            }
        })
    }

    /// Whether a key frame would be seen by anybody.
    pub(crate) fn has_audience(&self) -> bool {
        !(self.listeners.is_empty() && self.taps.is_empty())
    }

    pub(crate) fn any(&self, property: impl Fn(&PayloadType) -> bool) -> bool {
        self.codecs.iter().any(property)
    }

    /// Whether every packet carries a number for transport-wide feedback.
    pub(crate) fn has_transport_feedback(&self) -> bool {
        self.extensions.id(Uri::TransportCc).is_some() && self.any(|codec| codec.transport_cc)
    }
}

/// What an RTP stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The medium itself.
    Media,
    /// Its retransmissions (RFC 4588).
    Rtx,
}
