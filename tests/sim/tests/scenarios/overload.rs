//! More than can leave: what waited too long does not delay what comes behind it.

use clock::Duration;
use sfu::discard::{DropReason, Stage};
use sim::{Settings, Simulation, Still, over_seeds};

use crate::{good, millis, style_of};

/// What a packet may take from one browser to another: two paths, the longest stay in the node, and a look of the driver.
const LATEST: Duration = millis(20 + 20 + 200 + 1);

#[test]
fn after_a_standstill_nothing_is_late() {
    over_seeds("after_a_standstill_nothing_is_late", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let other_style = style_of(&mut simulation);
        let (other, other_stream) = simulation.publish(good(), other_style);
        let crowd: Vec<_> = (0..40)
            .map(|nth| match nth % 4 {
                0 => (other, simulation.subscribe(good(), other_stream)),
                _ => (publisher, simulation.subscribe(good(), stream)),
            })
            .collect();
        simulation.run(millis(700));
        let what = match seed % 2 {
            0 => Still::Sending,
            _ => Still::Everything,
        };
        simulation.node.stand_still(0, what, millis(600));
        simulation.run(millis(599));
        let held = simulation.node.stats().stage(Stage::Rewrite).held;
        assert_eq!(held > 0, what == Still::Sending, "{held} copies wait");
        simulation.run(millis(1_500));

        // What the node says itself had room all the while.
        let unsaid = simulation.node.stats().drops.at(Stage::Control);
        assert_eq!(unsaid, 0, "messages of the node");
        assert!(simulation.closed.is_empty(), "{:?}", simulation.closed);
        for (publisher, receiver) in crowd {
            let (source, sink) = (simulation.source(publisher), simulation.sink(receiver));
            for (number, came) in &sink.came {
                let took = *came - source.taken[number].0;
                assert!(took <= LATEST, "picture {number} took {took:?}");
            }
            let newest = sink.newest().expect("everyone sees something");
            let taken = source.taken.len() as u32;
            assert!(newest + 3 > taken, "{newest} of {taken} after it was over");
            sink.check_order();
        }
        // Nothing was late because it was dropped, some of it after it had been written where only sending stood still.
        let expired = simulation.node.driver_stats().expired_packets;
        let stale = simulation.node.stats().drops.of(DropReason::Stale);
        match what {
            Still::Sending => assert!(stale > 0 && expired > 100, "{stale} and {expired}"),
            Still::Everything => assert!(stale > 500 && expired == 0, "{stale} and {expired}"),
        }
        simulation.finish();
    });
}
