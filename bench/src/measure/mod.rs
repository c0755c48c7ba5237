//! What a run cost: processor time of processes and of the machine, memory, and what machine it was.

mod machine;
mod memory;
mod processor;

pub use machine::Machine;
pub use memory::Memory;
pub use processor::{Busy, own_time, process_time, thread_time};
