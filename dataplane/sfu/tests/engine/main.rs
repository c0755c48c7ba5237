//! The engine from outside: simulated browsers, real SRTP, virtual time.

mod abuse;
mod capture;
mod congestion;
#[path = "../../../net/tests/counting/mod.rs"]
mod counting;
mod crossings;
mod described;
mod draining;
mod feedback;
mod forwarding;
mod garbage;
mod harness;
mod layers;
mod liars;
mod overload;
mod playout;
mod restart;
mod sharing;
mod simulcast;
mod sound;
mod standing;
mod statistics;
mod strangers;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;
