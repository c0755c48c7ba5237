//! The forwarding engine, sans-IO.
//!
//! ```text
//! engine.command(now, command)                      orders from the agent
//! engine.receive(now, arena, batch)                 classify → unprotect → ingest → route
//! engine.on_timeout(now, arena)                     reports, NACK, consent, closing
//! engine.flush(now, arena, bursts)                  rewrite → pace → protect
//! engine.poll_event() / engine.deadline() / engine.stats()
//! ```
#![forbid(unsafe_code)]

pub mod api;
mod cache;
mod commands;
pub mod discard;
mod engine;
mod feedback;
mod model;
mod outbox;
mod path;
pub mod stats;
mod timers;

pub use engine::Engine;
