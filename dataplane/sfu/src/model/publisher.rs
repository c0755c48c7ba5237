//! A published stream and its media sections.

use clock::Instant;
use proto::rtp::{ExtensionMap, Uri};

use super::layers::{ENCODINGS_MAX, Places};
use super::policer::Policer;
use crate::api::{Kind, PayloadType, PublisherId, TapId};
use crate::loudness::Loudness;

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
    /// The encodings that somebody there wants.
    pub(crate) wants: Places,
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
    /// Which encodings arrive; the only one of a medium counts as if it always did.
    pub(crate) arriving: Places,
    /// The outgoing RTP streams that copy it.
    pub(crate) listeners: Vec<Listener>,
    /// How many of those want each encoding.
    audience: [u32; ENCODINGS_MAX],
    /// The encodings that the worker with the publisher was told to hand over, if that is another one.
    pub(crate) told: Option<Places>,
    /// When somebody last went from one encoding to another. Packets of the former may still come late.
    pub(crate) left: Option<Instant>,
    /// Workers where somebody subscribes.
    pub(crate) taps: Vec<Tap>,
    /// How much of it the publisher may send, in bit/s.
    pub(crate) bandwidth_max: Option<u64>,
    /// Sees to that.
    pub(crate) policer: Policer,
    /// It is a screen that is shared.
    pub(crate) is_screen: bool,
    /// Its publisher is the one who speaks in its session.
    pub(crate) speaks: bool,
    /// Kept where the levels of sound arrive.
    pub(crate) voice: Option<Box<Voice>>,
}

/// How loud a publisher is.
#[derive(Debug)]
pub(crate) struct Voice {
    pub(crate) publisher: PublisherId,
    pub(crate) loudness: Loudness,
}

/// Who gets a copy, by keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) outgoing: u32,
    pub(crate) transport: u32,
    /// The encodings that it gets a copy of.
    pub(crate) wants: Places,
}

impl Medium {
    /// A medium that nobody listens to; `encodings` are to be added.
    pub(crate) fn new(
        (kind, origin, place): (Kind, Origin, u8),
        mid: Box<[u8]>,
        codecs: Vec<PayloadType>,
        extensions: ExtensionMap,
        bandwidth_max: Option<u64>,
    ) -> Self {
        Self {
            bandwidth_max,
            policer: Policer::new(kind, bandwidth_max),
            kind,
            origin,
            place,
            mid,
            codecs,
            extensions,
            encodings: Vec::new(),
            arriving: Places::NONE,
            listeners: Vec::new(),
            audience: [0; ENCODINGS_MAX],
            told: None,
            left: None,
            taps: Vec::new(),
            is_screen: false,
            speaks: false,
            voice: None,
        }
    }

    /// Which pictures come first where there is not room for all, greater ones before others: a screen is what people talk about, and
    /// of cameras that of who speaks is watched.
    pub(crate) fn priority(&self) -> u8 {
        2 * u8::from(self.is_screen) + u8::from(self.speaks)
    }

    /// Lets one more listen, and says at which place.
    pub(crate) fn listen(&mut self, listener: Listener) -> u32 {
        let at = self.listeners.len();
        self.listeners.push(Listener {
            wants: Places::NONE,
            ..listener
        });
        self.want(at as u32, listener.wants);
        at as u32
    }

    /// The listener at `at` goes. Returns who has its place now.
    pub(crate) fn unlisten(&mut self, at: u32) -> Option<Listener> {
        self.want(at, Places::NONE);
        self.listeners.swap_remove(at as usize);
        self.listeners.get(at as usize).copied()
    }

    /// The listener at `at` wants these encodings, and no others.
    pub(crate) fn want(&mut self, at: u32, wants: Places) {
        let listener = &mut self.listeners[at as usize];
        for place in listener.wants.iter() {
            self.audience[usize::from(place)] -= 1;
        }
        for place in wants.iter() {
            self.audience[usize::from(place)] += 1;
        }
        listener.wants = wants;
    }

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

    /// Whether anybody listens to any encoding of it.
    pub(crate) fn has_audience(&self) -> bool {
        !(self.listeners.is_empty() && self.taps.is_empty())
    }

    /// How many want a copy of the encoding in that place.
    pub(crate) fn audience(&self, place: u8) -> u32 {
        self.audience[usize::from(place)]
    }

    /// How many want any encoding at all.
    pub(crate) fn awake(&self) -> u32 {
        let awake = self.listeners.iter().filter(|one| !one.wants.is_empty());
        awake.count() as u32
    }

    /// Whether the encoding in that place is of use to anybody.
    pub(crate) fn is_wanted(&self, place: u8) -> bool {
        self.audience(place) > 0 || self.taps.iter().any(|tap| tap.wants.contains(place))
    }

    /// The encodings that listeners want.
    pub(crate) fn wanted(&self) -> Places {
        let wanted = self
            .places()
            .iter()
            .filter(|place| self.audience(*place) > 0);
        wanted.fold(Places::NONE, |all, place| all.or(Places::only(place)))
    }

    /// Those of all its encodings.
    pub(crate) fn places(&self) -> Places {
        Places::up_to(self.encodings.len().saturating_sub(1) as u8)
    }

    /// Whether there is a choice.
    pub(crate) fn has_layers(&self) -> bool {
        self.encodings.len() > 1
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
