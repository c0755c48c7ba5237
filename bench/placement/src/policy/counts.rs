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
