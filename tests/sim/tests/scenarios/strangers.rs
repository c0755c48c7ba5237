//! People who want something else.

use clock::Duration;
use sfu::discard::DropReason;
use sim::{Settings, Simulation, over_seeds};

use crate::{due_pictures, good, millis, style_of};

#[test]
fn media_cannot_be_pointed_at_a_victim() {
    over_seeds("media_cannot_be_pointed_at_a_victim", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (_, stream) = simulation.publish(good(), style);
        // A valid subscriber who would rather have its media sent to somebody else.
        let attacker = simulation.subscribe(good(), stream);
        let (host, _) = simulation.add_host(good(), good());
        let (victim, address) = simulation.add_host(good(), good());
        // And one that never was anywhere else.
        let (second, elsewhere) = simulation.add_host(good(), good());
        let homeless = simulation.subscribe(good(), stream);
        simulation.vanish(homeless);
        simulation.run(millis(1_500));
        let lies = 1 + simulation.rng.below(30);
        for _ in 0..lies {
            simulation.send_false_check(attacker, host, address);
            simulation.send_false_check(homeless, host, elsewhere);
            let pause = simulation.rng.below(200);
            simulation.run(millis(pause));
        }
        simulation.run(Duration::from_secs(5));
        for (victim, transport) in [(victim, attacker), (second, homeless)] {
            let seen = simulation.network().seen(victim);
            assert_eq!(seen.other, 0, "{transport:?}: not one packet of media");
            // An answer to every check, and our question a few times.
            assert!(seen.stun >= lies, "{seen:?}");
            assert!(
                seen.stun <= 2 * lies + 6,
                "{seen:?} for {lies} checks of {transport:?}"
            );
        }
        let sink = simulation.sink(attacker);
        let newest = simulation.now();
        assert!(sink.newest().is_some(), "at {newest:?}");
        simulation.finish();
    });
}

#[test]
fn garbage_changes_nothing() {
    over_seeds("garbage_changes_nothing", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let receiver = simulation.subscribe(good(), stream);
        let (host, _) = simulation.add_host(good(), good());
        // One of them never repeats what somebody said, so nothing of its makes it known.
        let (stranger, _) = simulation.add_host(good(), good());
        simulation.send_bytes(stranger, None, vec![0x80; 40]);
        simulation.run(millis(500));
        for _ in 0..400 {
            throw(&mut simulation, host);
            simulation.run(millis(8));
        }
        simulation.run(millis(500));
        let sink = simulation.sink(receiver);
        let due = due_pictures(&simulation, publisher, sink, millis(400));
        assert!(due.len() > 60);
        let shown = due.iter().all(|number| sink.decoded.contains(number));
        assert!(shown, "the call does not notice");
        sink.check_order();
        assert_eq!((sink.nacked, sink.needless), (0, 0));
        let drops = &simulation.node.stats().drops;
        for reason in [
            DropReason::UnknownProtocol,
            DropReason::Stranger,
            DropReason::Unauthentic,
            DropReason::Replay,
        ] {
            assert!(drops.of(reason) > 0, "{reason:?} is counted");
        }
        simulation.finish();
    });
}

/// Noise, or something that somebody said before: changed, repeated, under a false address or not.
fn throw(simulation: &mut Simulation, host: sim::HostId) {
    let overheard = simulation.overhear();
    let rng = &mut simulation.rng;
    let (source, mut bytes) = match overheard {
        Some((source, bytes)) if rng.below(4) > 0 => (Some(source), bytes),
        _ => {
            let mut noise = vec![0; rng.below(1_400) as usize];
            rng.fill(&mut noise);
            (None, noise)
        }
    };
    match rng.below(4) {
        0 if !bytes.is_empty() => {
            // A packet with its old number is a replay before it is anything else, so half of the changes are in the header.
            let header = bytes.len().min(12);
            let within = [header, bytes.len()][rng.below(2) as usize];
            let at = rng.below(within as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        1 if !bytes.is_empty() => {
            let len = rng.below(bytes.len() as u64) as usize;
            bytes.truncate(len);
        }
        2 => bytes.extend([0; 7]),
        _ => {}
    }
    // From the liar's own address now and then.
    let source = source.filter(|_| rng.below(3) > 0);
    simulation.send_bytes(host, source, bytes);
}
