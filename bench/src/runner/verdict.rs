//! From two snapshots to an outcome: what was delivered, what it cost, and whether that counts.

use super::{Settings, Snapshot};
use crate::exit::{self, Counts};
use crate::fleet::Counters;
use crate::outcome::{
    Churn, DELIVERED_MAX, Distribution, Outcome, Packets, Processor, Strangers, Verdict,
};
use crate::plan::{Medium, Packets as FramePackets, Plan};
use crate::subject::Readings;

/// If publishers send less than this share of what the plan says, readers should know.
const PUBLISHED_MIN: f64 = 0.97;
/// Of the copies that publishing calls for, so many at least must be missed or received by somebody: else subscribers exist
/// that got nothing at all, which sequence numbers cannot tell.
const NOTICED_MIN: f64 = 0.98;
/// Packets that may be on their way when the measurement begins: a frame of many.
const ON_THE_WAY: f64 = 40.0;

/// What happened between `before` and `after`.
pub(super) fn outcome(settings: &Settings, before: &Snapshot, after: &Snapshot) -> Outcome {
    let plan = &settings.plan;
    let fleet = after.fleet.since(&before.fleet);
    let measured = after.at.duration_since(before.at);
    let mut outcome = Outcome::impossible(
        &settings.subject.name(),
        settings.exit,
        plan,
        "not judged yet".to_owned(),
    );
    outcome.measured = measured;
    outcome.packets = match (before.exit, after.exit) {
        (Some(before), Some(after)) => at_the_exit(plan, &fleet, before, after),
        _ => at_the_subscribers(&fleet),
    };
    let own_time = after.own_time.saturating_sub(before.own_time);
    let machine = after.machine.since(before.machine);
    outcome.processor = Processor {
        subject: after.subject_time.saturating_sub(before.subject_time),
        generator: own_time,
        machine: machine.busy,
        stolen: machine.stolen,
        timeline: Vec::new(),
    };
    outcome.verdict = judge(plan, &outcome.packets, &fleet, before, after);
    outcome.latency = Distribution::of(&fleet.latency);
    // Where 99 of 100 packets are dropped, the first that comes is not the first that was sent.
    if after.exit.is_none() {
        outcome.joins = Distribution::of(&after.fleet.first_packet).map(from_microseconds);
        outcome.whole_joins = Distribution::of(&after.fleet.whole_join).map(from_microseconds);
    }
    if plan.churn_per_second > 0.0 {
        with_churn(
            &mut outcome,
            Churn {
                asked: plan.churn_per_second,
                achieved: fleet.viewers as f64 / measured.as_secs_f64().max(f64::MIN_POSITIVE),
            },
        );
    }
    said_by_subject(&mut outcome, &before.subject, &after.subject);
    if outcome.run_lengths.is_none() {
        let buckets: Vec<_> = (0..).zip(fleet.runs).collect();
        outcome.run_lengths = Distribution::from_buckets(&buckets);
        outcome
            .notes
            .push("run lengths are those seen by subscribers".to_owned());
    }
    if after.exit.is_some() && plan.pass_share != exit::PASS_SHARE {
        let percent = plan.pass_share * 100.0;
        let note = format!("{percent:.1} % of the sends passed the exit, to be checked");
        outcome.notes.push(note);
    }
    said_by_generator(&mut outcome, plan, &fleet);
    outcome
}

/// Where everything arrives, subscribers tell loss from gaps in the sequence numbers.
fn at_the_subscribers(fleet: &Counters) -> Packets {
    Packets {
        published: fleet.published_packets,
        expected: fleet.expected,
        delivered: fleet.delivered,
        duplicates: fleet.duplicates,
        checked: fleet.samples,
        unauthentic: fleet.unauthentic,
        wrong: fleet.wrong_payloads,
        retransmitted: fleet.recovered,
        left_out: fleet.skipped_frames,
        generator_drops: fleet.kernel_drops,
        unsent: fleet.send_failures,
        unannounced: fleet.unknown_ssrc,
        subscribers: 0,
        looked_into: 0,
    }
}

/// Where nearly everything is dropped, the exit counts. It counts packets that are not RTP as well, but these all pass: what has
/// passed and was not received as RTP was none.
fn at_the_exit(plan: &Plan, fleet: &Counters, before: Counts, after: Counts) -> Packets {
    let offered = after.offered.saturating_sub(before.offered);
    let passed = after.passed.saturating_sub(before.passed);
    let others = passed.saturating_sub(fleet.received_packets);
    Packets {
        published: fleet.published_packets,
        expected: (fleet.published_packets as f64 * copies_per_packet(plan).unwrap_or(0.0)) as u64,
        delivered: offered.saturating_sub(others),
        subscribers: fleet.subscribers,
        looked_into: fleet.looked_into,
        ..at_the_subscribers(fleet)
    }
}

fn judge(
    plan: &Plan,
    packets: &Packets,
    fleet: &Counters,
    before: &Snapshot,
    after: &Snapshot,
) -> Verdict {
    let no_result = |because: String| Verdict::NoResult { because };
    if after.exit.is_some() && copies_per_packet(plan).is_none() {
        return no_result(
            "sessions of different shape cannot be told apart at this exit".to_owned(),
        );
    }
    if after.exit.is_some() && plan.churn_per_second > 0.0 {
        return no_result(
            "copies due cannot be known at this exit while viewers change".to_owned(),
        );
    }
    if let Some(wrong) = after
        .fleet
        .first_wrong
        .as_ref()
        .filter(|_| fleet.wrong_payloads > 0)
    {
        return no_result(format!(
            "{} of {} checked payloads were wrong; the first: {wrong}",
            packets.wrong, packets.checked
        ));
    }
    if packets.is_generator_overloaded() {
        return no_result(format!(
            "the generator is overloaded: its queues dropped {} of {} datagrams",
            packets.generator_drops, packets.expected
        ));
    }
    if after.fleet.connected < after.fleet.peers && plan.churn_per_second == 0.0 {
        return no_result(format!(
            "{} of {} transports are not connected",
            after.fleet.peers - after.fleet.connected,
            after.fleet.peers
        ));
    }
    if before.subject.state != after.subject.state && plan.churn_per_second == 0.0 {
        return no_result(format!(
            "the forwarder's state changed from {:?} to {:?} entries",
            before.subject.state, after.subject.state
        ));
    }
    if after.exit.is_none() && plan.churn_per_second == 0.0 {
        let copies = copies_per_packet(plan).unwrap_or(0.0);
        let due = fleet.published_packets as f64 * copies;
        if (packets.expected as f64) < NOTICED_MIN * due {
            return no_result(format!(
                "subscribers noticed {} of {due:.0} packets that were due",
                packets.expected
            ));
        }
        if let Some(backlog) = backlog(fleet.published_packets, copies, packets.delivered) {
            return no_result(backlog);
        }
    }
    packets.verdict()
}

/// Whether subscribers got clearly more than was published. What they expect follows from the sequence numbers that come, so that
/// what had waited in queues looks as if it had been due.
fn backlog(published: u64, copies: f64, delivered: u64) -> Option<String> {
    let due = published as f64 * copies;
    let is_more = delivered as f64 > due * DELIVERED_MAX + copies * ON_THE_WAY;
    (due > 0.0 && is_more)
        .then(|| format!("{delivered} packets were delivered though {due:.0} were due: a backlog"))
}

/// Keeps how fast viewers were replaced. Far fewer than asked for are another load.
fn with_churn(outcome: &mut Outcome, churn: Churn) {
    let Churn { asked, achieved } = churn;
    outcome.notes.push(format!(
        "viewers were replaced {achieved:.1} times a second, of {asked:.1} asked for"
    ));
    outcome.churn = Some(churn);
    if let Some(because) = churn.objection()
        && outcome.is_right_but_for_loss()
    {
        outcome.verdict = Verdict::NoResult { because };
    }
}

/// Keeps what strangers did. A flood that was too thin, or left something behind, is no result; what was wrong besides loss stays
/// the reason where there was something.
pub(super) fn with_strangers(outcome: &mut Outcome, strangers: Strangers) {
    let mut note = format!("strangers sent {:.0} datagrams a second", strangers.sent);
    if let Some(grown) = strangers.grown() {
        note += &format!("; the forwarder's memory grew by {} KiB", grown >> 10);
    }
    outcome.notes.push(note);
    outcome.strangers = Some(strangers);
    if let Some(because) = strangers.objection()
        && outcome.is_right_but_for_loss()
    {
        outcome.verdict = Verdict::NoResult { because };
    }
}

/// What only the forwarder knows.
fn said_by_subject(outcome: &mut Outcome, before: &Readings, after: &Readings) {
    let delivered = outcome.packets.delivered;
    if let (Some(earlier), Some(later)) = (before.system_calls, after.system_calls)
        && delivered > 0
    {
        let calls = later.saturating_sub(earlier);
        outcome.syscalls_per_packet = Some(calls as f64 / delivered as f64);
    }
    if let (Some(earlier), Some(later)) = (&before.runs, &after.runs) {
        let buckets: Vec<_> = (0..)
            .zip(later)
            .map(|(length, count)| {
                let before = earlier.get(length as usize).copied().unwrap_or(0);
                (length, count.saturating_sub(before))
            })
            .collect();
        outcome.run_lengths = Distribution::from_buckets(&buckets);
    }
    if let (Some(earlier), Some(later)) = (&before.latency, &after.latency) {
        let mut below = 0;
        let mut buckets: Vec<_> = later
            .iter()
            .zip(earlier)
            .map(|((bound, count), (_, before))| {
                let cumulative = count.saturating_sub(*before);
                let inside = cumulative.saturating_sub(below);
                below = cumulative;
                (*bound as u64, inside)
            })
            .collect();
        // The last bound is infinite.
        let above = buckets.pop().map_or(0, |(_, count)| count);
        outcome.forwarding_latency = Distribution::from_open_buckets(&buckets, above);
    }
    for (reason, count) in &after.dropped {
        let earlier = before.dropped.get(reason).copied().unwrap_or(0);
        if let dropped @ 1.. = count.saturating_sub(earlier) {
            outcome.notes.push(format!(
                "the forwarder dropped {dropped} datagrams: {reason}"
            ));
        }
    }
}

/// What readers should know of the load.
fn said_by_generator(outcome: &mut Outcome, plan: &Plan, fleet: &Counters) {
    if let Some(unchecked) = outcome.packets.unchecked_subscribers()
        && outcome.is_result()
    {
        outcome.notes.push(unchecked);
    }
    if fleet.skipped_frames > 0 {
        let frames = fleet.skipped_frames;
        outcome.notes.push(format!(
            "publishers left {frames} frames out: the generator was late"
        ));
    }
    let wanted = packets_per_second(plan) * outcome.measured.as_secs_f64();
    if wanted > 0.0 && (fleet.published_packets as f64) < PUBLISHED_MIN * wanted {
        outcome.notes.push(format!(
            "publishers sent {} of about {wanted:.0} packets",
            fleet.published_packets
        ));
    }
}

/// How many subscribers get each packet; none if that depends on the packet.
pub(super) fn copies_per_packet(plan: &Plan) -> Option<f64> {
    let mut sessions = plan.sessions.iter().map(|session| {
        let others = session.streams.len().saturating_sub(1);
        session.viewers + if session.publishers_watch { others } else { 0 }
    });
    let first = sessions.next()?;
    sessions
        .all(|audience| audience == first)
        .then_some(first as f64)
}

/// About how many packets all publishers send per second; zero if a recording is among them.
fn packets_per_second(plan: &Plan) -> f64 {
    let streams = plan.sessions.iter().flat_map(|session| &session.streams);
    let media = streams.flat_map(|stream| [&stream.video, &stream.audio]);
    media
        .flatten()
        .map(|medium| match medium {
            Medium::Recorded { .. } => None,
            Medium::Synthetic(synthetic) => Some(
                synthetic.frames_per_second
                    * match synthetic.packets_per_frame {
                        FramePackets::Fixed(packets) => f64::from(packets),
                        FramePackets::AroundMean(mean) => mean,
                    },
            ),
        })
        .sum::<Option<f64>>()
        .unwrap_or(0.0)
}

fn from_microseconds(distribution: Distribution) -> Distribution {
    let nanos = |micros: u64| micros.saturating_mul(1000);
    Distribution {
        count: distribution.count,
        min: nanos(distribution.min),
        mean: distribution.mean * 1000.0,
        p50: nanos(distribution.p50),
        p90: nanos(distribution.p90),
        p99: nanos(distribution.p99),
        p999: nanos(distribution.p999),
        max: nanos(distribution.max),
        open_above: distribution.open_above.map(nanos),
        buckets: distribution
            .buckets
            .into_iter()
            .map(|(upper, count)| (nanos(upper), count))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_waited_is_a_backlog_and_a_frame_on_its_way_is_none() {
        assert_eq!(backlog(6_000, 100.0, 600_000), None);
        assert_eq!(backlog(6_000, 100.0, 606_900), None, "frames on their way");
        assert_eq!(backlog(30, 3.0, 110), None, "small numbers say nothing");
        let why = backlog(6_000, 100.0, 662_000).expect("a tenth of a second too many");
        assert!(
            why.contains("662000") && why.contains("600000 were due"),
            "{why}"
        );
        assert_eq!(backlog(0, 100.0, 50), None, "nothing was published");
    }
}
