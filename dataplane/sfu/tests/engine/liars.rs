//! People with a choice among encodings, on numbered and paced transports, who say and do anything. After every turn the harness
//! looks at what must be true always; and whoever becomes honest again has a picture again.

use clock::{Duration, Rng};
use proptest::prelude::*;
use proto::codec::vp8::Descriptor;
use proto::rtcp::{Nack, Pli, ReceiverReport, Remb, write_transport_feedback};
use proto::rtp::{Uri, extension};
use proto::twcc::FeedbackGenerator;
use sfu::api::*;

use crate::harness::*;
use crate::simulcast::*;

const OUT_TWCC: u8 = 8;
/// Most packets that wait for their time on one transport.
const HELD_MAX: u64 = 128;

/// What happens next. `who` is one of the receivers.
#[derive(Clone, Debug)]
enum Deed {
    /// Pictures, some packets of which come late or never.
    Pictures {
        count: u8,
        lost: u8,
        seed: u64,
    },
    /// Feedback about what came since the last, where each packet seems to come later than the one before, and of so many one
    /// got lost.
    Tell {
        who: u8,
        later: u16,
        lost: u8,
    },
    /// Feedback about packets around the newest, with arrivals by the dice.
    Lie {
        who: u8,
        back: u16,
        count: u16,
        seed: u64,
    },
    /// Feedback that nobody would write.
    Raw {
        who: u8,
        count: u16,
        body: Vec<u8>,
    },
    Estimate {
        who: u8,
        bits: u64,
    },
    Missing {
        who: u8,
        back: u16,
        count: u16,
    },
    Request {
        who: u8,
    },
    Limit {
        who: u8,
        encoding: u8,
        temporal: u8,
    },
    Speak {
        speaks: bool,
    },
    Come {
        who: u8,
    },
    Go {
        who: u8,
    },
    Publish {
        is_there: bool,
    },
    /// So many encodings are sent.
    Encodings {
        count: u8,
    },
    /// Nothing leaves for so many turns.
    Still {
        turns: u8,
    },
    Pass {
        millis: u16,
    },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let who = || 0_u8..4;
    let one = prop_oneof![
        12 => (1_u8..8, 0_u8..40, any::<u64>())
            .prop_map(|(count, lost, seed)| Deed::Pictures { count, lost, seed }),
        10 => (who(), prop_oneof![Just(0), 0_u16..20_000], 0_u8..20)
            .prop_map(|(who, later, lost)| Deed::Tell { who, later, lost }),
        4 => (who(), any::<u16>(), 1_u16..600, any::<u64>())
            .prop_map(|(who, back, count, seed)| Deed::Lie { who, back: back >> 4, count, seed }),
        3 => (who(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(who, count, body)| Deed::Raw { who, count, body }),
        2 => (who(), any::<u64>(), 0_u32..64)
            .prop_map(|(who, bits, shift)| Deed::Estimate { who, bits: bits >> shift }),
        3 => (who(), 0_u16..400, 1_u16..300)
            .prop_map(|(who, back, count)| Deed::Missing { who, back, count }),
        2 => who().prop_map(|who| Deed::Request { who }),
        2 => (who(), 0_u8..5, 0_u8..4)
            .prop_map(|(who, encoding, temporal)| Deed::Limit { who, encoding, temporal }),
        1 => any::<bool>().prop_map(|speaks| Deed::Speak { speaks }),
        1 => who().prop_map(|who| Deed::Come { who }),
        1 => who().prop_map(|who| Deed::Go { who }),
        1 => any::<bool>().prop_map(|is_there| Deed::Publish { is_there }),
        1 => (1_u8..4).prop_map(|count| Deed::Encodings { count }),
        1 => (1_u8..60).prop_map(|turns| Deed::Still { turns }),
        1 => (0_u16..2_000).prop_map(|millis| Deed::Pass { millis }),
    ];
    prop::collection::vec(one, 1..60)
}

/// A camera, and those who watch it: two transports of one person, and two people more.
struct Stage {
    net: Net,
    camera: Camera,
    receivers: Vec<Receiver>,
}

struct Receiver {
    peer: usize,
    feedback: FeedbackGenerator,
    /// How much of what came was told.
    told: usize,
    delay: u64,
}

impl Stage {
    fn new() -> Self {
        let mut net = Net::with(Config {
            transport_wide: true,
            follow_remb: true,
            ..config()
        });
        let mut camera = Camera::new(&mut net, false);
        camera.temporal = 3;
        let mut receivers = Vec::new();
        for nth in 0..4 {
            net.connection = (nth < 2).then_some(ConnectionId(7));
            let peer = net.connect();
            receivers.push(Receiver {
                peer,
                feedback: FeedbackGenerator::new(Duration::from_millis(50)),
                told: 0,
                delay: 0,
            });
        }
        let mut stage = Self {
            net,
            camera,
            receivers,
        };
        (0..4).for_each(|who| stage.come(who));
        stage
    }

    fn come(&mut self, who: usize) {
        let net = &mut self.net;
        let mut spec = subscriber(net, self.receivers[who].peer, 1);
        for medium in &mut spec.media {
            medium.extensions.push((OUT_TWCC, Uri::TransportCc));
        }
        net.command(Command::AddSubscriber(Box::new(spec)));
    }

    fn id(&self, who: usize) -> SubscriberId {
        SubscriberId(self.receivers[who].peer as u64)
    }

    fn pictures(&mut self, count: u8, lost: u8, seed: u64) {
        let mut dice = Rng::from_number(seed);
        for _ in 0..count {
            self.camera
                .picture(&mut self.net, || match dice.below(100) {
                    nth if nth < u64::from(lost) / 2 => Fate::Lost,
                    nth if nth < u64::from(lost) => Fate::Late,
                    _ => Fate::Arrives,
                });
        }
    }

    fn newest(&self, who: usize) -> u16 {
        let packets = self.net.peers[self.receivers[who].peer].rtp.iter().rev();
        packets.into_iter().find_map(number).unwrap_or(0)
    }

    fn tell(&mut self, who: usize, later: u64, lost: u8) {
        let Self { net, receivers, .. } = self;
        let receiver = &mut receivers[who];
        let packets = &net.peers[receiver.peer].rtp;
        for (nth, packet) in packets[receiver.told..].iter().enumerate() {
            receiver.delay += later;
            let arrival = packet.at + Duration::from_micros(receiver.delay);
            let is_lost = lost > 0 && nth % usize::from(lost) == 0;
            if let Some(number) = number(packet).filter(|_| !is_lost) {
                receiver.feedback.on_packet(number, arrival);
            }
        }
        receiver.told = packets.len();
        let feedback = &mut receiver.feedback;
        net.send_rtcp(receiver.peer, |out| {
            ReceiverReport::write(1, &[], out)?;
            // There may be nothing to tell.
            let _ = feedback.write(1, 2, out);
            Ok(())
        });
    }

    /// The number of the picture that came last; zero if none has.
    fn shown(&self, who: usize) -> u32 {
        let peer = self.receivers[who].peer;
        let mut packets = self.net.peers[peer].rtp.iter().rev();
        let newest = packets.find(|packet| packet.header.ssrc == out_ssrcs(peer).1);
        let frame = newest.and_then(|packet| {
            let descriptor = Descriptor::parse(&packet.payload)?;
            let number = packet.payload.get(descriptor.len() + 3..)?.first_chunk()?;
            Some(u32::from_be_bytes(*number))
        });
        frame.unwrap_or(0)
    }

    /// Everybody tells what came, for so many pictures.
    fn be_honest(&mut self, pictures: u32) {
        for _ in 0..pictures {
            self.pictures(1, 0, 0);
            (0..4).for_each(|who| self.tell(who, 0, 0));
        }
    }

    fn check(&self) {
        let (_, paced) = self.net.engine.paced_copies();
        assert!(paced <= 4 * HELD_MAX, "{paced} packets wait");
        for receiver in &self.receivers {
            let way = self
                .net
                .engine
                .way(self.net.now, self.net.peers[receiver.peer].id);
            if let Some(way) = way {
                assert!((30_000..=100_000_000).contains(&way.estimate), "{way:?}");
            }
        }
    }

    fn apply(&mut self, deed: Deed) {
        match deed {
            Deed::Pictures { count, lost, seed } => self.pictures(count, lost, seed),
            Deed::Tell { who, later, lost } => self.tell(who.into(), later.into(), lost),
            Deed::Lie {
                who,
                back,
                count,
                seed,
            } => self.lie(who.into(), back, count, seed),
            Deed::Raw { who, count, body } => self.raw(who.into(), count, &body),
            Deed::Limit {
                who,
                encoding,
                temporal,
            } => self.limit(who.into(), Some(encoding).filter(|nth| *nth < 4), temporal),
            Deed::Speak { speaks } => self.net.command(Command::SetSpeaking {
                publisher: PublisherId(1),
                speaks,
            }),
            Deed::Come { who } => self.come(who.into()),
            Deed::Go { who } => {
                let id = self.id(who.into());
                self.net.command(Command::RemoveSubscriber(id));
            }
            Deed::Publish { is_there: true } => {
                let mut spec = self.camera.spec(&self.net);
                // Browsers would say the names of their encodings again, with new SSRCs.
                for (encoding, sent) in spec.media[1]
                    .encodings
                    .iter_mut()
                    .zip(&self.camera.encodings)
                {
                    (encoding.ssrc, encoding.rtx_ssrc) = (Some(sent.ssrc), Some(sent.rtx));
                }
                self.net.command(Command::AddPublisher(Box::new(spec)));
            }
            Deed::Publish { is_there: false } => {
                self.net.command(Command::RemovePublisher(PublisherId(1)));
            }
            Deed::Encodings { count } => {
                for (sent, nth) in self.camera.encodings.iter_mut().zip(0..) {
                    sent.key_wanted |= nth < count && !sent.active;
                    sent.active = nth < count;
                }
            }
            Deed::Still { turns } => {
                self.net.stands_still = true;
                self.net.run(u64::from(turns) * 5);
                self.net.stands_still = false;
            }
            Deed::Pass { millis } => self.net.run(millis.into()),
            Deed::Estimate { .. } | Deed::Missing { .. } | Deed::Request { .. } => self.say(&deed),
        }
    }

    fn say(&mut self, deed: &Deed) {
        let (Deed::Estimate { who, .. } | Deed::Missing { who, .. } | Deed::Request { who }) = deed
        else {
            return;
        };
        let peer = self.receivers[usize::from(*who)].peer;
        let media = out_ssrcs(peer).1;
        let packets = &self.net.peers[peer].rtp;
        let newest = packets
            .iter()
            .rev()
            .find(|packet| packet.header.ssrc == media);
        let newest = newest.map_or(0, |packet| packet.header.sequence);
        self.net.send_rtcp(peer, |out| {
            ReceiverReport::write(1, &[], out)?;
            match deed {
                Deed::Estimate { bits, .. } => Remb::write(1, *bits, &[media], out),
                Deed::Missing { back, count, .. } => {
                    let first = newest.wrapping_sub(*back);
                    let missing: Vec<u16> =
                        (0..*count).map(|nth| first.wrapping_add(nth)).collect();
                    Nack::write(1, media, &missing, out).map(|_| ())
                }
                _ => Pli { sender: 1, media }.write(out),
            }
        });
    }

    fn lie(&mut self, who: usize, back: u16, count: u16, seed: u64) {
        let mut dice = Rng::from_number(seed);
        let base = self.newest(who).wrapping_sub(back % 700).wrapping_add(100);
        let mut time = dice.below(1 << 32) as i64;
        let arrivals: Vec<Option<i64>> = (0..count)
            .map(|_| {
                time += dice.below(600) as i64 - 200;
                (dice.below(4) > 0).then_some(time)
            })
            .collect();
        self.net.send_rtcp(self.receivers[who].peer, |out| {
            ReceiverReport::write(1, &[], out)?;
            let _ = write_transport_feedback((1, 2), base, dice.next_u32() as u8, &arrivals, out);
            Ok(())
        });
    }

    fn raw(&mut self, who: usize, count: u16, body: &[u8]) {
        let base = self.newest(who).wrapping_sub(60);
        let words = (16 + body.len()).div_ceil(4);
        let mut bytes = vec![0x8f, 205, 0, words as u8, 0, 0, 0, 1, 0, 0, 0, 2];
        bytes.extend(base.to_be_bytes());
        bytes.extend((count >> (count % 16)).to_be_bytes());
        bytes.extend([body.first().copied().unwrap_or(0), 1, 2, 3]);
        bytes.extend(body);
        bytes.resize(4 + words * 4, 0);
        let mut out = vec![0; bytes.len() + 64];
        let peer = &mut self.net.peers[self.receivers[who].peer];
        let len = peer.outbound.protect_rtcp(&bytes, &mut out).unwrap();
        let from = peer.address;
        self.net.send(from, out[..len].to_vec());
    }

    fn limit(&mut self, who: usize, encoding: Option<u8>, temporal: u8) {
        let subscriber = self.id(who);
        self.net.command(Command::LimitLayers {
            subscriber,
            medium: 1,
            limit: LayerLimit { encoding, temporal },
        });
    }
}

fn number(packet: &Received) -> Option<u16> {
    let mut elements = packet.elements.iter();
    let (_, data) = elements.find(|(of, _)| *of == OUT_TWCC)?;
    extension::transport_sequence(data)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_is_said_of_a_way_nothing_breaks_and_the_picture_comes_back(deeds in deeds()) {
        let mut stage = Stage::new();
        stage.be_honest(20);
        for deed in deeds {
            stage.apply(deed);
            stage.check();
        }
        // All begin anew, but for what the node thinks of their ways.
        stage.apply(Deed::Publish { is_there: false });
        stage.apply(Deed::Encodings { count: 3 });
        for who in 0..4 {
            stage.apply(Deed::Go { who });
            stage.apply(Deed::Come { who });
        }
        stage.apply(Deed::Publish { is_there: true });
        // Whose picture was paused by what was said gets it back when probes have shown that there is room. After failures that is
        // tried more rarely, at most a minute apart.
        for attempt in 1..=25 {
            stage.be_honest(75);
            stage.check();
            let frame = stage.camera.frame;
            let newest = [0, 1, 2, 3].map(|who| stage.shown(who));
            if newest.iter().all(|newest| newest + 15 > frame) {
                break;
            }
            prop_assert!(attempt < 25, "of {frame} pictures they saw {newest:?}");
        }
        stage.net.finish();
    }
}

/// Its packets would be encrypted under indices that were used before, so the context would refuse all of them.
#[test]
fn who_comes_and_goes_without_a_packet_goes_on_where_it_was() {
    let mut stage = Stage::new();
    stage.be_honest(20);
    for _ in 0..3 {
        stage.apply(Deed::Go { who: 2 });
        stage.apply(Deed::Come { who: 2 });
    }
    stage.be_honest(20);
    assert_eq!(stage.shown(2), stage.camera.frame);
    assert_eq!(stage.net.stat(sfu::discard::DropReason::Replay), 0);
    stage.net.finish();
}
