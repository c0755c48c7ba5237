//! Which session is where, and how large it is: what a rule may count itself.

use std::collections::HashMap;

use scheduler::Shape;

/// Sessions by number.
#[derive(Clone, Debug, Default)]
pub struct Counts(HashMap<u32, (u32, Shape)>);

impl Counts {
    /// A session is on a node now.
    pub fn put(&mut self, session: u32, node: u32) {
        self.0.insert(session, (node, Shape::default()));
    }

    /// Where a session is, and what it was until now.
    pub fn reshape(&mut self, session: u32, shape: Shape) -> Option<(u32, Shape)> {
        let (node, of) = self.0.get_mut(&session)?;
        Some((*node, std::mem::replace(of, shape)))
    }

    /// It is nowhere any more; where and what it was.
    pub fn take(&mut self, session: u32) -> Option<(u32, Shape)> {
        self.0.remove(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::shape;

    #[test]
    fn a_session_is_known_from_when_it_is_put_until_it_is_taken() {
        let mut counts = Counts::default();
        assert_eq!(counts.reshape(1, shape(2, 2)), None);
        counts.put(1, 7);
        assert_eq!(counts.reshape(1, shape(2, 2)), Some((7, Shape::default())));
        assert_eq!(counts.reshape(1, shape(3, 3)), Some((7, shape(2, 2))));
        assert_eq!(counts.take(1), Some((7, shape(3, 3))));
        assert_eq!(counts.take(1), None);
    }
}
