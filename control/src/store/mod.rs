//! What the master must still know after it has died: one SQLite file, written by one thread.
//!
//! A step of the master gathers all that it changes in a [`Batch`]. A batch is committed whole or not at all, in the order of the
//! steps, so a change and the events that it causes can't be separated by a crash. What is told to anybody outside waits for the
//! commit ([`Store::committed`]): batches that came meanwhile share the next one.

mod batch;
mod facts;
mod file;
mod kept;
mod writer;

pub use batch::{Batch, Row, Table};
pub use facts::Facts;
pub use file::{Error, Loaded, Reader};
pub use kept::Kept;
pub use writer::{Commits, Endings, Store, Unwritten};

#[cfg(test)]
mod tests;
