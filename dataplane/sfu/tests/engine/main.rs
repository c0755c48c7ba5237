//! The engine from outside: simulated browsers, real SRTP, virtual time.

mod forwarding;
mod harness;
