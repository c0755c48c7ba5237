//! What is taken off nodes waits until the disk has it.
//!
//! Whatever is put on a node too early does no harm: a master that dies before it has written that down has it taken off when it comes
//! back. What was taken off too early could not be put back, for the peer's keys are gone with it, and calls would be silent that
//! go on by all that the next life of the master knows.

use std::collections::{BTreeMap, VecDeque};

use link::{Change, Entry, Key};

use crate::domain::NodeId;

/// Removals that wait for their commit, in the order of the steps.
#[derive(Debug, Default)]
pub struct Held {
    waiting: VecDeque<(u64, NodeId, Vec<Key>)>,
}

impl Held {
    /// Splits what a step orders: what may go to the nodes at once is answered, the rest waits for [`wait`](Self::wait).
    pub fn split(
        &mut self,
        changes: impl IntoIterator<Item = (NodeId, Change<Entry>)>,
    ) -> (Orders, Removals) {
        let (mut orders, mut removals) = (Orders::new(), Removals::new());
        for (node, change) in changes {
            match change {
                Change::Put(entry) => {
                    self.is_back(&node, &entry.key());
                    if let Some(keys) = removals.get_mut(&node) {
                        keys.retain(|key| *key != entry.key());
                    }
                    orders.entry(node).or_default().push(Change::Put(entry));
                }
                Change::Remove(key) => removals.entry(node).or_default().push(key),
            }
        }
        (orders, removals)
    }

    /// These wait until the batch of that number is on the disk.
    pub fn wait(&mut self, number: u64, removals: Removals) {
        let removals = removals.into_iter().filter(|(_, keys)| !keys.is_empty());
        let waiting = removals.map(|(node, keys)| (number, node, keys));
        self.waiting.extend(waiting);
    }

    /// Those whose batch is on the disk.
    pub fn take_written(&mut self, is_written: impl Fn(u64) -> bool) -> Orders {
        let mut orders = Orders::new();
        while let Some((_, node, keys)) = self
            .waiting
            .pop_front_if(|(number, ..)| is_written(*number))
        {
            let removals = keys.into_iter().map(Change::Remove);
            orders.entry(node).or_default().extend(removals);
        }
        orders
    }

    /// Something waits for that node.
    pub fn waits_for(&self, node: &NodeId) -> bool {
        self.waiting.iter().any(|(_, waiting, _)| waiting == node)
    }

    /// What is put anew is not to be taken off by an older order.
    fn is_back(&mut self, node: &NodeId, key: &Key) {
        for (_, _, keys) in self.waiting.iter_mut().filter(|(_, at, _)| at == node) {
            keys.retain(|waiting| waiting != key);
        }
    }
}

/// What goes to nodes, for each in its order.
pub type Orders = BTreeMap<NodeId, Vec<Change<Entry>>>;
/// What is to be taken off nodes.
pub type Removals = BTreeMap<NodeId, Vec<Key>>;

#[cfg(test)]
mod tests {
    use link::{PublisherId, TransportId};

    use super::*;

    fn publisher(id: &str) -> Entry {
        Entry::Publisher(link::Publisher {
            id: PublisherId::new(id),
            transport: TransportId::new("t"),
            media: Vec::new(),
        })
    }

    fn put(node: &str, id: &str) -> (NodeId, Change<Entry>) {
        (NodeId::new(node), Change::Put(publisher(id)))
    }

    fn remove(node: &str, id: &str) -> (NodeId, Change<Entry>) {
        (NodeId::new(node), Change::Remove(publisher(id).key()))
    }

    fn ordered(orders: &Orders) -> Vec<(&str, String)> {
        let all = orders.iter();
        let all = all.flat_map(|(node, some)| some.iter().map(|one| (node.as_str(), one)));
        let word = |change: &Change<Entry>| match change {
            Change::Put(entry) => format!("put {:?}", entry.key()),
            Change::Remove(key) => format!("remove {key:?}"),
        };
        all.map(|(node, one)| (node, word(one))).collect()
    }

    #[test]
    fn what_comes_goes_at_once_and_what_goes_waits_for_the_disk() {
        let mut held = Held::default();
        let (orders, removals) = held.split([remove("a", "old"), put("a", "new")]);
        assert_eq!(ordered(&orders).len(), 1);
        held.wait(3, removals);
        let (_, removals) = held.split([remove("b", "old")]);
        held.wait(4, removals);
        assert_eq!(held.take_written(|number| number <= 2), Orders::new());
        assert!(held.waits_for(&NodeId::new("a")) && held.waits_for(&NodeId::new("b")));
        let written = held.take_written(|number| number <= 3);
        assert_eq!(
            written,
            Orders::from([(NodeId::new("a"), vec![remove("a", "old").1])])
        );
        assert!(!held.waits_for(&NodeId::new("a")) && held.waits_for(&NodeId::new("b")));
        assert_eq!(ordered(&held.take_written(|_| true)).len(), 1);
    }

    #[test]
    fn what_is_put_anew_is_not_taken_off_by_an_older_order() {
        let mut held = Held::default();
        let (_, removals) = held.split([remove("a", "p"), remove("a", "q"), remove("b", "p")]);
        held.wait(1, removals);
        let (orders, removals) = held.split([remove("a", "r"), put("a", "p"), put("a", "r")]);
        held.wait(2, removals);
        assert_eq!(ordered(&orders).len(), 2);
        let written = held.take_written(|_| true);
        let left = [("a", "q"), ("b", "p")];
        let left = left.map(|(node, id)| (NodeId::new(node), vec![remove(node, id).1]));
        assert_eq!(written, Orders::from(left));
    }
}
