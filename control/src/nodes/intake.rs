//! Whether new sessions find a node, and if not, why not.

use std::time::Instant;

use scheduler::{NoNode, Standing};

use crate::app::Core;
use crate::cluster::{Health, MediaNode, Status};

impl Core {
    /// Why no node takes new sessions, if so: how many nodes take none for which reason, such as `1 drained, 2 full`.
    pub fn takes_no_sessions(&mut self, now: Instant) -> Option<String> {
        let unplaced = self.loads.could_place(now, None).err()?;
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        let mut takes = false;
        for node in self.registry.nodes() {
            let view = self.loads.view(now, &node.id);
            match why_not(node, view.map(|view| view.standing)) {
                None => takes = true,
                Some(why) => match counts.iter_mut().find(|(one, _)| *one == why) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((why, 1)),
                },
            }
        }
        // There applications name the node of each session: it is enough that one is there.
        if unplaced == NoNode::NotNamed && takes {
            return None;
        }
        let words: Vec<_> = counts
            .iter()
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        Some(match words.is_empty() {
            true => "there is none".to_owned(),
            false => words.join(", "),
        })
    }
}

/// Why that node takes no new sessions, if so. What somebody ordered comes before what happens to it.
fn why_not(node: &MediaNode, standing: Option<Standing>) -> Option<&'static str> {
    match (node.status, standing) {
        (Status::WaitingIdleToTerminate, _) => Some("drained"),
        (status, _) if !status.takes_sessions() => Some(status.as_str()),
        _ if node.leaving => Some("about to end"),
        _ if node.health != Health::Up || node.copy_of.is_some() => Some("away"),
        (_, Some(Standing::Open | Standing::Stale)) => None,
        (_, Some(Standing::Full)) => Some("full"),
        (_, Some(Standing::Excluded)) => Some("of unknown load"),
        (_, Some(Standing::Closed) | None) => Some("closed"),
    }
}
