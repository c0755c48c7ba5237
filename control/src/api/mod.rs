//! What others speak with: REST for applications, JSON-RPC over WebSocket for browsers, and a page to try both.

pub mod limits;
pub mod pages;
pub mod proxies;
pub mod rest;
pub mod rpc;
pub mod urls;
