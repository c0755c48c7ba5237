//! What an autoscaler sees and does.

use super::{What, World};
use crate::autoscale::{EVERY, Order, Seen};
use crate::node::{Node, Reading};
use crate::policy::Standing;

impl World<'_> {
    pub(super) fn scale(&mut self) {
        self.at(self.now + EVERY, What::Scale);
        self.end_drained();
        let seen = self.seen();
        let Some(autoscaler) = &mut self.autoscaler else {
            return;
        };
        for order in autoscaler.look(self.now, &seen) {
            match order {
                Order::Add { size, after } => self.add(size, after),
                Order::Drain(node) => self.drain(node),
            }
        }
    }

    fn seen(&self) -> Vec<Seen> {
        let up = (0..).zip(&self.nodes).filter(|(_, node)| node.up);
        up.map(|(number, node)| Seen {
            node: number,
            size: node.packets() / self.setting.unit,
            drains: self.drains.contains(&number),
            sessions: node.sessions.len(),
            reading: Some(self.told[number as usize])
                .filter(|reading| *reading != Reading::default()),
        })
        .collect()
    }

    fn add(&mut self, size: f64, after: u64) {
        let number = self.nodes.len() as u32;
        self.nodes.push(Node::new(size * self.setting.unit));
        self.lives_of.push(0);
        self.answers.push(None);
        self.told.push(Reading::default());
        self.lost.push(Vec::new());
        self.at(self.now + after, What::Added(number));
    }

    fn drain(&mut self, node: u32) {
        let is_up = self.nodes.get(node as usize).is_some_and(|of| of.up);
        if is_up && self.drains.insert(node) {
            self.policy.node(self.now, node, Standing::Drains);
        }
    }

    /// Who died meanwhile is drained as well.
    fn end_drained(&mut self) {
        for node in std::mem::take(&mut self.drains) {
            let of = &self.nodes[node as usize];
            if of.up && of.sessions.is_empty() {
                self.stop(node);
                self.noticed(node);
            } else if of.up {
                self.drains.insert(node);
            }
        }
    }
}
