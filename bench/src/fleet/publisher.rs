use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clock::{Instant, NtpTime, Rng};
use proto::rtcp::{self, Packet, Sdes, SenderInfo, SenderReport, Writer};
use proto::rtp::extension::abs_send_time;
use proto::rtp::{Element, Fields, write_header};
use proto::rtx;
use proto::srtp::{Inbound, KeyingMaterial, Outbound};

use super::Error;
use super::registry::Registry;
use super::spec::{ExtensionIds, PublishedMedium, PublisherSpec, Rtx};
use super::subscriber::Way;
use super::thread::Shared;
use crate::stream::{Outgoing, Player};

/// Sender reports are this far apart, as Chromium's are for video.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Packets of an RTP stream that can be sent again.
const RING: usize = 256;
/// Room for a header with every extension that we send.
const HEADER_BYTES: usize = 64;
/// Room for RTCP before protection.
const RTCP_BYTES: usize = 256;
/// Of an RTP packet, all that is not payload: header, extensions, original sequence number, tag.
const OVERHEAD: usize = HEADER_BYTES + rtx::PREFIX_LENGTH + 32;
/// RTX sequence numbers start anywhere below this, media's too, so that the first wrap is far (RFC 3711 §3.3.1).
const FIRST_SEQUENCE_MAX: u64 = 1 << 15;

/// A publisher before it is connected.
#[derive(Debug)]
pub(super) struct Plan(Vec<Planned>);

#[derive(Debug)]
struct Planned {
    player: Player,
    medium: PublishedMedium,
    published: Arc<AtomicU64>,
}

impl Plan {
    pub(super) fn new(spec: &PublisherSpec, registry: &Registry) -> Result<Self, Error> {
        let media = spec.media.iter().map(|medium| {
            let player = Player::new(&medium.medium, medium.seed)
                .map_err(|error| Error::BadPeer(error.to_string()))?;
            Ok(Planned {
                player,
                medium: medium.clone(),
                published: registry.published(medium.seed),
            })
        });
        Ok(Self(media.collect::<Result<_, Error>>()?))
    }
}

/// The sending side of one transport.
#[derive(Debug)]
pub(super) struct Publisher {
    media: Vec<Sender>,
    keys: Option<Keys>,
    next_report: Instant,
    transport_sequence: u16,
    cname: String,
    is_silent: bool,
}

#[derive(Debug)]
struct Keys {
    outbound: Box<Outbound>,
    inbound: Box<Inbound>,
}

/// One medium on its way out.
#[derive(Debug)]
struct Sender {
    player: Player,
    published: Arc<AtomicU64>,
    ssrc: u32,
    payload_type: u8,
    rtx: Option<Rtx>,
    mid: String,
    ids: ExtensionIds,
    /// ROC × 2^16 + sequence number of the next packet, and of the next retransmission.
    index: u64,
    rtx_index: u64,
    ring: Vec<Sent>,
    packets: u32,
    octets: u32,
    skipped: u64,
}

/// A packet that was sent and may be asked for again. Its memory is used again for a later one.
#[derive(Debug, Default)]
struct Sent {
    index: u64,
    marker: bool,
    timestamp: u32,
    payload: Vec<u8>,
}

impl Publisher {
    pub(super) fn new(plan: Plan, is_silent: bool, rng: &mut Rng) -> Self {
        let media = plan.0.into_iter().map(|planned| {
            let PublishedMedium {
                ssrc,
                payload_type,
                rtx,
                mid,
                extensions,
                ..
            } = planned.medium;
            let ring = if rtx.is_some() { RING } else { 0 };
            Sender {
                player: planned.player,
                published: planned.published,
                ssrc,
                payload_type,
                rtx,
                mid,
                ids: extensions,
                index: rng.below(FIRST_SEQUENCE_MAX),
                rtx_index: rng.below(FIRST_SEQUENCE_MAX),
                ring: (0..ring).map(|_| Sent::default()).collect(),
                packets: 0,
                octets: 0,
                skipped: 0,
            }
        });
        Self {
            media: media.collect(),
            keys: None,
            next_report: Instant::FAR_FUTURE,
            transport_sequence: 0,
            cname: format!("{:016x}", rng.next_u64()),
            is_silent,
        }
    }

    /// Media may flow; false if the library does not take the keys.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        keys: &KeyingMaterial,
        shared: &mut Shared,
    ) -> bool {
        let (Ok(outbound), Ok(inbound)) = (Outbound::new(&keys.local), Inbound::new(&keys.remote))
        else {
            return false;
        };
        self.keys = Some(Keys {
            outbound: Box::new(outbound),
            inbound: Box::new(inbound),
        });
        let phase = shared.rng.below(REPORT_INTERVAL.as_nanos() as u64);
        self.next_report = now + Duration::from_nanos(phase);
        true
    }

    /// Begins its media.
    pub(super) fn speak(&mut self) {
        self.is_silent = false;
    }

    /// Ends its media for good.
    pub(super) fn hush(&mut self) {
        self.is_silent = true;
    }

    /// Sends what is due.
    pub(super) fn on_timeout(&mut self, now: Instant, way: &mut Way<'_>, shared: &mut Shared) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        for sender in &mut self.media {
            if sender.player.deadline() <= now && !self.is_silent {
                sender.play(
                    &mut keys.outbound,
                    &mut self.transport_sequence,
                    way,
                    shared,
                );
            }
        }
        if self.next_report <= now {
            self.next_report = now + REPORT_INTERVAL;
            for sender in self.media.iter().filter(|sender| sender.packets > 0) {
                sender.report(now, &self.cname, &mut keys.outbound, way, shared);
            }
        }
    }

    /// Takes an RTCP packet: requests for packets and for pictures.
    pub(super) fn on_rtcp(&mut self, packet: &mut [u8], way: &mut Way<'_>, shared: &mut Shared) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        let Ok(len) = keys.inbound.unprotect_rtcp(packet) else {
            shared.counters.unauthentic += 1;
            shared.wrong(|| "an RTCP packet for a publisher is not authentic".to_owned());
            return;
        };
        let Ok(packets) = rtcp::compound(packet.get(..len).unwrap_or_default()) else {
            return;
        };
        for packet in packets.flatten() {
            match packet {
                Packet::Nack(nack) => {
                    let about = |sender: &&mut Sender| sender.ssrc == nack.media;
                    if let Some(sender) = self.media.iter_mut().find(about) {
                        for sequence in nack.sequences() {
                            sender.send_again(
                                sequence,
                                &mut keys.outbound,
                                &mut self.transport_sequence,
                                way,
                                shared,
                            );
                        }
                    }
                }
                Packet::Pli(pli) => want_key_frame(&mut self.media, pli.media, shared),
                Packet::Fir(fir) => {
                    for entry in fir.entries() {
                        want_key_frame(&mut self.media, entry.ssrc, shared);
                    }
                }
                _ => {}
            }
        }
    }

    /// When [`Publisher::on_timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.keys.as_ref()?;
        let media = self.media.iter().filter(|_| !self.is_silent);
        let media = media.map(|sender| sender.player.deadline());
        media.chain([self.next_report]).min()
    }
}

fn want_key_frame(media: &mut [Sender], ssrc: u32, shared: &mut Shared) {
    if let Some(sender) = media.iter_mut().find(|sender| sender.ssrc == ssrc) {
        shared.counters.key_frames_asked += 1;
        sender.player.want_key_frame();
    }
}

impl Sender {
    fn play(
        &mut self,
        srtp: &mut Outbound,
        transport_sequence: &mut u16,
        way: &mut Way<'_>,
        shared: &mut Shared,
    ) {
        // What packets say about the time of their sending should be as true as it can be.
        let now = net::now();
        let Self {
            player,
            published,
            ring,
            ..
        } = self;
        let header = HeaderOf {
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            mid: &self.mid,
            ids: self.ids,
        };
        let (index, packets, octets) = (&mut self.index, &mut self.packets, &mut self.octets);
        player.poll(now, &mut |outgoing: Outgoing<'_>| {
            let sent = header.send(
                (*index, outgoing.marker, outgoing.timestamp),
                (&[], outgoing.payload),
                (srtp, transport_sequence),
                way,
                shared,
            );
            if let Some(bytes) = sent {
                shared.counters.published_packets += 1;
                shared.counters.published_bytes += bytes as u64;
                published.fetch_add(1, Ordering::Relaxed);
                *packets = packets.wrapping_add(1);
                *octets = octets.wrapping_add(outgoing.payload.len() as u32);
            }
            if !ring.is_empty() {
                let place = (*index % RING as u64) as usize;
                ring[place].keep(*index, &outgoing);
            }
            // One that did not fit was lost on our own way out, and its number with it.
            *index += 1;
        });
        let skipped = player.skipped();
        shared.counters.skipped_frames += skipped - self.skipped;
        self.skipped = skipped;
    }

    /// Answers a NACK (RFC 4588 §4).
    fn send_again(
        &mut self,
        sequence: u16,
        srtp: &mut Outbound,
        transport_sequence: &mut u16,
        way: &mut Way<'_>,
        shared: &mut Shared,
    ) {
        let (Some(rtx), Some(newest)) = (self.rtx, self.index.checked_sub(1)) else {
            return;
        };
        let index = proto::rtp::sequence::nearest(newest, sequence);
        let Some(sent) = self.ring.get((index % RING as u64) as usize) else {
            return;
        };
        if sent.index != index || sent.payload.is_empty() {
            return;
        }
        let header = HeaderOf {
            ssrc: rtx.ssrc,
            payload_type: rtx.payload_type,
            mid: &self.mid,
            ids: self.ids,
        };
        let result = header.send(
            (self.rtx_index, sent.marker, sent.timestamp),
            (&rtx::prefix(sequence), &sent.payload),
            (srtp, transport_sequence),
            way,
            shared,
        );
        self.rtx_index += 1;
        shared.counters.published_retransmissions += u64::from(result.is_some());
    }

    fn report(
        &self,
        now: Instant,
        cname: &str,
        srtp: &mut Outbound,
        way: &mut Way<'_>,
        shared: &mut Shared,
    ) {
        let info = SenderInfo {
            ssrc: self.ssrc,
            ntp: shared.wall,
            timestamp: self.player.timestamp_at(now),
            packets: self.packets,
            octets: self.octets,
        };
        let mut buffer = [0; RTCP_BYTES];
        let mut writer = Writer::new(&mut buffer);
        let written = SenderReport::write(&info, &[], &mut writer)
            .and_then(|()| Sdes::write(self.ssrc, cname.as_bytes(), &mut writer));
        if written.is_ok() {
            let len = writer.len();
            shared.counters.reports += 1;
            way.out
                .send_rtcp(way.local, way.remote, srtp, &buffer[..len]);
        }
    }
}

/// What stays the same in the headers of an RTP stream.
struct HeaderOf<'a> {
    ssrc: u32,
    payload_type: u8,
    mid: &'a str,
    ids: ExtensionIds,
}

impl HeaderOf<'_> {
    /// Queues one packet; how many bytes it has, or none if there was no room.
    fn send(
        &self,
        (index, marker, timestamp): (u64, bool, u32),
        (prefix, payload): (&[u8], &[u8]),
        (srtp, transport_sequence): (&mut Outbound, &mut u16),
        way: &mut Way<'_>,
        shared: &mut Shared,
    ) -> Option<usize> {
        let fields = Fields {
            marker,
            payload_type: self.payload_type,
            sequence: index as u16,
            timestamp,
            ssrc: self.ssrc,
            ..Fields::default()
        };
        let mut header = [0; HEADER_BYTES];
        let header_len = self.write(&mut header, &fields, *transport_sequence, shared.wall)?;
        let mut len = None;
        way.out.write(
            way.local,
            way.remote,
            payload.len() + OVERHEAD,
            |room: &mut [u8]| {
                let header = header.get(..header_len)?;
                len = srtp
                    .protect_rtp(index, self.ssrc, header, prefix, payload, room)
                    .ok();
                len
            },
        );
        if self.ids.transport_sequence.is_some() {
            *transport_sequence = transport_sequence.wrapping_add(1);
        }
        len
    }

    fn write(
        &self,
        header: &mut [u8],
        fields: &Fields,
        transport_sequence: u16,
        wall: NtpTime,
    ) -> Option<usize> {
        let send_time = abs_send_time(wall);
        let number = transport_sequence.to_be_bytes();
        // RFC 6464: voice at 30 dB below overload.
        let level = [0x80 | 30];
        let all = [
            (self.ids.mid, self.mid.as_bytes()),
            (self.ids.abs_send_time, &send_time[..]),
            (self.ids.transport_sequence, &number[..]),
            (self.ids.audio_level, &level[..]),
        ];
        let mut elements = [Element::new(0, &[]); 4];
        let mut count = 0;
        for (id, data) in all {
            if let Some(id) = id {
                elements[count] = Element::new(id, data);
                count += 1;
            }
        }
        write_header(header, fields, &elements[..count])
    }
}

impl Sent {
    fn keep(&mut self, index: u64, outgoing: &Outgoing<'_>) {
        self.index = index;
        self.marker = outgoing.marker;
        self.timestamp = outgoing.timestamp;
        self.payload.clear();
        self.payload.extend_from_slice(outgoing.payload);
    }
}
