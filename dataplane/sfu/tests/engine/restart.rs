//! ICE restarted on a transport that goes on.

use std::net::SocketAddr;

use clock::Rng;
use proto::ice::Credentials;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use sfu::api::*;
use sfu::discard::DropReason;

use crate::harness::*;

/// Both sides' new credentials, as the node is told of them.
fn restart(net: &mut Net, peer: usize, seed: u64) -> (Credentials, Credentials) {
    let mut rng = Rng::from_number(seed);
    let (node, own) = (
        Credentials::generate(&mut rng),
        Credentials::generate(&mut rng),
    );
    let pair = |of: &Credentials| (of.ufrag().to_owned(), of.password().to_owned());
    net.command(Command::RestartIce(Box::new(IceRestart {
        transport: net.peers[peer].id,
        local: pair(&node),
        remote: pair(&own),
    })));
    (node, own)
}

/// The peer has taken them up, at another address.
fn follow(net: &mut Net, peer: usize, (node, own): (Credentials, Credentials), last: u8) {
    let config = IceConfig::default();
    let rng = Rng::from_number(u64::from(last));
    let ice = Controlling::new(net.now, own, node, NODE.into(), config, rng).unwrap();
    net.peers[peer].ice = Some(ice);
    net.peers[peer].address = SocketAddr::from(([203, 0, 113, last], 6_000));
}

fn pictures(net: &mut Net, source: &mut Source, receiver: usize, frames: usize) -> usize {
    let video = out_ssrcs(receiver).1;
    let before = net.peers[receiver].of(video).len();
    for _ in 0..frames {
        source.frame(net, false, &[]);
        net.run(20);
    }
    (net.peers[receiver].of(video).len() - before) / usize::from(PACKETS_PER_FRAME)
}

#[test]
fn media_goes_on_during_a_restart_and_after_it() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let (publisher, receiver) = (source.peer, receivers[0]);
    for (nth, peer) in [(1, receiver), (2, publisher)] {
        let old = net.peers[peer].node_credentials.ufrag().to_owned();
        let credentials = restart(&mut net, peer, 70 + u64::from(nth));
        // The peer has not heard of it: the old way is as good as before.
        assert_eq!(pictures(&mut net, &mut source, receiver, 200), 200);
        assert_eq!(net.stat(DropReason::StunUnknownUfrag), 0);
        follow(&mut net, peer, credentials, nth);
        net.run(100);
        assert_eq!(pictures(&mut net, &mut source, receiver, 50), 50);
        // Nobody else may have the ufrag while it is in use, and somebody may when the transport is gone.
        let taken = TransportSpec {
            id: TransportId(900 + u64::from(nth)),
            connection: None,
            local_ufrag: old,
            local_pwd: "0123456789012345678901".into(),
            remote: None,
        };
        net.command(Command::AddTransport(Box::new(taken)));
        assert!(matches!(net.events.last(), Some(Event::Refused { .. })));
    }
    assert_eq!(
        pictures(&mut net, &mut source, receiver, 400),
        400,
        "and long after it"
    );
    net.finish();
}

#[test]
fn restarts_in_a_row_leave_no_names_behind() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let receiver = receivers[0];
    let mut names = vec![net.peers[receiver].node_credentials.ufrag().to_owned()];
    let mut last = None;
    for seed in 1_000..1_020 {
        let credentials = restart(&mut net, receiver, seed);
        names.push(credentials.0.ufrag().to_owned());
        last = Some(credentials);
    }
    // What never worked is gone, what works goes on, and the newest is taken.
    assert_eq!(pictures(&mut net, &mut source, receiver, 20), 20);
    follow(&mut net, receiver, last.unwrap(), 9);
    net.run(100);
    assert_eq!(pictures(&mut net, &mut source, receiver, 20), 20);
    net.command(Command::RemoveTransport(net.peers[receiver].id));
    for (nth, name) in names.into_iter().enumerate() {
        let id = TransportId(800 + nth as u64);
        net.command(Command::AddTransport(Box::new(TransportSpec {
            id,
            connection: None,
            local_ufrag: name,
            local_pwd: "0123456789012345678901".into(),
            remote: None,
        })));
        let last = net.events.last();
        assert!(
            !matches!(last, Some(Event::Refused { .. })),
            "{nth}: {last:?}"
        );
        net.command(Command::RemoveTransport(id));
    }
    net.finish();
}
