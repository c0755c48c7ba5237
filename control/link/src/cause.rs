//! Why nothing flows on a transport: one closed list for log, REST, inspector and metrics, each with what it means and what mends it.
//!
//! The words are here and nowhere else. `control/TROUBLESHOOTING.md` leads from symptoms to them, and a test holds it to this list.

use serde::{Deserialize, Serialize};

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $camel:literal, $label:literal, $what:literal, $mend:literal;)*) => {
        /// Why nothing flows on a transport, or why it ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum Cause {
            $($(#[$doc])* $name,)*
            /// A cause that a later version knows.
            #[serde(other)]
            Unknown,
        }

        impl Cause {
            /// All that this version knows.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in REST and logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $camel,)*
                    Self::Unknown => "unknown",
                }
            }

            /// The label in metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                    Self::Unknown => "unknown",
                }
            }

            /// What it means, as a sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                    Self::Unknown => "The node names a cause that this master does not know.",
                }
            }

            /// What to do about it, as a sentence or two.
            pub const fn mend(self) -> &'static str {
                match self {
                    $(Self::$name => $mend,)*
                    Self::Unknown => "Update the master; the node's own log has the cause in words.",
                }
            }
        }
    };
}

causes! {
    /// No connectivity check arrived (RFC 8445 §7.3).
    NoCheck = "noCheck", "no_check",
        "No connectivity check of the client arrived.",
        "Its UDP does not reach the node: open the node's media ports, set media.advertise to the address that clients reach, or see what stands between them.";
    /// Checks of this peer name a ufrag that no transport here has (RFC 8445 §7.2.2).
    UnknownUfrag = "unknownUfrag", "unknown_ufrag",
        "Connectivity checks of the client arrive, and are for a ufrag that nobody has here.",
        "The client uses an older or another description than the one that it was answered with: let it negotiate anew.";
    /// Checks for this transport have a wrong MESSAGE-INTEGRITY (RFC 8489 §14.5).
    WrongIntegrity = "wrongIntegrity", "wrong_integrity",
        "Connectivity checks arrive with a wrong MESSAGE-INTEGRITY: the client has another ICE password.",
        "Something changes descriptions on their way, or the client mixes two of them up: let it negotiate anew.";
    /// Checks arrive, and the peer's own credentials are not known yet.
    NoRemoteDescription = "noRemoteDescription", "no_remote_description",
        "Connectivity checks arrive, and the client's own description has not come: it can't be asked back.",
        "Signalling is stuck: look for the client's answer at its WebSocket, and for errors of the master.";
    /// Valid checks arrive, and nobody answers ours: the address is not proven.
    AddressNotProven = "addressNotProven", "address_not_proven",
        "Connectivity checks arrive, and the client does not answer ours: its address is not proven.",
        "What the node sends does not reach the client: look at firewall rules for outgoing UDP, asymmetric routes, and the node's own address.";
    /// An address is proven, and no DTLS came (RFC 6347).
    NoClientHello = "noClientHello", "no_client_hello",
        "ICE works, and no DTLS ClientHello came.",
        "The client must be the active side of DTLS (a=setup:active); something that lets only STUN through stops it too.";
    /// The DTLS handshake does not get to its end.
    HandshakeUnfinished = "handshakeUnfinished", "handshake_unfinished",
        "The DTLS handshake began and does not get to its end.",
        "Flights get lost: larger datagrams may not pass (MTU), or a firewall tells DTLS from STUN.";
    /// The peer sent a fatal alert (RFC 5246 §7.2.2).
    AlertReceived = "alertReceived", "alert_received",
        "The client ended the DTLS handshake with an alert.",
        "The detail names the alert: bad_certificate is a fingerprint that does not match the description, handshake_failure that nothing fits.";
    /// The peer does not speak DTLS 1.2.
    DtlsVersion = "dtlsVersion", "dtls_version",
        "The client does not offer DTLS 1.2.",
        "Update the client: browsers have spoken DTLS 1.2 since 2015.";
    /// No cipher suite or key exchange group in common.
    NoCommonCipherSuite = "noCommonCipherSuite", "no_common_cipher_suite",
        "Client and node have no DTLS cipher suite or group in common.",
        "The client must offer ECDHE with ECDSA on P-256 and AES-GCM or ChaCha20 (RFC 8827 §6.5).";
    /// The handshake broke the protocol.
    HandshakeFailed = "handshakeFailed", "handshake_failed",
        "The DTLS handshake failed.",
        "It is a fault of the client's DTLS, or somebody changes its datagrams: try another client, and another network.";
    /// The peer's certificate is not the announced one (RFC 8122).
    FingerprintMismatch = "fingerprintMismatch", "fingerprint_mismatch",
        "The client's certificate has another fingerprint than its description announced.",
        "Somebody sits between, or the client made a new certificate after its description: let it negotiate anew.";
    /// The announced fingerprint has not come.
    FingerprintMissing = "fingerprintMissing", "fingerprint_missing",
        "The DTLS handshake is done, and the client's fingerprint has not come.",
        "Signalling is stuck: look for the client's answer at its WebSocket, and for errors of the master.";
    /// No SRTP protection profile in common (RFC 5764 §4.1.2).
    NoCommonSrtpProfile = "noCommonSrtpProfile", "no_common_srtp_profile",
        "Client and node have no SRTP protection profile in common.",
        "The client must offer SRTP_AEAD_AES_256_GCM, SRTP_AEAD_AES_128_GCM or SRTP_AES128_CM_HMAC_SHA1_80.";
    /// Consent to send was lost (RFC 7675).
    ConsentLost = "consentLost", "consent_lost",
        "The client stopped answering: consent to send was lost.",
        "Its network changed or went away, its page was closed, or it sleeps; clients reconnect by themselves.";
    /// The peer said goodbye.
    ClosedByPeer = "closedByPeer", "closed_by_peer",
        "The client closed the connection.",
        "Nothing, if it meant to.";
    /// The node shuts down.
    NodeStopped = "nodeStopped", "node_stopped",
        "The media node was stopped.",
        "Clients of its sessions must join again; drain a node before you stop it.";
    /// The node refused it, for a limit or because it makes no sense.
    Refused = "refused", "refused",
        "The media node refused it.",
        "The detail names the limit: add nodes, or raise it.";
    /// Connected, and no media came from a publisher.
    NoMedia = "noMedia", "no_media",
        "The client is connected and sends no media.",
        "Look at its camera and microphone (permission, another program that has them), and at its own statistics.";
    /// Sound comes from a publisher, and no pictures.
    NoPictures = "noPictures", "no_pictures",
        "The client sends sound and no pictures.",
        "Its camera or screen share stopped, or its encoder has no bandwidth left for a picture.";
    /// A subscriber's publisher is not there.
    PublisherAbsent = "publisherAbsent", "publisher_absent",
        "The stream that is subscribed to is not on the node.",
        "Its publisher is reconnecting, or its transport failed: look at its own cause.";
    /// A subscriber's publisher sends nothing.
    PublisherSilent = "publisherSilent", "publisher_silent",
        "Nothing arrives of the stream that is subscribed to.",
        "Look at the cause of its publisher.";
    /// Packets come, and no key frame, so nothing is sent to a subscriber.
    NoKeyFrame = "noKeyFrame", "no_key_frame",
        "Pictures arrive of the publisher, and no key frame to begin with.",
        "The publisher does not answer key-frame requests: look at keyFrameRequests of its serverStats, and at what it encodes with.";
    /// A picture is paused, for the way has no room for it.
    NoRoom = "noRoom", "no_room",
        "The picture is paused: the way to the client has no room for it.",
        "Its line is too narrow or loses too much: see estimatedBitsPerSecond and lossRatio of serverStats, and let the publisher use simulcast.";
    /// Packets come, and what they are was not agreed on with the subscriber.
    NotForwarded = "notForwarded", "not_forwarded",
        "Media arrive of the publisher, and none of it is what the subscriber agreed on.",
        "Publisher and subscriber use other codecs: let the subscriber reconnect, and see ringcast_node_packets_dropped_total by reason.";
}

impl Cause {
    /// Whether something failed: clients that leave, and nodes that are stopped, do not.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::ClosedByPeer | Self::NodeStopped)
    }
}

/// Why nothing flows on a transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// In one word.
    pub cause: Cause,
    /// What is known beyond it, in words for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_are_written() {
        for cause in Cause::ALL {
            let written = serde_json::to_string(cause).expect("a word");
            assert_eq!(written, format!("\"{}\"", cause.as_str()));
            let snake: String = cause
                .as_str()
                .chars()
                .flat_map(|letter| {
                    let low = letter.is_ascii_uppercase().then_some('_');
                    low.into_iter().chain([letter.to_ascii_lowercase()])
                })
                .collect();
            assert_eq!(cause.label(), snake);
            assert!(cause.what().ends_with('.') && cause.mend().ends_with('.'));
        }
    }

    #[test]
    fn a_later_cause_is_read_as_unknown() {
        let read: Trouble = serde_json::from_str(r#"{"cause":"sunspots","x":1}"#).expect("read");
        assert_eq!(read, Trouble::from(Cause::Unknown));
    }
}
