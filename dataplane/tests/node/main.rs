//! The real program, with a small master and peers that speak ICE, DTLS and SRTP over loopback.

mod call;
mod capture;
mod causes;
mod harness;
mod operation;
