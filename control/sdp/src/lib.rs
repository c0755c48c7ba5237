//! SDP offers and answers as typed media parameters.
//!
//! Browsers describe what they send and want to receive in SDP (RFC 8866) by the offer/answer rules of WebRTC
//! (RFC 3264, RFC 9429). This crate reads such text ([`RemoteDescription`]), writes ours, and says what both ends then
//! agree on: [`answer_publisher`] for a stream that comes in, [`offer_subscriber`] with [`accept_answer`] or
//! [`answer_subscriber`] for a copy that goes out. We are always ICE-lite (RFC 8445 §2.5), bundle everything on one
//! transport (RFC 9143), multiplex RTCP (RFC 5761) and let the peer start DTLS (RFC 5763 §5).
//!
//! The text comes from strangers: its size is bounded, no input panics, and every error names the line.

#![forbid(unsafe_code)]

mod answer;
mod candidate;
mod codecs;
mod error;
mod extensions;
mod fuzz;
mod lexer;
mod model;
mod offer;
mod parse;
mod print;
mod remote;
mod session;
mod write;

pub use answer::{answer_loopback, answer_publisher, answer_subscriber};
pub use candidate::{Address, Candidate, CandidateType, Protocol, parse_candidate};
pub use codecs::{CodecPreferences, VideoCodec};
pub use error::Error;
#[doc(hidden)]
pub use fuzz::fuzz;
pub use lexer::{MAX_BYTES, MAX_LINES, MAX_MEDIA};
pub use model::{
    Codec, CodecMapping, Encoding, Extension, Feedback, Fingerprint, IceCredentials, Kind,
    LocalParameters, Msid, PublishParameters, PublishedMedia, SubscribeMedia, SubscribeParameters,
    SubscribedMedia,
};
pub use offer::{Offered, accept_answer, offer_subscriber};
pub use remote::{
    Direction, MediaType, RemoteDescription, RemoteExtension, RemoteMedia, Rid, Setup, Ssrc,
    SsrcGroup,
};
pub use session::{Attribute, MediaSection, Session};
