//! Which node takes a session: a pure function of what is known of them.

use super::Health;
use crate::domain::{NodeId, Occupancy};

/// A node as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: NodeId,
    /// How it is.
    pub health: Health,
    /// What is on it.
    pub occupancy: Occupancy,
}

/// Why no node takes a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// Not one is up.
    #[error("no media node is available")]
    NoneUp,
    /// The one that was asked for is not up.
    #[error("media node '{0}' is not available")]
    WantedNotUp(NodeId),
}

/// The wanted node, or the one with the fewest streams; among equals the one with the fewest sessions, then the first.
///
/// Sessions count because streams come after them: many that begin at once must not all go to the same node.
///
/// # Errors
/// [`NoNode`] when nobody can.
pub fn choose(candidates: &[Candidate], wanted: Option<&NodeId>) -> Result<NodeId, NoNode> {
    let up = candidates.iter().filter(|one| one.health == Health::Up);
    match wanted {
        Some(wanted) => up
            .map(|one| &one.id)
            .find(|id| *id == wanted)
            .cloned()
            .ok_or_else(|| NoNode::WantedNotUp(wanted.clone())),
        None => up
            .min_by_key(|one| one.occupancy)
            .map(|one| one.id.clone())
            .ok_or(NoNode::NoneUp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, health: Health, streams: usize) -> Candidate {
        Candidate {
            id: NodeId::new(id),
            health,
            occupancy: Occupancy {
                streams,
                sessions: 1,
            },
        }
    }

    #[test]
    fn the_emptiest_of_those_that_are_up() {
        let nodes = [
            candidate("a", Health::Suspect, 0),
            candidate("b", Health::Up, 7),
            candidate("c", Health::Up, 3),
            candidate("d", Health::Up, 3),
        ];
        assert_eq!(choose(&nodes, None), Ok(NodeId::new("c")));
        let mut crowded = nodes.clone();
        crowded[2].occupancy.sessions = 2;
        assert_eq!(choose(&crowded, None), Ok(NodeId::new("d")));
        assert_eq!(
            choose(&nodes, Some(&NodeId::new("b"))),
            Ok(NodeId::new("b"))
        );
        let wanted = NodeId::new("a");
        assert_eq!(
            choose(&nodes, Some(&wanted)),
            Err(NoNode::WantedNotUp(wanted))
        );
        assert_eq!(choose(&nodes[..1], None), Err(NoNode::NoneUp));
    }
}
