//! Starting, watching and stopping a node; living without a master.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use link::pki::Authority;
use link::quic::master::News;
use link::state::*;
use rustix::process::Signal;

use crate::harness::{NODE, NodeProcess, PATIENCE, World};

#[test]
fn operators_can_ask_and_a_stop_is_told_to_everybody() {
    let mut world = World::start(&["--driver", "mmsg"]);
    assert_eq!(world.get("/healthz/live"), (200, "live\n".into()));
    assert_eq!(world.get("/healthz/ready"), (200, "ready\n".into()));
    assert_eq!(world.get("/nothing").0, 404);
    let (_, debug) = world.get("/debug");
    let debug: serde_json::Value = serde_json::from_str(&debug).expect("JSON");
    assert_eq!(debug["node"], NODE);
    let hello = world.link.hello().expect("up");
    assert_eq!(hello.capacity.workers, crate::harness::WORKERS);
    assert_eq!(world.metric("ringcast_node_link_up", ""), 1.0);
    assert!(world.metric("ringcast_node_resident_memory_bytes", "") > 1e6);

    let mut alice = world.peer("alice", "session", true);
    alice.connect();
    world.wait_for_state("alice", |state| {
        matches!(state, TransportState::Connected { .. })
    });
    let (took, status) = world.node.interrupt();
    assert!(
        status.success() && took < Duration::from_secs(2),
        "{status} after {took:?}"
    );
    let stopped = TransportState::Closed {
        reason: CloseReason::NodeStopped,
    };
    world.wait_for_state("alice", |state| *state == stopped);
    alice.run_until("told", |alice| alice.closed.is_some());
    world.wait_for(|news| matches!(news, News::Down { was_up: true, .. }));
}

#[test]
fn who_is_asked_to_end_waits_for_calls_and_tells_for_how_long() {
    let mut world = World::start(&["--driver", "mmsg", "--drain", "1h"]);
    let mut alice = world.peer("alice", "session", true);
    alice.connect();
    world.node.signal(Signal::TERM);
    world.wait_for(|news| match news {
        News::Heartbeat(heartbeat) => heartbeat
            .leaving
            .is_some_and(|left| (3_580_000..=3_600_000).contains(&left)),
        _ => false,
    });
    let (status, why) = world.get("/healthz/ready");
    assert!(
        status == 503 && why.starts_with("draining"),
        "{status} {why}"
    );
    assert_eq!(world.get("/healthz/startup").0, 200);
    // Who joins a session that is here comes in.
    let same = world.peer("bob", "session", true).entry.id;
    let known = world.link.report(&Key::Transport(same));
    assert!(matches!(known, Some(Report::Transport(_))), "{known:?}");
    world.node.signal(Signal::TERM);
    let stopped = TransportState::Closed {
        reason: CloseReason::NodeStopped,
    };
    world.wait_for_state("alice", |state| *state == stopped);
    world.wait_for(|news| match news {
        News::Heartbeat(heartbeat) => heartbeat.leaving == Some(0),
        _ => false,
    });
}

#[test]
fn signals_during_the_start_wait_until_it_is_over() {
    let (mut node, _) = NodeProcess::start(&["--driver", "mmsg"]);
    // It takes a tenth of a second, which a busy machine may let us miss.
    let during_the_start = |node: &mut NodeProcess, signal: Signal| {
        for _ in 0..20 {
            node.wait_until_it_listens();
            let still_starts = node.get("/healthz/startup").0 == 503;
            node.signal(signal);
            if still_starts {
                return;
            }
            node.crash_and_restart();
        }
        panic!("always too late");
    };
    during_the_start(&mut node, Signal::HUP);
    let read_again = "ringcast_node_config_reloads_total{outcome=\"ok\"} 1\n";
    let until = Instant::now() + PATIENCE;
    while !node.get("/metrics").1.contains(read_again) {
        assert!(Instant::now() < until, "{}", node.get("/metrics").1);
        std::thread::sleep(Duration::from_millis(20));
    }
    node.crash_and_restart();
    during_the_start(&mut node, Signal::TERM);
    let status = node.child.wait().expect("our child");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_session_stays_on_one_worker_and_what_makes_no_sense_is_refused() {
    let mut world = World::start(&["--driver", "mmsg"]);
    let ports = |world: &mut World, session: &str, name: &str| {
        let id = world.peer(name, session, true).entry.id;
        let Some(Report::Transport(report)) = world.link.report(&Key::Transport(id)) else {
            panic!("not made")
        };
        report.addresses[0].port()
    };
    let first = ports(&mut world, "one", "a");
    let other = ports(&mut world, "two", "b");
    assert_ne!(first, other);
    assert_eq!(ports(&mut world, "one", "c"), first);

    let lost = Publisher {
        id: PublisherId::new("lost"),
        transport: TransportId::new("nowhere"),
        media: Vec::new(),
    };
    world.link.put(Entry::Publisher(lost));
    let refused = world.wait_for(|news| {
        let News::Reports(steps) = news else {
            return false;
        };
        format!("{steps:?}").contains("nowhere is not there")
    });
    drop(refused);
}

#[test]
fn a_node_that_stalls_is_the_same_afterwards_and_one_that_crashes_is_another() {
    let mut world = World::start(&["--driver", "mmsg"]);
    let alice = world.peer("alice", "session", true);
    let instance = |world: &World| world.link.hello().expect("met").instance;
    let first = instance(&world);

    world.node.signal(Signal::STOP);
    world.wait_for(|news| matches!(news, News::Down { was_up: true, .. }));
    world.node.signal(Signal::CONT);
    let up = world.wait_for(|news| matches!(news, News::Up { .. }));
    assert!(matches!(
        up,
        News::Up {
            restarted: false,
            ..
        }
    ));
    assert_eq!(instance(&world), first);
    let key = Key::Transport(alice.entry.id.clone());
    assert!(
        world.link.report(&key).is_some(),
        "it has forgotten nothing"
    );

    world.node.crash_and_restart();
    let up = world.wait_for(|news| matches!(news, News::Up { .. }));
    assert!(matches!(
        up,
        News::Up {
            restarted: true,
            ..
        }
    ));
    assert_ne!(instance(&world), first);
    assert_eq!(
        world.link.desired().entries().count(),
        0,
        "what was there is lost"
    );
    world.wait_for(|news| matches!(news, News::Reports(_)));
    assert!(world.link.report(&key).is_none());
    world.peer("bob", "session", true);
}

#[test]
fn thousands_of_transports_come_and_go_at_once() {
    const MANY: usize = 3000;
    let world = World::start(&["--driver", "mmsg"]);
    let wanted = |number: usize| {
        Entry::Transport(Transport {
            id: TransportId::new(format!("t{number}")),
            session: SessionId::new(format!("s{}", number / 10)),
            connection: ConnectionId::new("c"),
            local_ice: IceCredentials {
                ufrag: format!("ufrag{number}"),
                pwd: "0123456789012345678901".into(),
            },
            remote_ice: None,
            remote_fingerprints: Vec::new(),
        })
    };
    world.link.put_all((0..MANY).map(wanted));
    world.wait_for_metric("ringcast_node_transports", "state=\"new\"", |count| {
        count == MANY as f64
    });
    world.wait_until("all are reported", || world.link.reports().len() == MANY);
    world.link.change(link::desired::DesiredState::clear);
    world.wait_for_metric("ringcast_node_transports", "", |count| count == 0.0);
    world.wait_until("none is reported", || world.link.reports().is_empty());
}

#[test]
fn a_bad_start_says_what_is_wrong_and_what_to_do() {
    let run = |flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringcast-node"))
            .args(flags)
            .output()
            .expect("the program starts");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (fine, said) = run(&["--pki", "/nonexistent", "--node-id", "n"]);
    assert!(
        !fine && said.contains("/nonexistent/ca.pem") && said.contains("ringcast-master pki init"),
        "{said}"
    );
    let (fine, said) = run(&["--workers", "3", "--base-port", "65534", "--check"]);
    assert!(!fine && said.contains("media.base_port"), "{said}");
    let (fine, said) = run(&["--advertise", "192.0.2.1", "--check"]);
    assert!(fine, "{said}");
    let (fine, said) = run(&["--log-level", "loud=!", "--check"]);
    assert!(!fine && said.contains("log.level"), "{said}");
}

#[test]
fn a_key_of_another_certificate_is_called_that() {
    let directory = std::env::temp_dir().join(format!("ringcast-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("created");
    let authority = Authority::generate("test").expect("randomness");
    authority.store(&directory).expect("stored");
    for name in ["n", "m"] {
        let identity = authority.issue_node(name).expect("issued");
        identity.store(&directory, name).expect("stored");
    }
    let [media, link] = [(); 2].map(|()| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.local_addr().expect("bound")
    });
    let run = |key: &str, flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringcast-node"))
            .args(["--node-id", "n", "--workers", "1", "--arena", "4MiB"])
            .args(["--bind", "127.0.0.1", "--pki"])
            .arg(&directory)
            .arg("--key")
            .arg(directory.join(key))
            .args(["--base-port", &media.port().to_string()])
            .args(["--link-listen", &link.to_string()])
            .args(flags)
            .output()
            .expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (told, said) = (text(&output.stdout), text(&output.stderr));
        (output.status.code(), told, said)
    };
    for flags in [&[][..], &["--check-config"]] {
        let (status, told, said) = run("m.key", flags);
        assert_eq!((status, told.as_str()), (Some(1), ""), "{flags:?}: {said}");
        assert!(said.contains("pki node --id n"), "{flags:?}: {said}");
        assert!(!said.contains("--link-listen"), "{flags:?}: {said}");
    }
    // What is checked is what reading them again tries: all the files.
    let (status, told, said) = run("n.key", &["--check-config"]);
    assert_eq!((status, told.as_str()), (Some(0), "ok\n"), "{said}");
    std::fs::remove_file(directory.join("ca.pem")).expect("removed");
    let (status, _, said) = run("n.key", &["--check-config"]);
    assert!(status == Some(1) && said.contains("ca.pem"), "{said}");
    std::fs::remove_dir_all(&directory).expect("removed");
}
