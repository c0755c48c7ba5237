//! The master of a Ringcast cluster: it speaks the OpenVidu API with applications and browsers, and says what should be on
//! the media nodes. Media never pass through it.
//!
//! [`domain`], [`cluster`] and [`reconcile`] decide, without clocks or sockets; the rest is the shell around them.
#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod cdr;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod domain;
pub mod events;
pub mod http_client;
pub mod joins;
pub mod load_watch;
pub mod media;
pub mod metrics;
pub mod network_quality;
pub mod nodes;
pub mod outbox;
pub mod pki;
pub mod reconcile;
pub mod reload;
pub mod server;
pub mod sizes;
pub mod standing;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod turn;
pub mod webhook;
