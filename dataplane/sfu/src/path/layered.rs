//! The way of a packet to a subscriber that does not simply get all of a medium: at which packet another encoding takes over,
//! which pictures are left out, and the numbers that VP8 has of its own.

use clock::Instant;
use packet::Arena;
use proto::codec::{Codec, vp8};
use proto::rtp::Refused;
use proto::rtp::sequence::timestamp_distance;
use proto::rtx;

use super::rewritten::{Numbers, PREFIX_MAX, Prefix};
use crate::api::Kind;
use crate::discard::DropReason;
use crate::model::layers::{Layers, Moment};
use crate::model::packet::Packet;
use crate::model::{Encoding, Medium, Outgoing, Slab};

const _: () = assert!(rtx::PREFIX_LENGTH + vp8::MAX_DESCRIPTOR_LENGTH <= PREFIX_MAX);

/// The numbers of a packet that comes for the first time; `payload_type` is ours for it.
#[cold]
#[inline(never)]
pub(super) fn fresh(
    outgoing: &mut Outgoing,
    (media, encodings): (&mut Slab<Medium>, &Slab<Encoding>),
    packet: &Packet,
    payload_type: u8,
    (arena, now): (&Arena, Instant),
) -> Result<Numbers, DropReason> {
    let medium = outgoing.medium.and_then(|medium| media.get_mut(medium));
    let medium = medium.ok_or(DropReason::Gone)?;
    let encoding = &encodings[packet.encoding];
    let codec = outgoing.codec(packet.payload_type).map(|codec| codec.codec);
    let mut layers = outgoing.layers.take().ok_or(DropReason::Gone)?;
    let going = Going {
        outgoing,
        layers: &mut layers,
        packet,
        encoding,
        descriptor: descriptor(codec, packet, arena),
    };
    let numbers = going.go(medium, encodings, payload_type, now);
    outgoing.layers = Some(layers);
    numbers
}

/// Before the payload of a retransmission come the original's number and descriptor.
#[cold]
#[inline(never)]
pub(super) fn again(
    layers: &mut Layers,
    codec: Codec,
    packet: &Packet,
    prefix: &mut Prefix,
    arena: &Arena,
) -> Result<(), DropReason> {
    if let Some(descriptor) = descriptor(Some(codec), packet, arena) {
        let renumbered = layers.numbers.forward(packet.source, &descriptor);
        prefix.replace(&descriptor, &renumbered.ok_or(DropReason::TooOld)?);
    }
    Ok(())
}

fn descriptor(codec: Option<Codec>, packet: &Packet, arena: &Arena) -> Option<vp8::Descriptor> {
    let is_vp8 = codec == Some(Codec::Vp8);
    is_vp8
        .then(|| vp8::Descriptor::parse(packet.payload(arena)))
        .flatten()
}

/// A packet and whom it is for.
struct Going<'a> {
    outgoing: &'a mut Outgoing,
    layers: &'a mut Layers,
    packet: &'a Packet,
    encoding: &'a Encoding,
    descriptor: Option<vp8::Descriptor>,
}

/// Which temporal layer a picture is of, and where it leads to.
#[derive(Clone, Copy)]
struct Layer {
    id: u8,
    /// Whoever has all up to the first can go on with all up to the second.
    rises: Option<(u8, u8)>,
}

impl Going<'_> {
    /// By VP8's own word, or else by the dependency descriptor, whose meaning comes with the key frames of its encoding.
    fn layer(&self) -> Option<Layer> {
        if let Some(temporal) = self.descriptor.and_then(|descriptor| descriptor.temporal) {
            // RFC 7741 §4.2: with Y the picture depends on layer 0 only. Whoever goes up a step at a time has all the rest.
            let below = temporal.id.checked_sub(1).filter(|_| temporal.layer_sync);
            return Some(Layer {
                id: temporal.id,
                rises: below.map(|below| (below, temporal.id)),
            });
        }
        let layer = self.packet.layer?;
        Some(Layer {
            id: layer.temporal,
            rises: layer.switches_to.map(|to| (layer.temporal, to)),
        })
    }

    fn go(
        mut self,
        medium: &mut Medium,
        encodings: &Slab<Encoding>,
        payload_type: u8,
        now: Instant,
    ) -> Result<Numbers, DropReason> {
        let place = self.encoding.place;
        let source = self.encoding.source;
        let follows = self.layers.current == Some(place) && self.outgoing.source == Some(source);
        let mut starts_late = false;
        let fills = !follows && !self.may_begin(medium);
        if !follows && !fills {
            starts_late = self.begin(medium, encodings, now)?;
        }
        if !fills && !self.is_shown() {
            self.outgoing.rewriter.skip(source, self.packet.sequence);
            return Err(DropReason::NotSelected);
        }
        let mut prefix = Prefix::default();
        if !fills {
            self.renumber(&mut prefix)?;
        }
        let (sequence, timestamp) = (self.packet.sequence, self.packet.timestamp);
        let rewriter = &mut self.outgoing.rewriter;
        let mapped = if fills {
            rewriter.fill(source, sequence, timestamp)
        } else {
            rewriter.forward(source, sequence, timestamp)
        };
        let mapped = mapped.map_err(|refused| match refused {
            Refused::Duplicate => DropReason::Duplicate,
            Refused::TooLate => DropReason::TooOld,
            Refused::NotSelected => self.useless(),
            Refused::Exhausted => DropReason::KeyExhausted,
        })?;
        if fills {
            // A picture that has no place must not be numbered as if it were the next.
            self.renumber(&mut prefix)?;
        }
        Ok(Numbers {
            index: mapped.index,
            ssrc: self.outgoing.ssrc,
            payload_type,
            timestamp: mapped.timestamp,
            prefix: Some(prefix).filter(|_| self.descriptor.is_some()),
            starts_late,
        })
    }

    /// VP8's own numbers go on as the sequence numbers do.
    fn renumber(&mut self, prefix: &mut Prefix) -> Result<(), DropReason> {
        let Some(descriptor) = &self.descriptor else {
            return Ok(());
        };
        let numbers = &mut self.layers.numbers;
        let renumbered = numbers.forward(self.encoding.source, descriptor);
        prefix.replace(descriptor, &renumbered.ok_or_else(|| self.useless())?);
        Ok(())
    }

    /// Why a packet of another encoding than the current one is of no use.
    fn useless(&self) -> DropReason {
        if self.layers.target == Some(self.encoding.place) {
            DropReason::AwaitingKeyFrame
        } else {
            DropReason::NotSelected
        }
    }

    /// Whether its encoding may take over with this packet.
    fn may_begin(&mut self, medium: &Medium) -> bool {
        let (place, source) = (self.encoding.place, self.encoding.source);
        if !self.layers.accepts(place, medium.arriving) {
            return false;
        }
        if self.outgoing.kind == Kind::Audio || self.packet.key_frame {
            return true;
        }
        if self.layers.target == Some(place) {
            let before = self.outgoing.passed_over.filter(|(of, _)| *of == source);
            self.outgoing.passed_over = before.max(Some((source, self.packet.sequence)));
        }
        false
    }

    /// Its encoding takes over. Whether others that follow the packet were passed over.
    fn begin(
        &mut self,
        medium: &mut Medium,
        encodings: &Slab<Encoding>,
        now: Instant,
    ) -> Result<bool, DropReason> {
        let (encoding, packet) = (self.encoding, self.packet);
        let (place, source) = (encoding.place, encoding.source);
        let before = self.layers.last.and_then(|(place, source)| {
            let key = medium.encodings.get(usize::from(place))?;
            Some(&encodings[*key]).filter(|encoding| encoding.source == source)
        });
        let by_reports = before.and_then(|before| {
            let there = encoding
                .clock()?
                .translate(packet.timestamp, &before.clock()?);
            Some(self.outgoing.rewriter.timestamp(there))
        });
        // A picture that was left out may have one before it that still comes, and has its time.
        let mut sent = self.outgoing.sent.timestamp;
        if let Some((judged, _)) = self.layers.judged {
            let judged = self.outgoing.rewriter.timestamp(judged);
            if timestamp_distance(sent, judged) > 0 {
                sent = judged;
            }
        }
        let moment = Moment {
            by_reports,
            by_arrival: self.outgoing.continued(encoding.clock_rate, now),
            sent,
        };
        let current = self.layers.current.filter(|current| *current != place);
        let flows = current.is_some_and(|current| medium.arriving.contains(current));
        let continued = self.layers.align(&moment, flows);
        let continued = continued.ok_or(DropReason::AwaitingKeyFrame)?;
        let outgoing = &mut *self.outgoing;
        outgoing.follow(source, packet.sequence, packet.timestamp, continued);
        let layers = &mut *self.layers;
        layers.numbers.switch(source);
        layers.current = Some(place);
        layers.last = Some((place, source));
        layers.judged = None;
        layers.temporal = layers.limit.temporal;
        medium.want(outgoing.listens_at, layers.wants(medium.arriving));
        medium.left = Some(now);
        let passed_over = outgoing.passed_over.take();
        let overtaken =
            passed_over.is_some_and(|(of, newest)| of == source && newest > packet.sequence);
        Ok(packet.late || overtaken)
    }

    /// Whether the picture is of a temporal layer that is forwarded. All packets of a picture share its fate, but for those
    /// that come late: their place is kept or not already.
    fn is_shown(&mut self) -> bool {
        let Some(layer) = self.layer() else {
            return true;
        };
        let timestamp = self.packet.timestamp;
        let shown = match self.layers.judged {
            Some((judged, shown)) if judged == timestamp => shown,
            Some((judged, _)) if timestamp_distance(judged, timestamp) < 0 => return true,
            _ => {
                let layers = &mut *self.layers;
                let most = layers.limit.temporal;
                layers.temporal = layers.temporal.min(most);
                if self.packet.key_frame {
                    layers.temporal = most;
                } else if let Some((from, to)) = layer.rises
                    && from <= layers.temporal
                {
                    layers.temporal = layers.temporal.max(to.min(most));
                }
                let shown = layer.id <= layers.temporal;
                layers.judged = Some((timestamp, shown));
                shown
            }
        };
        if let (false, Some(descriptor)) = (shown, &self.descriptor) {
            self.layers.numbers.skip(self.encoding.source, descriptor);
        }
        shown
    }
}
