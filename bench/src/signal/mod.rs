//! The signalling side of simulated browsers: what an application does with the REST API and what openvidu-browser 2.32
//! does with its WebSocket.

mod endpoint;
mod rest;
mod rpc;
mod sdp;

pub use endpoint::{Endpoint, Error};
pub use rest::{Application, Role, Token};
pub use rpc::{Browser, Joined, Published};
pub use sdp::{Offered, Peer, Remote, Section};
pub(crate) use sdp::{host_candidate, kind};
