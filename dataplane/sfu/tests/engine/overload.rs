//! A driver that takes nothing for a while.

use clock::Duration;
use packet::{ArenaSize, BurstsSize};
use sfu::discard::{DropReason, Stage};

use crate::harness::{Net, call, config, out_ssrcs};

#[test]
fn what_the_node_says_has_room_while_a_driver_stands_still() {
    let arena = ArenaSize {
        slots: 4096,
        small_slots: 300,
        reserve: 512,
    };
    let bursts = BurstsSize {
        chunks: 64,
        bursts: 400,
    };
    let mut net = Net::sized(config(), arena, bursts);
    let (mut source, receivers) = call(&mut net, 20);
    let said = |net: &Net| net.engine.stats().stage(Stage::Control).packets_out;
    let before = said(&net);
    net.stands_still = true;
    for _ in 0..1_500 {
        source.audio(&mut net);
        net.receive();
        net.flush();
        assert_eq!(
            net.engine.stats().stage(Stage::Rewrite).held,
            net.engine.waiting_copies()
        );
        net.now += Duration::from_millis(1);
    }
    let drops = &net.engine.stats().drops;
    assert_eq!(drops.at(Stage::Control), 0, "nothing of the node's own");
    let reports = said(&net) - before;
    assert!(reports > 20, "only {reports} messages");
    assert!(drops.at(Stage::Rewrite) == 0 && net.engine.waiting_copies() > 20_000);
    let heard = |net: &Net| {
        let peers = receivers.iter().map(|receiver| &net.peers[*receiver]);
        let sounds = peers.zip(&receivers);
        sounds
            .map(|(peer, receiver)| peer.of(out_ssrcs(*receiver).0).len())
            .sum::<usize>()
    };
    let heard_before = heard(&net);

    net.stands_still = false;
    net.flush();
    let sent = heard(&net) - heard_before;
    // The last 200 ms of each, but for what had no room any more.
    assert!((1..=20 * 201).contains(&sent), "{sent} sounds left");
    assert!(net.stat(DropReason::Stale) > 10_000);
    for receiver in &receivers {
        assert!(!net.peers[*receiver].rtcp.is_empty(), "a report came");
    }
    source.audio(&mut net);
    let before = heard(&net);
    net.turn();
    assert_eq!(heard(&net), before + 20, "and it goes on");
    net.finish();
}
