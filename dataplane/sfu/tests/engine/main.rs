//! The engine from outside: simulated browsers, real SRTP, virtual time.

mod feedback;
mod forwarding;
mod garbage;
mod harness;
mod overload;
mod strangers;
