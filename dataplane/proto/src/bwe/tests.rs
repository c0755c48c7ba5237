//! The estimator against a link with a capacity, a delay and a queue.

use std::collections::VecDeque;

use clock::Rng;

use super::*;
use crate::rtcp::{Packet, Writer, compound};
use crate::twcc::FeedbackGenerator;

const STEP: Duration = Duration::from_millis(1);
const PACKET: usize = 1200;

/// What lies between.
#[derive(Clone, Copy)]
struct Link {
    /// Bits per second.
    capacity: f64,
    delay: Duration,
    /// Longest queue; beyond it packets are lost.
    queue: Duration,
    /// Share lost at random.
    loss: f64,
}

impl Link {
    const fn of(capacity: f64) -> Self {
        Self {
            capacity,
            delay: Duration::from_millis(25),
            queue: Duration::from_millis(300),
            loss: 0.0,
        }
    }
}

/// A sender with an estimator, a link, and a receiver that gives feedback every 50 ms.
struct Net {
    now: Instant,
    link: Link,
    estimator: Estimator,
    leg: Leg,
    /// What the application would send, bits per second.
    wanted: f64,
    owed: f64,
    probe: Option<(Probe, u32)>,
    busy_until: Instant,
    /// Arrival and number.
    under_way: VecDeque<(Instant, u16)>,
    receiver: FeedbackGenerator,
    feedback: VecDeque<(Instant, Vec<u8>)>,
    rng: Rng,
    /// Longest time in the queue lately.
    queued: Duration,
    delivered: u64,
}

impl Net {
    fn new(link: Link, wanted: f64) -> Self {
        Self {
            now: Instant::from_millis(1),
            link,
            estimator: Estimator::new(Limits::default()),
            leg: Leg::new(),
            wanted,
            owed: 0.0,
            probe: None,
            busy_until: Instant::ZERO,
            under_way: VecDeque::new(),
            receiver: FeedbackGenerator::new(Duration::from_millis(50)),
            feedback: VecDeque::new(),
            rng: Rng::from_number(1),
            queued: Duration::ZERO,
            delivered: 0,
        }
    }

    fn run(&mut self, seconds: f64) {
        self.queued = Duration::ZERO;
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += STEP;
            self.send();
            self.deliver();
            self.report();
            self.estimator.on_timeout(self.now);
        }
    }

    /// Media at the estimate or what is wanted; while a probe lasts everything at its rate, filled up, and as part of it.
    fn send(&mut self) {
        if self.probe.is_none() {
            let probe = self.estimator.poll_probe(self.now, self.wanted);
            self.probe = probe.map(|probe| (probe, 0));
        }
        let media = self.estimator.estimate().min(self.wanted);
        let rate = self.probe.map_or(media, |(probe, _)| probe.rate);
        self.owed += rate * STEP.as_secs_f64() / 8.0;
        while self.owed >= PACKET as f64 {
            self.owed -= PACKET as f64;
            let id = self.probe.map_or(0, |(probe, _)| probe.id);
            self.packet(id);
            if let Some((probe, sent)) = &mut self.probe {
                *sent += 1;
                let bytes = *sent * PACKET as u32;
                if *sent >= probe.packets && bytes >= probe.bytes {
                    self.probe = None;
                }
            }
        }
    }

    fn packet(&mut self, probe: u16) {
        let number = self
            .estimator
            .on_sent(&mut self.leg, self.now, PACKET, probe);
        let begins = self.busy_until.max(self.now);
        let queued = begins - self.now;
        if queued > self.link.queue || self.rng.below(1_000_000) as f64 / 1e6 < self.link.loss {
            return;
        }
        self.queued = self.queued.max(queued);
        let takes = Duration::from_secs_f64(PACKET as f64 * 8.0 / self.link.capacity);
        self.busy_until = begins + takes;
        self.under_way
            .push_back((self.busy_until + self.link.delay, number));
    }

    fn deliver(&mut self) {
        while let Some((arrival, number)) = self.under_way.front().copied()
            && arrival <= self.now
        {
            self.under_way.pop_front();
            self.receiver.on_packet(number, arrival);
            self.delivered += PACKET as u64;
        }
        while self.receiver.deadline().is_some_and(|due| due <= self.now) {
            let mut bytes = [0; 1200];
            let mut writer = Writer::new(&mut bytes);
            if !self.receiver.write(1, 2, &mut writer).unwrap() {
                break;
            }
            let len = writer.len();
            let due = self.now + self.link.delay;
            self.feedback.push_back((due, bytes[..len].to_vec()));
        }
    }

    fn report(&mut self) {
        while let Some((due, _)) = self.feedback.front()
            && *due <= self.now
        {
            let (_, bytes) = self.feedback.pop_front().unwrap();
            for packet in compound(&bytes).unwrap() {
                if let Ok(Packet::TransportFeedback(feedback)) = packet {
                    let (leg, beside) = (&mut self.leg, Beside::default());
                    self.estimator.on_feedback(leg, beside, self.now, &feedback);
                }
            }
        }
    }

    fn share(&self) -> f64 {
        self.estimator.estimate() / self.link.capacity
    }
}

#[test]
fn probes_find_the_capacity_within_two_seconds() {
    for capacity in [500e3, 1e6, 2.5e6, 8e6] {
        let mut net = Net::new(Link::of(capacity), 10e6);
        net.run(2.0);
        assert!(
            (0.6..1.2).contains(&net.share()),
            "{capacity}: {}",
            net.share()
        );
    }
}

#[test]
fn a_path_is_used_and_its_queue_stays_short() {
    for capacity in [300e3, 1e6, 3e6] {
        let mut net = Net::new(Link::of(capacity), 10e6);
        net.run(10.0);
        let before = net.delivered;
        net.run(30.0);
        let used = (net.delivered - before) as f64 * 8.0 / 30.0 / capacity;
        assert!(used > 0.8, "{capacity}: {used} is used");
        assert!(net.queued < Duration::from_millis(250), "{:?}", net.queued);
    }
}

#[test]
fn less_capacity_is_noticed_in_a_second_and_more_within_ten() {
    let mut net = Net::new(Link::of(3e6), 10e6);
    net.run(10.0);
    net.link.capacity = 800e3;
    net.run(1.5);
    assert!(net.share() < 1.1, "{}", net.share());
    net.run(8.0);
    assert!((0.6..1.15).contains(&net.share()), "{}", net.share());
    net.link.capacity = 3e6;
    net.run(10.0);
    assert!(net.share() > 0.75, "{}", net.share());
}

#[test]
fn while_a_queue_is_left_to_leave_little_that_arrives_is_no_sign() {
    let after = |is_draining| {
        let mut net = Net::new(Link::of(1e6), 5e6);
        net.run(4.0);
        // Something else fills the queue, and only a little is sent while that grows.
        net.estimator.set_draining(is_draining);
        net.wanted = 100e3;
        for _ in 0..10 {
            net.busy_until = net.busy_until.max(net.now) + Duration::from_millis(130);
            net.run(0.1);
        }
        net.estimator.estimate()
    };
    let (heeded, left) = (after(false), after(true));
    assert!(heeded < 200e3, "{heeded}");
    assert!(left > 600e3, "{left}");
}

#[test]
fn some_loss_is_no_congestion_and_heavy_loss_is() {
    let mut net = Net::new(Link::of(5e6), 2e6);
    net.link.loss = 0.05;
    net.run(15.0);
    assert!(
        net.estimator.estimate() > 1.8e6,
        "{}",
        net.estimator.estimate()
    );
    net.link.loss = 0.3;
    net.run(10.0);
    assert!(
        net.estimator.estimate() < 0.7e6,
        "{}",
        net.estimator.estimate()
    );
}

#[test]
fn an_application_that_sends_little_keeps_what_is_known() {
    let mut net = Net::new(Link::of(2e6), 10e6);
    net.run(10.0);
    let known = net.estimator.estimate();
    net.wanted = 100e3;
    net.run(20.0);
    assert!(net.estimator.estimate() > known * 0.9);
}

#[test]
fn a_longer_path_is_no_queue_where_it_is_known_to_be_another_one() {
    let after = |is_told: bool| {
        let mut net = Net::new(Link::of(4e6), 1e6);
        net.run(10.0);
        net.link.delay = Duration::from_millis(150);
        if is_told {
            net.leg.on_new_path();
        }
        net.run(1.0);
        (net.estimator.estimate(), net.leg.queueing(net.now))
    };
    let (estimate, waits) = after(true);
    assert!(estimate > 1e6, "{estimate}");
    assert!(waits < Duration::from_millis(10), "{waits:?}");
    let (_, waits) = after(false);
    assert!(waits > Duration::from_millis(90), "the control: {waits:?}");
}

#[test]
fn a_silent_path_is_believed_less_and_less() {
    let mut net = Net::new(Link::of(2e6), 10e6);
    net.run(10.0);
    let known = net.estimator.estimate();
    net.link.loss = 1.0;
    net.run(3.0);
    assert!(net.estimator.estimate() < known / 8.0);
    net.link.loss = 0.0;
    net.run(10.0);
    assert!(net.share() > 0.6, "{}", net.share());
}

#[test]
fn what_the_peer_allows_and_the_limits_bound_it() {
    let mut net = Net::new(Link::of(9e6), 10e6);
    net.run(5.0);
    net.estimator.on_remb(400_000);
    assert_eq!(net.estimator.estimate(), 400e3);
    net.estimator.on_remb(1_000);
    assert_eq!(net.estimator.estimate(), Limits::default().min);
}

#[test]
fn feedback_of_a_liar_does_no_harm() {
    let mut estimator = Estimator::new(Limits::default());
    let mut leg = Leg::new();
    let mut rng = Rng::from_number(9);
    for nth in 0..2_000_u64 {
        let now = Instant::from_millis(nth * 7);
        estimator.on_sent(&mut leg, now, 1200, (rng.below(3)) as u16);
        let arrivals: Vec<_> = (0..rng.below(40) + 1)
            .map(|_| (rng.below(3) > 0).then(|| rng.below(1 << 20) as i64))
            .collect();
        let mut bytes = [0; 1200];
        let mut writer = Writer::new(&mut bytes);
        let base = rng.below(1 << 16) as u16;
        let written =
            crate::rtcp::write_transport_feedback((1, 2), base, 0, &arrivals, &mut writer);
        if written.is_err() {
            continue;
        }
        let len = writer.len();
        for packet in compound(&bytes[..len]).unwrap() {
            if let Ok(Packet::TransportFeedback(feedback)) = packet {
                estimator.on_feedback(&mut leg, Beside::default(), now, &feedback);
            }
        }
        let limits = Limits::default();
        assert!((limits.min..=limits.max).contains(&estimator.estimate()));
    }
}

/// Feedback about a packet may come two seconds after it, and a thousand may have left each second.
#[test]
fn a_busy_leg_with_a_long_round_trip_is_not_deaf() {
    let mut estimator = Estimator::new(Limits::default());
    let mut leg = Leg::new();
    let mut now = Instant::from_millis(1);
    let first = leg.next_number();
    for _ in 0..2_000 {
        estimator.on_sent(&mut leg, now, 1_000, 0);
        now += STEP;
    }
    let mut buffer = [0; 200];
    let mut writer = Writer::new(&mut buffer);
    let arrivals: Vec<Option<i64>> = (0..40).map(|nth| Some(4_000 + 4 * nth)).collect();
    let written = crate::rtcp::write_transport_feedback((1, 2), first, 0, &arrivals, &mut writer);
    assert_eq!(written, Ok(40));
    let len = writer.len();
    let packet = compound(&buffer[..len]).unwrap().next();
    let Some(Ok(Packet::TransportFeedback(feedback))) = packet else {
        panic!("it was just written");
    };
    estimator.on_feedback(&mut leg, Beside::default(), now, &feedback);
    assert_eq!(leg.heard(), Some(now));
    assert!(estimator.round_trip() > Duration::from_millis(250));
}
