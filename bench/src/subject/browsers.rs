//! What simulated browsers say of themselves, and what they make of the server's descriptions.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use clock::Rng;
use proto::dtls::Certificate;
use proto::ice::Credentials;

use crate::fleet::{Association, ExpectedStream, Negotiated, PublishedMedium, Rtx, SubscriberSpec};
use crate::plan::{Codec, Medium, Suite};
use crate::signal::{Offered, Peer, Remote, kind};
use crate::stream::Verifier;

/// What all browsers of a run share.
#[derive(Debug)]
pub(super) struct Browsers {
    /// One for all: making thousands would only take time.
    certificate: Certificate,
    rng: Mutex<Rng>,
}

impl Browsers {
    /// Everything random is drawn from `rng`.
    pub(super) fn new(rng: Rng) -> anyhow::Result<Self> {
        Ok(Self {
            certificate: Certificate::generate()?,
            rng: Mutex::new(rng),
        })
    }

    /// A transport of ours, and the SSRCs of what it will send. With `complete` its descriptions name this candidate, and that we
    /// begin the DTLS handshake: for servers that are told no more.
    pub(super) fn describe(
        &self,
        media: &[(Medium, u64)],
        complete: Option<SocketAddr>,
    ) -> (Peer, Vec<Offered>) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = Peer {
            ice: Credentials::generate(&mut rng),
            fingerprint: self.certificate.fingerprint_sha256(),
            session_id: rng.next_u64(),
            complete,
        };
        let offered = media.iter().map(|(medium, _)| {
            let codec = medium.codec();
            Offered {
                codec,
                ssrc: rng.next_u32() | 1,
                rtx_ssrc: (codec != Codec::Opus).then(|| rng.next_u32() & !1),
            }
        });
        let offered = offered.collect();
        (peer, offered)
    }

    /// How `peer` gets to the server.
    pub(super) fn association(&self, peer: &Peer, remote: &Remote, suite: Suite) -> Association {
        Association::Negotiated(Box::new(Negotiated {
            local: peer.ice.clone(),
            remote: remote.ice.clone(),
            candidate: remote.candidate,
            fingerprints: remote.fingerprints.clone(),
            certificate: self.certificate.clone(),
            suite,
        }))
    }
}

/// What is sent after the server's answer to an offer of `offered`.
pub(super) fn published_media(
    media: &[(Medium, u64)],
    offered: &[Offered],
    remote: &Remote,
) -> anyhow::Result<Vec<PublishedMedium>> {
    let pairs = media.iter().zip(offered).enumerate();
    pairs
        .map(|(number, ((medium, seed), offered))| {
            let mid = number.to_string();
            let section = remote.sections.iter().find(|section| section.mid == mid);
            let section = section.context("the server rejected a medium")?;
            let types = section.payload_types(offered.codec);
            let (payload_type, rtx) =
                types.with_context(|| format!("the server rejected {:?}", offered.codec))?;
            let rtx = offered.rtx_ssrc.zip(rtx);
            Ok(PublishedMedium {
                medium: medium.clone(),
                seed: *seed,
                ssrc: offered.ssrc,
                payload_type,
                rtx: rtx.map(|(ssrc, payload_type)| Rtx { ssrc, payload_type }),
                mid,
                extensions: section.extensions,
            })
        })
        .collect()
}

/// What somebody gets who subscribes to `media` and was described `remote`. Streams come under the SSRCs that the server says,
/// unless it is known to keep those of the publisher: `kept`, in the order of `media`.
pub(super) fn subscription(
    media: &[(Medium, u64)],
    kept: Option<&[u32]>,
    remote: &Remote,
    local: SocketAddr,
    association: Association,
) -> anyhow::Result<SubscriberSpec> {
    let mut expect = Vec::new();
    let mut transport_sequence = None;
    for (number, (medium, seed)) in media.iter().enumerate() {
        let codec = medium.codec();
        let kind = kind(codec);
        let section = remote.sections.iter().find(|section| section.kind == kind);
        let section = section.with_context(|| format!("no {} from the server", kind.as_str()))?;
        let ssrc = match kept {
            Some(kept) => kept.get(number).copied(),
            None => section.ssrcs.map(|(ssrc, _)| ssrc),
        };
        let ssrc = ssrc.context("a media section without an SSRC")?;
        transport_sequence = transport_sequence.or(section.extensions.transport_sequence);
        expect.push(ExpectedStream {
            ssrc,
            codec,
            seed: *seed,
            verifier: Verifier::new(medium, *seed)?,
            rtx: section.rtx(codec),
            key_frames_on_request: matches!(medium, Medium::Synthetic(_)),
        });
    }
    Ok(SubscriberSpec {
        local,
        association,
        expect,
        transport_sequence,
        asked: None,
    })
}
