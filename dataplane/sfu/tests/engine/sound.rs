//! Sound: what its publisher repeats (RFC 2198), and pauses.

use proto::codec::Codec;
use proto::rtcp::{Packet, ReceiverReport, Remb, ReportBlock};
use proto::rtp::Fields;
use sfu::api::*;
use sfu::discard::DropReason;

use crate::harness::*;

const RED: u8 = 63;
const OUT_RED: u8 = 62;

fn red(number: u8) -> PayloadType {
    PayloadType {
        codec: Codec::Red,
        ..opus(number)
    }
}

/// A publisher who repeats, one subscriber who can read that, and one who can't.
fn repeating_call(net: &mut Net) -> (Voice, [usize; 2]) {
    let sender = net.connect();
    let mut spec = publisher(net, sender, 1);
    spec.media.truncate(1);
    spec.media[0].codecs.insert(0, red(RED));
    net.command(Command::AddPublisher(Box::new(spec)));
    let receivers = [net.connect(), net.connect()];
    for (receiver, reads) in receivers.into_iter().zip([true, false]) {
        let mut spec = subscriber(net, receiver, 1);
        spec.media.truncate(1);
        if reads {
            spec.media[0].codecs.push((RED, red(OUT_RED)));
        }
        net.command(Command::AddSubscriber(Box::new(spec)));
    }
    (Voice::new(sender), receivers)
}

/// A microphone with redundancy of one packet, as Chromium has it.
struct Voice {
    peer: usize,
    sequence: u16,
    timestamp: u32,
    /// The packet before: its sound and its timestamp.
    before: Option<(Vec<u8>, u32)>,
}

impl Voice {
    fn new(peer: usize) -> Self {
        Self {
            peer,
            sequence: 65_530,
            timestamp: 0xffff_f000,
            before: None,
        }
    }

    /// What the packet with that number sounds like.
    fn sound(sequence: u16) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        let mut sound = vec![b'o', high, low];
        sound.resize(80, low);
        sound
    }

    /// The next packet, and how many ticks after the one before it comes. Returns its number.
    fn speak(&mut self, net: &mut Net, ticks: u32, is_lost: bool) -> u16 {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
        let own = Self::sound(self.sequence);
        let datagram = self.packet(net, self.sequence, self.timestamp, &own);
        if !is_lost {
            net.send(net.peers[self.peer].address, datagram);
        }
        self.before = Some((own, self.timestamp));
        self.sequence
    }

    fn packet(&self, net: &mut Net, sequence: u16, timestamp: u32, own: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        let offset = |before: u32| timestamp.wrapping_sub(before);
        let repeated = self.before.as_ref().filter(|(_, at)| offset(*at) < 1 << 14);
        if let Some((sound, at)) = repeated {
            let word = offset(*at) << 10 | sound.len() as u32;
            payload.push(0x80 | OPUS);
            payload.extend_from_slice(&word.to_be_bytes()[1..]);
        }
        payload.push(OPUS);
        payload.extend(repeated.iter().flat_map(|(sound, _)| sound));
        payload.extend_from_slice(own);
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: RED,
            sequence,
            timestamp,
            ssrc: AUDIO_SSRC,
        };
        let elements: [(u8, &[u8]); 2] = [(IN_MID, b"0"), (IN_LEVEL, &[33])];
        net.peers[self.peer].protect(&fields, &elements, &payload)
    }
}

fn report(net: &mut Net, receiver: usize, fraction_lost: u8) {
    let block = ReportBlock {
        ssrc: out_ssrcs(receiver).0,
        fraction_lost,
        ..ReportBlock::default()
    };
    net.send_rtcp(receiver, |out| ReceiverReport::write(9, &[block], out));
    net.run(5);
}

/// Payload types of what `receiver` got, and whether each is the sound of its number. Forgets it.
fn heard(net: &mut Net, receiver: usize, first: u16) -> Vec<(u8, bool)> {
    let got: Vec<_> = net.peers[receiver]
        .of(out_ssrcs(receiver).0)
        .into_iter()
        .zip(0_u16..)
        .map(|(packet, nth)| {
            let whole = packet.payload == Voice::sound(first.wrapping_add(nth));
            (packet.header.payload_type, whole)
        })
        .collect();
    net.peers[receiver].rtp.clear();
    got
}

#[test]
fn repetitions_go_only_where_packets_get_lost() {
    let mut net = Net::new();
    let (mut voice, [reads, plain]) = repeating_call(&mut net);
    let mut speak = |net: &mut Net| {
        let first = voice.speak(net, 960, false);
        net.run(20);
        for _ in 0..9 {
            voice.speak(net, 960, false);
            net.run(20);
        }
        first
    };
    let first = speak(&mut net);
    for receiver in [reads, plain] {
        let packets = net.peers[receiver].of(out_ssrcs(receiver).0);
        for pair in packets.windows(2) {
            assert_eq!(pair[1].index, pair[0].index + 1);
            let passed = pair[1]
                .header
                .timestamp
                .wrapping_sub(pair[0].header.timestamp);
            assert_eq!(passed, 960);
        }
        let elements = [(OUT_MID, b"a".to_vec()), (OUT_LEVEL, vec![33])];
        assert!(packets.iter().all(|packet| packet.elements == elements));
        assert_eq!(heard(&mut net, receiver, first), [(OUT_OPUS, true); 10]);
    }

    // One percent is where it begins.
    report(&mut net, reads, 2);
    let first = speak(&mut net);
    assert_eq!(heard(&mut net, reads, first), [(OUT_OPUS, true); 10]);
    report(&mut net, reads, 3);
    report(&mut net, plain, 100);
    net.peers[plain].rtp.clear();
    let first = speak(&mut net);
    assert_eq!(heard(&mut net, reads, first), [(OUT_RED, false); 10]);
    assert_eq!(heard(&mut net, plain, first), [(OUT_OPUS, true); 10]);

    // Not all is well because one report says so.
    report(&mut net, reads, 0);
    let first = speak(&mut net);
    assert_eq!(heard(&mut net, reads, first), [(OUT_RED, false); 10]);
    net.run(30_000);
    report(&mut net, reads, 0);
    let first = speak(&mut net);
    assert_eq!(heard(&mut net, reads, first), [(OUT_OPUS, true); 10]);
    assert_eq!(net.engine.stats().sound_recovered, 0);
    net.finish();
}

#[test]
fn what_is_lost_because_too_much_is_sent_is_not_repeated() {
    for (says, expected) in [(1_000_000, OUT_RED), (20_000, OUT_OPUS)] {
        let mut net = Net::new();
        let (mut voice, [reads, _]) = repeating_call(&mut net);
        for nth in 0..100 {
            voice.speak(&mut net, 960, false);
            net.run(20);
            if nth % 10 == 0 {
                let media = out_ssrcs(reads).0;
                net.send_rtcp(reads, |out| {
                    ReceiverReport::write(1, &[], out)?;
                    Remb::write(1, says, &[media], out)
                });
                report(&mut net, reads, 50);
            }
        }
        let newest = net.peers[reads].of(out_ssrcs(reads).0);
        let newest = newest.last().expect("there is sound");
        assert_eq!(newest.header.payload_type, expected, "{says} bit/s");
        net.finish();
    }
}

#[test]
fn a_repetition_arrives_as_it_was() {
    let mut net = Net::new();
    let (mut voice, [reads, _]) = repeating_call(&mut net);
    voice.speak(&mut net, 960, false);
    net.run(5);
    report(&mut net, reads, 50);
    net.peers[reads].rtp.clear();
    let last = voice.speak(&mut net, 960, false);
    net.run(5);
    let packets = net.peers[reads].of(out_ssrcs(reads).0);
    let payload = &packets[0].payload;
    assert_eq!(payload[0], 0x80 | OPUS);
    assert_eq!(payload[5..85], Voice::sound(last.wrapping_sub(1)));
    assert_eq!(payload[85..], Voice::sound(last));
    net.finish();
}

#[test]
fn what_got_lost_on_the_way_to_us_is_found_in_the_next_packet() {
    let mut net = Net::new();
    let (mut voice, [reads, plain]) = repeating_call(&mut net);
    report(&mut net, reads, 50);
    let first = voice.speak(&mut net, 960, false);
    let mut lost = Vec::new();
    for nth in 1..40_u16 {
        let is_lost = nth % 5 == 2;
        let sequence = voice.speak(&mut net, 960, is_lost);
        if is_lost {
            lost.push((sequence, nth));
        }
        net.run(20);
    }
    assert_eq!(net.engine.stats().sound_recovered, lost.len() as u64);
    assert_eq!(heard(&mut net, plain, first), [(OUT_OPUS, true); 40]);
    let packets = net.peers[reads].of(out_ssrcs(reads).0);
    assert_eq!(packets.len(), 40);
    let start = packets[0].header.timestamp;
    for (sequence, nth) in &lost {
        let packet = packets[usize::from(*nth)];
        assert_eq!(packet.header.payload_type, OUT_OPUS);
        assert_eq!(packet.payload, Voice::sound(*sequence));
        let ticks = packet.header.timestamp.wrapping_sub(start);
        assert_eq!(ticks, 960 * u32::from(*nth));
    }

    // Two in a row are one too many for one repetition.
    net.peers[plain].rtp.clear();
    voice.speak(&mut net, 960, true);
    voice.speak(&mut net, 960, true);
    voice.speak(&mut net, 960, false);
    net.run(20);
    let packets = net.peers[plain].of(out_ssrcs(plain).0);
    let got: Vec<_> = packets.iter().map(|packet| &packet.payload).collect();
    let last = voice.sequence;
    let left = [last.wrapping_sub(1), last].map(Voice::sound);
    assert_eq!(got, left.iter().collect::<Vec<_>>());

    // The publisher hears of what was lost all the same.
    net.run(2_000);
    let mut cumulative = 0;
    for datagram in &net.peers[voice.peer].rtcp {
        for packet in proto::rtcp::compound(datagram).unwrap() {
            if let Packet::ReceiverReport(report) = packet.unwrap() {
                let blocks = report.blocks.map(|block| block.cumulative_lost);
                cumulative = blocks.max().unwrap_or(0).max(cumulative);
            }
        }
    }
    assert_eq!(cumulative, lost.len() as i32 + 2);
    net.finish();
}

#[test]
fn a_packet_that_was_only_late_comes_once() {
    let mut net = Net::new();
    let (mut voice, [_, plain]) = repeating_call(&mut net);
    let first = voice.speak(&mut net, 960, false);
    net.run(20);
    voice.speak(&mut net, 960, false);
    voice.speak(&mut net, 960, false);
    net.hold_first_back();
    net.run(20);
    assert_eq!(heard(&mut net, plain, first), [(OUT_OPUS, true); 3]);
    assert_eq!(net.engine.stats().sound_recovered, 1);
    assert_eq!(net.stat(DropReason::Duplicate), 1);
    net.finish();
}

#[test]
fn a_pause_is_no_loss() {
    let mut net = Net::new();
    let (mut voice, [reads, plain]) = repeating_call(&mut net);
    let first = voice.speak(&mut net, 960, false);
    for _ in 0..20 {
        // Discontinuous transmission: a packet every 400 ms says that there is silence.
        voice.speak(&mut net, 19_200, false);
        net.run(400);
    }
    for receiver in [reads, plain] {
        let packets = net.peers[receiver].of(out_ssrcs(receiver).0);
        for pair in packets.windows(2) {
            let passed = pair[1]
                .header
                .timestamp
                .wrapping_sub(pair[0].header.timestamp);
            assert_eq!(passed, 19_200);
        }
        assert_eq!(heard(&mut net, receiver, first), [(OUT_OPUS, true); 21]);
    }
    let losses = net.peers[voice.peer].count_rtcp(|packet| match packet {
        Packet::ReceiverReport(report) => report.blocks.clone().any(|one| one.fraction_lost > 0),
        _ => false,
    });
    assert_eq!(losses, 0);
    let drops = net
        .engine
        .stats()
        .drops
        .0
        .as_flattened()
        .iter()
        .sum::<u64>();
    assert_eq!(drops, 0);
    // The control: one of them lost is a loss, and too long ago to be repeated.
    voice.speak(&mut net, 19_200, true);
    voice.speak(&mut net, 19_200, false);
    net.run(2_000);
    let losses = net.peers[voice.peer].count_rtcp(|packet| match packet {
        Packet::ReceiverReport(report) => report.blocks.clone().any(|one| one.fraction_lost > 0),
        _ => false,
    });
    assert!(losses > 0);
    assert_eq!(net.engine.stats().sound_recovered, 0);
    net.finish();
}

#[test]
fn rubbish_is_no_sound() {
    let mut net = Net::new();
    let (voice, [_, plain]) = repeating_call(&mut net);
    for (nth, payload) in [&[0x80 | OPUS, 0, 4][..], &[OPUS], &[], &[0xff; 60]]
        .iter()
        .enumerate()
    {
        let fields = Fields {
            payload_type: RED,
            sequence: 100 + nth as u16,
            ssrc: AUDIO_SSRC,
            ..Fields::default()
        };
        net.send_rtp(voice.peer, &fields, &[(IN_MID, b"0")], payload);
    }
    net.run(10);
    assert_eq!(net.peers[plain].rtp.len(), 0);
    assert_eq!(net.stat(DropReason::RtpMalformed), 2 * 4);
    assert_eq!(net.engine.stats().sound_recovered, 0);
    net.finish();
}

#[test]
fn how_loud_a_publisher_is_is_told_a_few_times_a_second() {
    let mut net = Net::new();
    let sender = net.connect();
    let mut spec = publisher(&net, sender, 1);
    spec.media.truncate(1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let say = |net: &mut Net, millis: u64, level: Option<u8>| {
        net.events.clear();
        for _ in 0..millis / 20 {
            net.frame_of_sound(sender, level);
            net.run(20);
        }
        let heard = net.events.iter().map(|event| match event {
            Event::Heard {
                publisher: PublisherId(1),
                activity,
            } => *activity,
            other => panic!("{other:?}"),
        });
        heard.collect::<Vec<_>>()
    };
    assert_eq!(say(&mut net, 1_000, Some(127)).len(), 1, "it is muted");
    let heard = say(&mut net, 3_000, Some(25));
    assert!((9..=11).contains(&heard.len()), "{} times", heard.len());
    let last = heard[heard.len() - 1];
    assert_eq!((last.fives, last.is_muted), (10, false));
    assert!(last.level.abs_diff(25) <= 1);
    say(&mut net, 3_000, Some(90));
    assert_eq!(say(&mut net, 3_000, Some(90)), []);
    // Without the extension nobody knows.
    assert_eq!(say(&mut net, 3_000, None), []);
    net.finish();
}
