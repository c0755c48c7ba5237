//! The protocols of real-time media as sans-IO state machines.
//!
//! One file is one idea and carries the name that its RFC gives it. Everything here takes bytes and a time and gives
//! bytes and deadlines; there is no clock, socket, thread or lock. What comes from the network may be anything, so no
//! parser indexes, unwraps or overflows: the lints below hold that outside tests.
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod bwe;
pub mod codec;
pub mod demux;
pub mod dtls;
pub mod ice;
pub mod loss;
pub mod rtcp;
pub mod rtp;
pub mod rtx;
pub mod srtp;
pub mod stun;
pub mod twcc;
