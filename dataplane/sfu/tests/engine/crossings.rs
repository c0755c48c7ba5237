//! A session on two workers: a publisher here, subscribers there.

use sfu::api::*;

use crate::harness::*;
use crate::simulcast::*;

const TAP: TapId = TapId(9);

/// Two workers with one network between them.
struct Workers {
    home: Net,
    away: Net,
    camera: Camera,
    /// Packets that crossed.
    crossed: usize,
}

impl Workers {
    fn new() -> Self {
        let mut home = Net::new();
        let camera = Camera::new(&mut home, false);
        home.command(Command::AddTap {
            tap: TAP,
            publisher: PublisherId(1),
            worker: 1,
        });
        let mut away = Net::new();
        let spec = camera.spec(&home);
        away.command(Command::AddRemotePublisher(Box::new(RemotePublisherSpec {
            id: PublisherId(1),
            tap: TAP,
            worker: 0,
            media: spec.media,
        })));
        Self {
            home,
            away,
            camera,
            crossed: 0,
        }
    }

    fn pictures(&mut self, count: usize) {
        for _ in 0..count {
            self.camera.picture(&mut self.home, || Fate::Arrives);
            self.crossed += self.home.crossing.len();
            self.away.now = self.home.now;
            self.away.crossed = core::mem::take(&mut self.home.crossing);
            self.away.turn();
            while let Some((worker, wish)) = self.away.engine.poll_wish() {
                assert_eq!(worker, 0);
                self.home.engine.on_wish(wish);
            }
        }
    }

    fn limit(&mut self, receiver: usize, encoding: Option<u8>) {
        self.away.command(Command::LimitLayers {
            subscriber: SubscriberId(receiver as u64),
            medium: 1,
            limit: LayerLimit {
                encoding,
                temporal: 7,
            },
        });
    }

    fn showing(&self, receiver: usize) -> usize {
        showing(&self.away, receiver)
    }
}

#[test]
fn crossing_asks_for_no_memory() {
    let mut workers = Workers::new();
    let receiver = workers.away.connect();
    let spec = subscriber(&workers.away, receiver, 1);
    workers.away.command(Command::AddSubscriber(Box::new(spec)));
    workers.home.now = workers.away.now.max(workers.home.now);
    workers.home.run(20);
    workers.home.allocations = Some(0);
    workers.away.allocations = Some(0);
    workers.pictures(20);
    // Another RTP stream takes the place of one that has a full cache over there.
    workers.camera.encodings[2].ssrc += 1;
    workers.camera.encodings[2].packets.clear();
    workers.camera.encodings[2].key_wanted = true;
    workers.pictures(40);
    assert_eq!(workers.showing(receiver), 2);
    let asked = [&workers.home, &workers.away].map(|net| net.allocations);
    assert_eq!(asked, [Some(0); 2]);
}

#[test]
fn only_encodings_that_are_wanted_there_cross() {
    let mut workers = Workers::new();
    let mut receivers = Vec::new();
    for _ in 0..2 {
        let receiver = workers.away.connect();
        let spec = subscriber(&workers.away, receiver, 1);
        workers.away.command(Command::AddSubscriber(Box::new(spec)));
        receivers.push(receiver);
    }
    workers.home.now = workers.away.now.max(workers.home.now);
    workers.pictures(30);
    let rate = |workers: &mut Workers| {
        let before = workers.crossed;
        workers.pictures(20);
        (workers.crossed - before) as f64 / 20.0
    };
    assert_eq!(workers.showing(receivers[0]), 2);
    assert!(
        rate(&mut workers) < 5.1,
        "five packets a picture of the highest"
    );
    workers.limit(receivers[0], Some(0));
    workers.pictures(20);
    assert_eq!(workers.showing(receivers[0]), 0);
    assert_eq!(workers.showing(receivers[1]), 2);
    assert!((5.9..6.1).contains(&rate(&mut workers)));
    workers.limit(receivers[1], Some(1));
    workers.pictures(20);
    assert_eq!(workers.showing(receivers[1]), 1);
    assert!((3.9..4.1).contains(&rate(&mut workers)));
    // With nobody left to see anything the news still crosses, and everything begins again.
    workers.limit(receivers[0], None);
    workers.limit(receivers[1], None);
    workers.pictures(5);
    assert!(rate(&mut workers) < 1.1);
    workers.limit(receivers[1], Some(7));
    workers.pictures(20);
    assert_eq!(workers.showing(receivers[1]), 2);
    workers.camera.encodings[2].active = false;
    workers.pictures(25);
    assert_eq!(workers.showing(receivers[1]), 1);
    for receiver in receivers {
        let verdict = judge(&shown(&workers.away, receiver));
        assert_eq!((verdict.holes, verdict.cut), (0, 0));
    }
    workers.home.finish();
    let gone = Command::RemovePublisher(PublisherId(1));
    workers.away.command(gone);
    workers.away.finish();
}
