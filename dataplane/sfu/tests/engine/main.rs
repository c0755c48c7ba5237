//! The engine from outside: simulated browsers, real SRTP, virtual time.

mod crossings;
mod feedback;
mod forwarding;
mod garbage;
mod harness;
mod layers;
mod overload;
mod simulcast;
mod strangers;
