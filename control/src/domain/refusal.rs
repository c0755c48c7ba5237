//! Why a request is refused: OpenVidu's numbered errors.

use std::fmt;

/// The number of an error, as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The connection is not in the session.
    UserNotFound = 102,
    /// The connection is in the session already.
    UserExists = 104,
    /// The connection publishes nothing.
    UserNotStreaming = 105,
    /// The connection publishes already.
    UserStreaming = 106,
    /// There is no such session.
    SessionNotFound = 202,
    /// No media node can take the session.
    NoMediaNode = 204,
    /// The session description can't be used.
    Sdp = 302,
    /// The media node could not do it.
    MediaEndpoint = 303,
    /// Not allowed. The only code that clients treat in a special way.
    Unauthorized = 401,
    /// There is no filter to act on.
    FilterNotApplied = 406,
    /// There are as many as there may be.
    Limit = 429,
    /// A signal is malformed.
    SignalFormat = 600,
    /// A signal is for somebody who is not here.
    SignalTo = 601,
    /// The forced codec is not in the offer.
    ForcedCodec = 800,
    /// The request is malformed.
    TransportRequest = 801,
    /// A method that needs a joined connection came before it.
    TransportGeneric = 803,
    /// The service is not there.
    NotEnabled = 996,
    /// Anything else.
    Generic = 999,
    /// The RPC session to resume is gone.
    Reconnection = 40007,
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number.
    pub code: Code,
    /// What is wrong, for a developer to read.
    pub message: String,
}

impl Refused {
    /// A refusal with that number and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Code 401: not allowed to do this.
    pub fn unauthorized(what: &str) -> Self {
        Self::new(
            Code::Unauthorized,
            format!("Unable to {what}. The user does not have a valid token"),
        )
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. Code: {}", self.message, self.code as i64)
    }
}

impl std::error::Error for Refused {}
