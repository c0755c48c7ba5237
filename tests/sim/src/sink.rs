//! What subscribes: puts pictures together, asks for what is missing, reports, and judges.

use std::collections::{BTreeMap, BTreeSet};

use clock::{Duration, Instant};
use proto::loss::{Arrival, NackGenerator};
use proto::rtcp::{self, Nack, Pli, ReceiverReport, SenderInfo};
use proto::rtp::sequence::nearest;
use proto::rtp::{Header, Reception, SenderClock};
use proto::rtx::{self, Retransmission};
use proto::srtp::Outbound;

use crate::media::{self, Part, Ssrcs};
use crate::source::protect_rtcp;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A key frame is asked for again after this long.
const PICTURE_PATIENCE: Duration = Duration::from_millis(300);
/// The round trip that NACK reckons with.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Who watches and listens.
pub struct Sink {
    ssrcs: Ssrcs,
    /// The SSRC of our own RTCP.
    own: u32,
    nack: NackGenerator,
    video: Reception,
    audio: Reception,
    reports_due: Instant,
    /// A key frame is needed; it is asked for then.
    picture_due: Option<Instant>,
    /// By packet index, what came.
    pub(crate) packets: BTreeMap<u64, Part>,
    picture_ids: BTreeMap<u64, u16>,
    pub(crate) sounds: BTreeMap<u64, Part>,
    frames: BTreeMap<u32, Frame>,
    /// The last picture of an unbroken chain from a key frame.
    shown: Option<u32>,
    /// Pictures that could be decoded: complete, and so is what they build on.
    pub decoded: BTreeSet<u32>,
    /// When the last packet of each picture came that was no retransmission.
    pub came: BTreeMap<u32, Instant>,
    /// Key-frame requests sent.
    pub key_frame_requests: u64,
    /// Packets asked for again.
    pub nacked: u64,
    /// Packets that came by retransmission.
    pub recovered: u64,
    /// Media packets that came twice in different packets, as a retransmission that was not needed.
    pub needless: u64,
    /// Goodbyes.
    pub byes: u64,
    clocks: [Option<SenderClock>; 2],
    /// Packets that a sender report translated wrongly: by a hundredth of a second or more.
    pub out_of_sync: u64,
    /// Packets that a sender report translated.
    pub in_sync: u64,
}

#[derive(Clone, Debug)]
struct Frame {
    first: u64,
    got: u16,
    parts: u16,
    is_key: bool,
}

impl Frame {
    fn is_complete(&self) -> bool {
        self.got == self.parts
    }
}

impl Sink {
    pub(crate) fn new(now: Instant, ssrcs: Ssrcs, own: u32) -> Self {
        Self {
            ssrcs,
            own,
            nack: NackGenerator::new(),
            video: Reception::new(media::CLOCK_VIDEO),
            audio: Reception::new(media::CLOCK_AUDIO),
            reports_due: now + REPORT_INTERVAL,
            picture_due: Some(now + 2 * PICTURE_PATIENCE),
            packets: BTreeMap::new(),
            picture_ids: BTreeMap::new(),
            sounds: BTreeMap::new(),
            frames: BTreeMap::new(),
            shown: None,
            decoded: BTreeSet::new(),
            came: BTreeMap::new(),
            key_frame_requests: 0,
            nacked: 0,
            recovered: 0,
            needless: 0,
            byes: 0,
            clocks: [None; 2],
            out_of_sync: 0,
            in_sync: 0,
        }
    }

    /// Whether picture `number` came whole.
    pub fn has(&self, number: u32) -> bool {
        self.frames.get(&number).is_some_and(Frame::is_complete)
    }

    /// The first picture that could be decoded.
    pub fn first(&self) -> Option<u32> {
        self.decoded.first().copied()
    }

    /// The newest picture that could be decoded.
    pub fn newest(&self) -> Option<u32> {
        self.decoded.last().copied()
    }

    /// Packets of pictures that came.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Sounds that came.
    pub fn sounds(&self) -> usize {
        self.sounds.len()
    }

    /// Whose pictures and sounds came: [`Source::identity`](crate::Source::identity).
    pub fn publishers(&self) -> BTreeSet<u32> {
        let all = self.packets.values().chain(self.sounds.values());
        all.map(|part| part.whose).collect()
    }

    /// That the node numbers packets as the publisher did: in order, and with gaps only where packets are missing.
    ///
    /// # Panics
    /// If not.
    pub fn check_order(&self) {
        for ((before, a), (index, b)) in self.packets.iter().zip(self.packets.iter().skip(1)) {
            assert!(
                (a.number, a.part) < (b.number, b.part),
                "order of packets: {a:?} at {before}, {b:?} at {index}"
            );
            if before + 1 == *index {
                let follows = match a.part + 1 == a.parts {
                    true => b.number == a.number + 1 && b.part == 0,
                    false => b.number == a.number && b.part == a.part + 1,
                };
                assert!(follows, "nothing is missing between {a:?} and {b:?}");
                let ids = (self.picture_ids[before], self.picture_ids[index]);
                let step = (b.number - a.number) as u16;
                let expected = ids.0.wrapping_add(step) & 0x7fff;
                assert_eq!(ids.1, expected, "picture ids count pictures");
            }
        }
        for ((before, a), (index, b)) in self.sounds.iter().zip(self.sounds.iter().skip(1)) {
            assert_eq!(u64::from(b.number - a.number), index - before);
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        let nack = self.nack.deadline();
        let dues = [Some(self.reports_due), self.picture_due, nack];
        let first = dues.into_iter().flatten().min();
        first.unwrap_or(self.reports_due)
    }

    pub(crate) fn on_rtp(&mut self, now: Instant, header: &Header, index: u64, packet: &[u8]) {
        if header.ssrc == self.ssrcs.rtx {
            let retransmission = rtx::unwrap(header, packet).expect("RTX has an original");
            let Retransmission::Original { sequence, payload } = retransmission else {
                return;
            };
            let Some((newest, _)) = self.packets.last_key_value() else {
                return;
            };
            let index = nearest(*newest, sequence);
            self.recovered += 1;
            self.on_picture(now, index, header.timestamp, &packet[payload]);
            return;
        }
        let payload = header.payload_range(packet).expect("padding is right");
        let payload = &packet[payload];
        if header.ssrc == self.ssrcs.video {
            self.video.on_packet(index, header.timestamp, now);
            self.came.insert(media::read_picture(payload).1.number, now);
            self.on_picture(now, index, header.timestamp, payload);
        } else {
            assert_eq!(header.ssrc, self.ssrcs.audio, "an SSRC that was agreed on");
            self.audio.on_packet(index, header.timestamp, now);
            for (before, part) in media::read_sounds(header.payload_type, payload) {
                if before == 0 {
                    self.compare_clocks(1, &part, header.timestamp);
                }
                let known = self.sounds.insert(index - before, part);
                assert!(known.is_none_or(|known| known == part), "said again");
            }
        }
    }

    fn on_picture(&mut self, now: Instant, index: u64, timestamp: u32, payload: &[u8]) {
        let (descriptor, part) = media::read_picture(payload);
        let id = descriptor.picture_id.expect("pictures have ids").value();
        self.picture_ids.insert(index, id);
        self.compare_clocks(0, &part, timestamp);
        if let Some(before) = self.packets.insert(index, part) {
            assert_eq!(before, part, "an index means one packet");
            self.needless += 1;
            return;
        }
        if self.nack.on_packet(now, index) == Arrival::KeyFrameNeeded {
            self.want_picture(now);
        }
        let frame = self.frames.entry(part.number).or_insert(Frame {
            first: index,
            got: 0,
            parts: part.parts,
            is_key: part.is_key,
        });
        frame.first = frame.first.min(index);
        frame.got += 1;
        if frame.is_complete() {
            self.show(part.number);
        }
    }

    /// Decodes what can be decoded now that a picture is complete.
    fn show(&mut self, number: u32) {
        let frame = &self.frames[&number];
        if frame.is_key && self.shown.is_none_or(|shown| shown < number) {
            self.shown = Some(number);
            self.decoded.insert(number);
            self.picture_due = None;
            self.nack.forget_before(frame.first);
        }
        while let Some(shown) = self.shown
            && self
                .frames
                .get(&(shown + 1))
                .is_some_and(Frame::is_complete)
        {
            self.shown = Some(shown + 1);
            self.decoded.insert(shown + 1);
        }
    }

    fn want_picture(&mut self, now: Instant) {
        self.picture_due.get_or_insert(now);
    }

    /// The publisher's time of a packet is in it; sender reports must lead to the same.
    fn compare_clocks(&mut self, stream: usize, part: &Part, timestamp: u32) {
        let Some(clock) = &self.clocks[stream] else {
            return;
        };
        let reckoned = clock.ntp(timestamp).to_bits();
        let hundredth = (1_u64 << 32) / 100;
        match reckoned.abs_diff(part.taken.to_bits()) < hundredth {
            true => self.in_sync += 1,
            false => self.out_of_sync += 1,
        }
    }

    pub(crate) fn on_rtcp(&mut self, now: Instant, packet: &rtcp::Packet<'_>) {
        match packet {
            rtcp::Packet::SenderReport(report) => self.on_sender_report(now, &report.info),
            rtcp::Packet::Bye(_) => self.byes += 1,
            _ => {}
        }
    }

    fn on_sender_report(&mut self, now: Instant, info: &SenderInfo) {
        if info.ssrc == self.ssrcs.video {
            self.video.on_sender_report(info.ntp, now);
            self.clocks[0] = SenderClock::new(info, media::CLOCK_VIDEO);
        } else if info.ssrc == self.ssrcs.audio {
            self.audio.on_sender_report(info.ntp, now);
            self.clocks[1] = SenderClock::new(info, media::CLOCK_AUDIO);
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        loop {
            let due = self.nack.poll_nack(now, ROUND_TRIP);
            let (sequences, given_up) = (due.sequences.to_vec(), due.given_up);
            if given_up > 0 {
                self.want_picture(now);
            }
            if sequences.is_empty() {
                break;
            }
            self.nacked += sequences.len() as u64;
            let (own, video) = (self.own, self.ssrcs.video);
            out.push(self.compound(now, srtp, |writer| {
                Nack::write(own, video, &sequences, writer).map(|_| ())
            }));
        }
        if self.picture_due.is_some_and(|due| due <= now) {
            self.picture_due = Some(now + PICTURE_PATIENCE);
            self.key_frame_requests += 1;
            let pli = Pli {
                sender: self.own,
                media: self.ssrcs.video,
            };
            out.push(self.compound(now, srtp, |writer| pli.write(writer)));
        }
        if self.reports_due <= now {
            self.reports_due = now + REPORT_INTERVAL;
            out.push(self.compound(now, srtp, |_| Ok(())));
        }
    }

    /// A datagram that begins with a report (RFC 3550 §6.1).
    fn compound(
        &mut self,
        now: Instant,
        srtp: &mut Outbound,
        write: impl FnOnce(&mut rtcp::Writer<'_>) -> Result<(), rtcp::Full>,
    ) -> Vec<u8> {
        let video = self.video.report(self.ssrcs.video, now);
        let audio = self.audio.report(self.ssrcs.audio, now);
        let blocks: Vec<_> = video.into_iter().chain(audio).collect();
        let mut plain = [0; 1_200];
        let mut writer = rtcp::Writer::new(&mut plain);
        ReceiverReport::write(self.own, &blocks, &mut writer).expect("it fits");
        write(&mut writer).expect("it fits");
        let len = writer.len();
        protect_rtcp(&plain[..len], srtp)
    }
}
