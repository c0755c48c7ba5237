//! Viewers that say what is not true, and ask for what they do not need. Whatever they get, the others must not notice.

use clock::{Duration, Instant};
use proto::rtcp::{self, Nack, ReceiverReport, Remb, ReportBlock, write_transport_feedback};
use sfu::discard::DropReason;

use super::{Call, Case, GOOD, Length, Measure, Promise, REST, WARM_UP, millis, ms, seconds};
use crate::report::Report;
use crate::simulation::{BrowserId, Settings, Simulation};

pub(super) const CASES: [Case; 4] = [
    Case {
        name: "lies-nack",
        what: "a viewer asks for all 65 536 packets again, at line rate",
        promise: Promise::Holds,
        run: nack_of_everything,
        control: None,
    },
    Case {
        name: "lies-remb",
        what: "viewers say that they can take nothing, or 2^64 bits per second",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            // Else nobody would listen to them.
            let settings = Settings {
                follow_remb: true,
                transport_wide: false,
                ..settings
            };
            lying(seed, length, settings, estimates).0
        },
        control: None,
    },
    Case {
        name: "lies-feedback",
        what: "a viewer sends feedback about packets that were never sent",
        promise: Promise::Holds,
        run: |seed, length, settings| lying(seed, length, settings, feedback).0,
        control: None,
    },
    Case {
        name: "lies-compound",
        what: "a viewer sends odd, nested, cut and overlong RTCP",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let (mut measures, malformed) = lying(seed, length, settings, odd);
            measures.push(Measure::at_least(
                "counted as malformed",
                malformed,
                "",
                100.0,
            ));
            measures
        },
        control: None,
    },
];

/// That of [`GOOD`], less what a report may be wrong by.
const ROUND_TRIP: Duration = millis(35);

fn duration(length: Length) -> Duration {
    match length {
        Length::Short => seconds(10),
        Length::Full => seconds(30),
    }
}

fn nack_of_everything(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::new(seed, settings, 3, GOOD);
    call.simulation.run(WARM_UP);
    let from = call.simulation.now();
    let liar = call.viewers[0];
    let until = from + duration(length);
    let mut next = 0_u16;
    while call.simulation.now() < until {
        // A datagram asks for some five thousand packets, so all are asked for every thirteen milliseconds.
        next = next.wrapping_add(ask_from(&mut call.simulation, liar, next));
        call.simulation.run(millis(1));
    }
    call.simulation.run(REST);
    let viewer = call.simulation.viewer(liar);
    let again: usize = resent(viewer.resent(), from, until).map(|one| one.2).sum();
    let received = viewer.received.iter();
    let all: usize = received
        .filter(|(at, _)| (from..until).contains(at))
        .map(|(_, bytes)| bytes)
        .sum();
    let share = 100.0 * again as f64 / (all - again).max(1) as f64;
    let others = [1, 2].map(|other| call.report(other, from, until));
    let mut measures = vec![
        Measure::at_most("retransmissions, of media", share, "%", 30.0),
        Measure::at_most("of one in a round trip", most(viewer.resent()), "", 2.0),
    ];
    measures.extend(unharmed(&others));
    measures
}

/// Retransmissions of a time.
fn resent(
    all: &[(Instant, u64, usize)],
    from: Instant,
    until: Instant,
) -> impl Iterator<Item = &(Instant, u64, usize)> {
    all.iter().filter(move |one| (from..until).contains(&one.0))
}

/// How often one packet was sent again within a round trip: the second answer goes twice.
fn most(all: &[(Instant, u64, usize)]) -> f64 {
    let mut times = std::collections::BTreeMap::<u64, Vec<Instant>>::new();
    for (at, index, _) in all {
        times.entry(*index).or_default().push(*at);
    }
    let within = |times: &Vec<Instant>| {
        let from = times.iter();
        let counts = from.map(|from| {
            let then = *from..*from + ROUND_TRIP;
            times.iter().filter(|at| then.contains(at)).count()
        });
        counts.max().unwrap_or(0)
    };
    times.values().map(within).max().unwrap_or(0) as f64
}

/// Asks for as many packets from `first` on as fit a datagram, and returns how many those are.
fn ask_from(simulation: &mut Simulation, liar: BrowserId, first: u16) -> u16 {
    let sequences: Vec<u16> = (0..5_000).map(|step| first.wrapping_add(step)).collect();
    let media = simulation.viewer(liar).video_ssrc();
    let mut asked = 0;
    say(simulation, liar, |writer| {
        asked = Nack::write(1, media, &sequences, writer)?;
        Ok(())
    });
    asked as u16
}

fn say(
    simulation: &mut Simulation,
    liar: BrowserId,
    write: impl FnOnce(&mut rtcp::Writer<'_>) -> Result<(), rtcp::Full>,
) {
    let mut plain = [0; 1_200];
    let mut writer = rtcp::Writer::new(&mut plain);
    write(&mut writer).expect("it fits");
    let len = writer.len();
    assert!(simulation.say(liar, &plain[..len]), "it has its keys");
}

fn unharmed(others: &[Report]) -> [Measure; 2] {
    let shown = others.iter().map(Report::shown_percent);
    let freezes: usize = others.iter().map(|report| report.freezes).sum();
    [
        Measure::at_least("shown to others", shown.fold(100.0, f64::min), "%", 100.0),
        Measure::at_most("freezes of others", freezes as f64, "", 0.0),
    ]
}

/// A call with two liars, one lie each every few milliseconds. Returns also how many datagrams the node could not read.
fn lying(
    seed: u64,
    length: Length,
    settings: Settings,
    lie: fn(&mut Simulation, BrowserId, u32),
) -> (Vec<Measure>, f64) {
    let mut call = Call::new(seed, settings, 4, GOOD);
    call.simulation.run(WARM_UP);
    let from = call.simulation.now();
    let until = from + duration(length);
    let mut count = 0;
    while call.simulation.now() < until {
        for liar in [call.viewers[0], call.viewers[1]] {
            lie(&mut call.simulation, liar, count);
            count += 1;
        }
        call.simulation.run(millis(7));
    }
    call.simulation.run(REST);
    let stream = call.stream;
    let others = [2, 3].map(|other| call.report(other, from, until));
    let mut measures = unharmed(&others).to_vec();
    // And whoever comes then is served as always.
    let late = call.simulation.watch(GOOD, stream);
    let came = call.simulation.now();
    call.simulation.run(seconds(3));
    let shown = call.simulation.viewer(late).shown().first();
    let after = shown.map_or(f64::INFINITY, |shown| ms(shown.at - came));
    measures.push(Measure::at_most(
        "a newcomer sees after",
        after,
        "ms",
        1_500.0,
    ));
    let drops = &call.simulation.node.stats().drops;
    (measures, drops.of(DropReason::RtcpMalformed) as f64)
}

fn estimates(simulation: &mut Simulation, liar: BrowserId, count: u32) {
    let media = simulation.viewer(liar).video_ssrc();
    let rate = if count.is_multiple_of(2) { 0 } else { u64::MAX };
    say(simulation, liar, |writer| {
        ReceiverReport::write(1, &[], writer)?;
        Remb::write(1, rate, &[media, 0, u32::MAX], writer)
    });
}

fn feedback(simulation: &mut Simulation, liar: BrowserId, count: u32) {
    let media = simulation.viewer(liar).video_ssrc();
    let (base, clock) = (simulation.rng.next_u32(), simulation.rng.next_u32());
    // All at once, long ago or in the far future, and in between nothing.
    let arrivals: Vec<_> = (0..300)
        .map(|nth| (nth % 3 != 1).then(|| i64::from(clock) + nth * i64::from(count % 7) * 40))
        .collect();
    say(simulation, liar, |writer| {
        write_transport_feedback((1, media), base as u16, count as u8, &arrivals, writer)?;
        Ok(())
    });
}

/// Compounds as no browser makes them.
fn odd(simulation: &mut Simulation, liar: BrowserId, count: u32) {
    let media = simulation.viewer(liar).video_ssrc();
    let mut plain = vec![0; 1_200];
    let mut writer = rtcp::Writer::new(&mut plain);
    let whole = |writer: &mut rtcp::Writer<'_>| match count % 4 {
        // As many empty reports as fit.
        0 => (0..140).try_for_each(|_| ReceiverReport::write(1, &[], writer)),
        // Reports about everything with the worst that fields can say.
        1 => {
            let block = ReportBlock {
                ssrc: media,
                fraction_lost: 255,
                cumulative_lost: -1,
                extended_highest_sequence: u32::MAX,
                jitter: u32::MAX,
                last_sender_report: count,
                delay_since_last_sender_report: u32::MAX,
            };
            ReceiverReport::write(1, &[block; 31], writer)
        }
        _ => Nack::write(1, media, &[1, 9, 700], writer).map(|_| ()),
    };
    whole(&mut writer).expect("it fits");
    let len = writer.len();
    plain.truncate(len);
    match count % 4 {
        // A packet within a packet: lengths that overlap, or that lie.
        2 => {
            let inner = plain.clone();
            plain.extend(inner);
            let at = 3 + simulation.rng.below(len as u64 - 4) as usize;
            plain[at] ^= simulation.rng.next_u32() as u8;
        }
        // Cut anywhere, padding that is none, unknown types.
        3 => {
            plain[0] |= 0x20;
            plain[1] = 192 + (count % 32) as u8;
            let keep = 8 + simulation.rng.below(len as u64 - 8) as usize;
            plain.truncate(keep);
        }
        _ => {}
    }
    assert!(simulation.say(liar, &plain), "it has its keys");
}
