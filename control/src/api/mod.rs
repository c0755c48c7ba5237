//! What others speak with: REST for applications, JSON-RPC over WebSocket for browsers, a page to try both, and one for operators.

pub mod inspector;
pub mod limits;
pub mod pages;
pub mod proxies;
pub mod rest;
pub mod rpc;
pub mod urls;
