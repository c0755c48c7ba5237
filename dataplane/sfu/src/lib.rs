//! The forwarding engine, sans-IO.
//!
//! ```text
//! engine.command(now, command)                      orders from the agent
//! engine.take_in(now, slot, crossed)                packets of other workers, to `route`
//! engine.receive(now, arena, batch)                 classify → unprotect → ingest → route
//! engine.cross(arena, hand_over)                    packets for other workers
//! engine.on_timeout(now, arena)                     reports, NACK, consent, closing
//! engine.flush(now, arena, bursts)                  rewrite → protect
//! engine.poll_event() / engine.deadline() / engine.stats()
//! ```
//!
//! Packets arrive grouped by publisher and leave grouped by subscriber; `route` turns them around. A payload is decrypted
//! once, where it arrived, and encrypted for each subscriber straight into that one's burst. RTCP ends here on both sides.
//! Every datagram is forwarded, consumed or dropped for one named reason ([`discard::DropReason`]), and the packets of each
//! stage add up ([`stats::Stats::unbalanced`]).
#![forbid(unsafe_code)]

mod allocate;
pub mod api;
mod audit;
mod budget;
mod cache;
pub mod capture;
mod ceiling;
mod commands;
mod congestion;
pub mod discard;
mod engine;
mod feedback;
pub mod loudness;
mod model;
mod outbox;
mod pacer;
mod path;
mod playout;
mod redundancy;
mod select;
mod share;
mod standing;
pub mod statistics;
pub mod stats;
pub mod tap;
mod timers;

pub use engine::Engine;
