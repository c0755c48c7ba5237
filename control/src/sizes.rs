//! How many people sessions have at their greatest.
//!
//! Prometheus asks now and then, and calls come and go in between; so a session is counted when it is over, with the most who were in it at
//! a time.

use std::collections::HashMap;

use crate::domain::SessionId;

/// The greatest sizes of the sessions that there are.
#[derive(Debug, Default)]
pub struct Sizes {
    greatest: HashMap<SessionId, u32>,
}

impl Sizes {
    /// A session has so many people now. One that nobody has joined is none.
    pub fn is(&mut self, session: &SessionId, people: u32) {
        match self.greatest.get_mut(session) {
            Some(greatest) => *greatest = people.max(*greatest),
            None if people > 0 => drop(self.greatest.insert(session.clone(), people)),
            None => {}
        }
    }

    /// A session is over; how many people it had at its greatest, if anybody ever joined.
    pub fn over(&mut self, session: &SessionId) -> Option<u32> {
        self.greatest.remove(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_size_is_kept_until_the_end() {
        let (mut sizes, session) = (Sizes::default(), SessionId::new("S"));
        for people in [0, 1, 3, 2, 0] {
            sizes.is(&session, people);
        }
        assert_eq!(sizes.over(&session), Some(3));
        assert_eq!(sizes.over(&session), None);
        sizes.is(&session, 0);
        assert_eq!(sizes.over(&session), None, "nobody has joined");
    }
}
