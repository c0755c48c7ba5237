use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::state::{CloseReason, TransportId, TransportReport, TransportState};

fn report(name: u16, worker: u16) -> Report {
    Report::Transport(TransportReport {
        id: TransportId::new(format!("t{name}")),
        worker,
        addresses: Vec::new(),
        state: TransportState::Closed {
            reason: CloseReason::Removed,
        },
        since: None,
        trouble: None,
    })
}

fn key(name: u16) -> Key {
    report(name, 0).key()
}

/// What may happen to a pair of maps and the connection between them.
#[derive(Clone, Debug)]
enum Act {
    Put(u16, u16),
    /// Many at once, so that messages come in parts.
    PutRange(u16, u16),
    Remove(u16),
    Send,
    Deliver,
    /// The next message arrives and arrives again.
    DeliverTwice,
    /// One that has arrived before on this connection comes back.
    Repeat,
    Disconnect,
    Reconnect,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0u16..20, 0u16..4).prop_map(|(name, value)| Act::Put(name, value)),
        1 => (0u16..700, 0u16..4).prop_map(|(count, value)| Act::PutRange(count, value)),
        3 => (0u16..20).prop_map(Act::Remove),
        4 => Just(Act::Send),
        4 => Just(Act::Deliver),
        1 => Just(Act::DeliverTwice),
        1 => Just(Act::Repeat),
        1 => Just(Act::Disconnect),
        2 => Just(Act::Reconnect),
    ]
}

/// Two maps, a wire, and a third map that is kept by steps alone.
struct World {
    source: Source<Report>,
    replica: Replica<Report>,
    wire: VecDeque<Update<Report>>,
    arrived: Vec<Update<Report>>,
    connected: bool,
    by_steps: BTreeMap<Key, Report>,
}

impl World {
    fn act(&mut self, act: Act) {
        match act {
            Act::Put(name, value) => {
                self.source.put(report(name, value));
            }
            Act::PutRange(count, value) => {
                for name in 0..count {
                    self.source.put(report(name, value));
                }
            }
            Act::Remove(name) => {
                self.source.remove(&key(name));
            }
            Act::Send => self.wire.extend(self.source.poll()),
            Act::Deliver | Act::DeliverTwice => {
                if let Some(update) = self.wire.pop_front() {
                    self.deliver(update.clone());
                    if matches!(act, Act::DeliverTwice) {
                        self.deliver(update.clone());
                    }
                    self.arrived.push(update);
                }
            }
            Act::Repeat => {
                // Parts of an unfinished snapshot are idempotent too; deltas only once the snapshot is whole.
                if let Some(update) = self
                    .arrived
                    .first()
                    .cloned()
                    .filter(|_| !self.replica.awaits_snapshot())
                {
                    self.deliver(update);
                }
            }
            Act::Disconnect => self.disconnect(),
            Act::Reconnect => {
                self.disconnect();
                self.connected = true;
                self.source.on_connected();
                self.replica.on_connected(false);
            }
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.wire.clear();
        self.arrived.clear();
        self.source.on_disconnected();
    }

    fn deliver(&mut self, update: Update<Report>) {
        let steps = match update {
            Update::Snapshot(part) => self.replica.on_snapshot(part),
            Update::Delta(delta) => self
                .replica
                .on_delta(delta)
                .expect("nothing is missing in order"),
        };
        for step in steps {
            let before = match &step {
                Step::Add(new) => self.by_steps.insert(new.key(), new.clone()),
                Step::Change { old, new } => {
                    assert_ne!(old, new, "a step that changes nothing");
                    let before = self.by_steps.insert(new.key(), new.clone());
                    assert_eq!(before.as_ref(), Some(old));
                    continue;
                }
                Step::Remove(old) => {
                    assert_eq!(self.by_steps.remove(&old.key()).as_ref(), Some(old));
                    continue;
                }
            };
            assert_eq!(before, None, "added twice");
        }
    }

    fn settle(&mut self) {
        if !self.connected {
            self.act(Act::Reconnect);
        }
        while let Some(update) = self.source.poll() {
            self.wire.push_back(update);
        }
        while let Some(update) = self.wire.pop_front() {
            self.deliver(update);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_history_ends_in_equal_maps(acts in prop::collection::vec(act(), 0..60)) {
        let mut world = World {
            source: Source::new(),
            replica: Replica::new(),
            wire: VecDeque::new(),
            arrived: Vec::new(),
            connected: false,
            by_steps: BTreeMap::new(),
        };
        for act in acts {
            world.act(act);
        }
        world.settle();
        let source: Vec<_> = world.source.values().collect();
        prop_assert_eq!(&source, &world.replica.values().collect::<Vec<_>>());
        prop_assert_eq!(&source, &world.by_steps.values().collect::<Vec<_>>());
        prop_assert_eq!(world.source.revision(), world.replica.revision());
        prop_assert!(world.source.poll().is_none());
    }
}

#[test]
fn a_missing_change_is_noticed() {
    let (mut source, mut replica) = (Source::new(), Replica::new());
    source.on_connected();
    replica.on_connected(true);
    let Some(Update::Snapshot(part)) = source.poll() else {
        panic!("a connection begins with a snapshot")
    };
    assert_eq!(replica.on_snapshot(part), []);
    source.put(report(1, 1));
    let _lost = source.poll();
    source.put(report(2, 1));
    let Some(Update::Delta(delta)) = source.poll() else {
        panic!("a change is to be told")
    };
    assert_eq!(replica.on_delta(delta), Err(Gap { from: 1, have: 0 }));
}

#[test]
fn what_is_gone_and_what_is_new_come_in_an_order_that_can_be_carried_out() {
    use crate::state::{Publisher, PublisherId};
    let transport = |name: u16| report(name, 0);
    let refused = |name: &str| {
        let publisher = Publisher {
            id: PublisherId::new(name),
            transport: TransportId::new("t"),
            media: Vec::new(),
        };
        Report::Refused(crate::state::Refusal {
            key: Key::Publisher(publisher.id),
            limit: String::new(),
        })
    };
    let old = [transport(1), refused("a")]
        .map(|value| (value.key(), value))
        .into();
    let new = [transport(2), refused("b")]
        .map(|value| (value.key(), value))
        .into();
    let steps = differences(old, &new);
    let expected = [
        Step::Remove(refused("a")),
        Step::Remove(transport(1)),
        Step::Add(transport(2)),
        Step::Add(refused("b")),
    ];
    assert_eq!(steps, expected);
}
