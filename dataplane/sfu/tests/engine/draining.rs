//! What waits on a way after too much was sent leaves before something less begins.

use proto::rtcp::{Nack, ReceiverReport};
use proto::rtp::extension;
use proto::twcc::FeedbackGenerator;

use crate::congestion::{OUT_TWCC, element, measuring, showing, subscribe};
use crate::harness::*;
use crate::simulcast::{Camera, INTERVAL, arrives};

/// Somebody who watches and listens, and the queue on the way there.
struct Scene {
    net: Net,
    camera: Camera,
    receiver: usize,
    feedback: FeedbackGenerator,
    /// How much of what came was told.
    told: usize,
    /// How long packets wait, in microseconds.
    queue: u64,
}

/// What came in the time of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Came {
    sounds: usize,
    others: usize,
}

impl Came {
    const NO_PICTURE: Self = Self {
        sounds: 1,
        others: 0,
    };
}

impl Scene {
    fn new() -> Self {
        let mut net = Net::with(measuring());
        let camera = Camera::new(&mut net, false);
        let receiver = subscribe(&mut net);
        Self {
            net,
            camera,
            receiver,
            feedback: FeedbackGenerator::new(clock::Duration::from_millis(50)),
            told: 0,
            queue: 0,
        }
    }

    /// The time of a picture passes. Each packet that comes makes the queue longer by `grows` microseconds.
    fn picture(&mut self, grows: u64) -> Came {
        self.net.frame_of_sound(self.camera.peer, None);
        self.camera.picture(&mut self.net, arrives);
        let (audio, ..) = out_ssrcs(self.receiver);
        let mut came = Came::default();
        for packet in &self.net.peers[self.receiver].rtp[self.told..] {
            match packet.header.ssrc == audio {
                true => came.sounds += 1,
                false => came.others += 1,
            }
            self.queue += grows;
            let number = element(packet, OUT_TWCC).and_then(extension::transport_sequence);
            let arrival = packet.at + clock::Duration::from_micros(self.queue);
            (self.feedback).on_packet(number.expect("it is numbered"), arrival);
        }
        self.told = self.net.peers[self.receiver].rtp.len();
        let feedback = &mut self.feedback;
        self.net.send_rtcp(self.receiver, |out| {
            ReceiverReport::write(1, &[], out)?;
            feedback.write(1, 2, out).map(|_| ())
        });
        came
    }

    /// How long the node takes packets to wait, in milliseconds.
    fn seen(&self) -> u128 {
        let way = (self.net.engine).way(self.net.now, self.net.peers[self.receiver].id);
        way.expect("feedback has come").queueing.as_millis()
    }

    fn key_frames(&self) -> [u32; 3] {
        self.camera.encodings.each_ref().map(|one| one.key_frames)
    }

    fn showing(&self) -> Option<usize> {
        showing(&self.net, self.receiver)
    }

    /// The highest encoding is shown.
    fn settles(&mut self) {
        for _ in 0..5_000 / INTERVAL {
            self.picture(0);
        }
        assert_eq!(self.showing(), Some(2));
    }

    /// Everything is shown, and then the queue grows until that ends.
    fn congested() -> Self {
        let mut scene = Self::new();
        scene.settles();
        let keys = scene.key_frames();
        while scene.seen() < 80 {
            assert!(scene.queue < 150_000);
            scene.picture(2_000);
        }
        // The picture that was about to leave is cut.
        assert_eq!(scene.picture(2_000), Came::NO_PICTURE);
        assert_eq!(scene.showing(), Some(2));
        assert_eq!(scene.key_frames(), keys, "nothing less was asked for");
        scene
    }

    /// The queue falls by so many microseconds in the time of a picture, but no further than that.
    fn falls(&mut self, by: u64, to: u64) -> Came {
        self.queue = self.queue.saturating_sub(by).max(to);
        self.picture(0)
    }

    /// A packet that came is asked for as if it had not. Whether that is refused.
    fn is_refused(&mut self, sequence: u16) -> bool {
        let (_, media, rtx) = out_ssrcs(self.receiver);
        let is_it = |one: &&Received| {
            one.header.ssrc == rtx && one.payload.starts_with(&sequence.to_be_bytes())
        };
        let count = |scene: &Self| {
            let packets = &scene.net.peers[scene.receiver].rtp;
            let refused = scene.net.engine.stats().retransmissions_refused;
            (packets.iter().filter(is_it).count(), refused)
        };
        let (came, refused) = count(self);
        self.net.send_rtcp(self.receiver, |out| {
            ReceiverReport::write(1, &[], out)?;
            Nack::write(1, media, &[sequence], out).map(|_| ())
        });
        for _ in 0..10 {
            self.picture(0);
        }
        match count(self) {
            now if now == (came, refused + 1) => true,
            now if now == (came + 1, refused) => false,
            now => panic!("{now:?} after {:?}", (came, refused)),
        }
    }

    /// The number of the newest packet of the picture.
    fn newest(&self) -> u16 {
        let (_, media, _) = out_ssrcs(self.receiver);
        let mut packets = self.net.peers[self.receiver].rtp.iter().rev();
        let newest = packets.find(|packet| packet.header.ssrc == media);
        newest.expect("something came").header.sequence
    }
}

#[test]
fn nothing_but_sound_is_sent_until_the_queue_is_gone() {
    let mut scene = Scene::congested();
    let keys = scene.key_frames();
    for _ in 0..10 {
        assert_eq!(scene.falls(3_000, 0), Came::NO_PICTURE);
        assert!(scene.seen() >= 80);
    }
    while scene.seen() >= 40 {
        assert_eq!(scene.falls(30_000, 0), Came::NO_PICTURE);
        assert_eq!(scene.key_frames(), keys);
    }
    for _ in 0..4 {
        scene.falls(30_000, 0);
    }
    assert_eq!(scene.showing(), Some(1));
    assert_eq!(scene.key_frames(), [keys[0], keys[1] + 1, keys[2]]);
    scene.net.finish();
}

/// A short queue may come from elsewhere. Where a long one does not leave although nothing is sent nobody knows what fits.
#[test]
fn a_queue_that_stays_is_waited_for_in_vain_and_a_long_one_means_the_least() {
    for (stays, begins) in [(60_000, 1), (100_000, 0)] {
        let mut scene = Scene::congested();
        let keys = scene.key_frames();
        let mut waited = 1;
        while scene.falls(20_000, stays) == Came::NO_PICTURE {
            waited += 1;
            assert!(waited * INTERVAL <= 900);
        }
        assert!(waited * INTERVAL >= 760, "{waited} pictures");
        let mut then = keys;
        then[begins] += 1;
        assert_eq!(scene.key_frames(), then);
        assert_eq!(scene.showing(), Some(begins));
        scene.net.finish();
    }
}

#[test]
fn what_was_given_up_is_not_sent_again() {
    let mut scene = Scene::congested();
    let old = scene.newest();
    while scene.newest() == old {
        scene.falls(40_000, 0);
    }
    for _ in 0..10 {
        scene.picture(0);
    }
    assert_eq!(scene.showing(), Some(1));
    assert!(scene.is_refused(old));
    assert!(
        !scene.is_refused(old.wrapping_add(1)),
        "the first of what came then"
    );
    let newest = scene.newest();
    assert!(!scene.is_refused(newest));
    scene.net.finish();
}

/// So what is refused when it was given up is not refused for other reasons.
#[test]
fn what_flows_is_sent_again() {
    let mut scene = Scene::new();
    scene.settles();
    let newest = scene.newest();
    assert!(!scene.is_refused(newest));
    scene.net.finish();
}
