//! Whole runs with the built-in forwarders, and runs with forwarders that make mistakes: these must be no result.

mod common;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::baseline::Kind;
use bench::exit;
use bench::outcome::{Outcome, Verdict};
use bench::plan::{Codec, Medium, Packets, Plan, Session, Sizes, Stream, Suite, Synthetic};
use bench::runner::{Settings, run};
use bench::subject::Choice;
use bench::subject::baseline::Options;

fn plan(viewers: usize, bursts: u32, per_second: f64, measure: Duration) -> Plan {
    Plan {
        name: format!("fanout 1→{viewers}"),
        sessions: vec![Session {
            streams: vec![Stream {
                video: Some(Medium::Synthetic(Synthetic {
                    codec: Codec::Vp8,
                    frames_per_second: per_second,
                    packets_per_frame: Packets::Fixed(bursts),
                    packet_bytes: Sizes::Fixed(1200),
                    spacing: Duration::ZERO,
                    key_frame_every: None,
                })),
                audio: None,
            }],
            viewers,
            publishers_watch: false,
        }],
        suite: Suite::Aes128Gcm,
        joins_per_second: None,
        churn_per_second: 0.0,
        strangers_per_second: 0,
        silent_joins: false,
        pass_share: exit::PASS_SHARE,
        warm_up: Duration::from_millis(300),
        measure,
        seed: 1,
    }
}

fn outcome(exit: exit::Kind, options: Options, plan: Plan) -> Outcome {
    let settings = Settings {
        subject: Choice::Baseline(options),
        exit,
        plan,
        fleet_threads: 1,
        check_every: 8,
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_ringcast-bench"))),
    };
    let over = AtomicBool::new(false);
    run(&settings, &mut |_| {}, &over)
}

fn small() -> Plan {
    // 800 packets to each, so that a hundredth of them has some of everybody.
    plan(10, 4, 100.0, Duration::from_secs(2))
}

fn reason(outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Result => "a result".to_owned(),
        Verdict::NoResult { because } => because.clone(),
    }
}

#[test]
fn both_exits_have_results() {
    for exit in [exit::Kind::Loopback, exit::Kind::Drop] {
        for kind in [Kind::Conventional, Kind::Naive] {
            let outcome = outcome(exit, kind.into(), small());
            eprintln!("{exit} {kind}: {:?} ns a packet", outcome.cost());
            if exit == exit::Kind::Drop && reason(&outcome).contains("needs root") {
                return common::skip(&reason(&outcome));
            }
            assert!(outcome.is_result(), "{exit}, {kind}: {outcome:?}");
            assert!(outcome.packets.expected > 7000, "{:?}", outcome.packets);
            assert!(outcome.packets.checked > 0);
            if exit == exit::Kind::Drop {
                assert_eq!(outcome.packets.subscribers, 10);
                assert!(outcome.packets.looked_into >= 9, "{:?}", outcome.packets);
            }
            assert!(outcome.cost() > Some(100.0));
            assert!(outcome.syscalls_per_packet.is_some());
        }
    }
}

#[test]
fn one_wrong_octet_in_a_thousand_packets_is_no_result() {
    let options = Options {
        spoil_every: Some(999),
        ..Kind::Conventional.into()
    };
    // 40 000 copies, 40 of them wrong, and one in 8 is looked at.
    let plan = plan(50, 4, 100.0, Duration::from_secs(2));
    let outcome = outcome(exit::Kind::Loopback, options, plan);
    assert!(
        reason(&outcome).contains("wrong"),
        "{:?} {:?}",
        outcome.verdict,
        outcome.packets
    );
    assert_eq!(outcome.cost(), None);
}

#[test]
fn a_sample_that_leaves_subscribers_out_is_no_result() {
    // 40 packets to each: of a hundredth of them most subscribers get nothing.
    let plan = plan(40, 4, 10.0, Duration::from_secs(1));
    let outcome = outcome(exit::Kind::Drop, Kind::Conventional.into(), plan);
    if reason(&outcome).contains("needs root") {
        return common::skip(&reason(&outcome));
    }
    assert!(
        reason(&outcome).contains("subscribers no packet was checked"),
        "{outcome:?}"
    );
}

#[test]
fn viewers_who_are_replaced_are_counted_once() {
    let mut plan = plan(6, 1, 20.0, Duration::from_secs(2));
    let streams = &mut plan.sessions[0].streams;
    streams.push(streams[0].clone());
    plan.churn_per_second = 4.0;
    let outcome = outcome(exit::Kind::Loopback, Kind::Conventional.into(), plan);
    let churn = outcome.churn.expect("viewers were to be replaced");
    // Each has two transports, and the last of them may still be on the way.
    assert!((2.5..=4.0).contains(&churn.achieved), "{churn:?}");
}

#[test]
fn one_lost_packet_in_a_hundred_is_no_result() {
    for exit in [exit::Kind::Loopback, exit::Kind::Drop] {
        let options = Options {
            skip_every: Some(100),
            ..Kind::Conventional.into()
        };
        let outcome = outcome(exit, options, small());
        if reason(&outcome).contains("needs root") {
            return common::skip(&reason(&outcome));
        }
        assert!(reason(&outcome).contains("lost"), "{exit}: {outcome:?}");
        let loss = outcome.packets.loss();
        assert!((0.006..0.014).contains(&loss), "{exit}: {loss}");
    }
}
