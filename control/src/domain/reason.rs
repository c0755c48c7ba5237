//! Why something ended, in OpenVidu's words. Clients hand these to applications: the list is closed.

/// Why a stream, a connection or a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The user left.
    Disconnect,
    /// The user took its stream back.
    Unpublish,
    /// The user no longer wants to receive it.
    Unsubscribe,
    /// Nobody is left in the session.
    LastParticipantLeft,
    /// A moderator disconnected the user.
    ForceDisconnectByUser,
    /// The application disconnected the user.
    ForceDisconnectByServer,
    /// A moderator took the stream down.
    ForceUnpublishByUser,
    /// The application took the stream down.
    ForceUnpublishByServer,
    /// The application closed the session.
    SessionClosedByServer,
    /// The client was lost and did not come back in time.
    NetworkDisconnect,
    /// The media node is dead.
    NodeCrashed,
    /// The media node was taken away by force.
    MediaServerDisconnect,
    /// The master shuts down in good order.
    OpenviduServerStopped,
}

impl Reason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Unpublish => "unpublish",
            Self::Unsubscribe => "unsubscribe",
            Self::LastParticipantLeft => "lastParticipantLeft",
            Self::ForceDisconnectByUser => "forceDisconnectByUser",
            Self::ForceDisconnectByServer => "forceDisconnectByServer",
            Self::ForceUnpublishByUser => "forceUnpublishByUser",
            Self::ForceUnpublishByServer => "forceUnpublishByServer",
            Self::SessionClosedByServer => "sessionClosedByServer",
            Self::NetworkDisconnect => "networkDisconnect",
            Self::NodeCrashed => "nodeCrashed",
            Self::MediaServerDisconnect => "mediaServerDisconnect",
            Self::OpenviduServerStopped => "openviduServerStopped",
        }
    }
}
