//! Restarting ICE on a transport that goes on (RFC 8445 §9, RFC 8839 §4.4.1): new credentials on both sides, everything else as it
//! was agreed.
//!
//! A client that renegotiates the same `RTCPeerConnection` shows it by the session id of its `o=` line, which stays for its life
//! (RFC 9429 §5.2.1), and by its certificate. One that has made another connection has another id, and gets another transport.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use link::{Change, Entry, Transport, TransportId};
use serde::{Deserialize, Serialize};

use sdp::{LocalParameters, Offered, RemoteDescription, SubscribeMedia, SubscribeParameters};

use super::{Overtaken, Owner, Pending, Place, Reconciler, subscribe_media};
use crate::domain::Chance;
use crate::media;

/// What a transport was agreed on with, as far as a restart must repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Agreed {
    place: Place,
    /// How we described ourselves last.
    local: LocalParameters,
    /// The session id of the client's descriptions; unknown (empty) until it is noted.
    peer_session: String,
    ice: sdp::IceCredentials,
    fingerprints: Vec<sdp::Fingerprint>,
    sent: Vec<Sent>,
    /// Of all that was agreed on media.
    media_hash: u64,
    /// An offer of ours to restart that the client has not answered.
    offered: Option<(LocalParameters, Offered)>,
}

/// An RTP stream that we send, by the names that a restart must keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sent {
    kind: sdp::Kind,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    cname: String,
}

/// Why ICE is not restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRestart {
    /// There is nothing to restart any more.
    #[error(transparent)]
    Overtaken(#[from] Overtaken),
    /// More than ICE would change.
    #[error("only ICE can be restarted on a connection that goes on, and its media would change")]
    OtherMedia,
}

impl Agreed {
    pub(super) fn new(
        pending: &Pending,
        ice: &sdp::IceCredentials,
        fingerprints: &[sdp::Fingerprint],
        media_hash: u64,
    ) -> Option<Box<Self>> {
        Some(Box::new(Self {
            place: pending.place.clone(),
            local: pending.local.clone()?,
            peer_session: String::new(),
            ice: ice.clone(),
            fingerprints: fingerprints.to_vec(),
            sent: Vec::new(),
            media_hash,
            offered: None,
        }))
    }

    /// Notes what is sent to a subscriber.
    pub(super) fn sending(mut self: Box<Self>, agreed: &SubscribeParameters) -> Box<Self> {
        let sent = agreed.media.iter().map(|one| Sent {
            kind: one.kind,
            ssrc: one.ssrc,
            rtx_ssrc: one.rtx_ssrc,
            cname: one.cname.clone(),
        });
        self.sent = sent.collect();
        self
    }

    /// Whether a description is of the same connection of the client, and begins ICE anew.
    fn is_restarted_by(&self, description: &RemoteDescription) -> bool {
        let mut media = description.media.iter().filter(|media| !media.rejected);
        media.next().is_some_and(|first| {
            let ice = first.ice.as_ref();
            !self.peer_session.is_empty()
                && description.session_id == self.peer_session
                && !first.fingerprints.is_empty()
                && first
                    .fingerprints
                    .iter()
                    .any(|one| self.fingerprints.contains(one))
                && ice.is_some_and(|ice| ice.ufrag != self.ice.ufrag)
        })
    }

    fn transport(&self, id: &TransportId) -> Transport {
        Transport {
            id: id.clone(),
            session: self.place.session.clone(),
            connection: self.place.connection.clone(),
            local_ice: link::IceCredentials {
                ufrag: self.local.ice.ufrag.clone(),
                pwd: self.local.ice.pwd.clone(),
            },
            remote_ice: Some(media::ice(&self.ice)),
            remote_fingerprints: media::fingerprints(&self.fingerprints),
        }
    }
}

/// Tells what was agreed on from anything else, but for one in 2^64.
pub(super) fn hash_of(media: &impl serde::Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = serde_json::to_string(media);
    text.expect("agreed media have text for keys")
        .hash(&mut hasher);
    hasher.finish()
}

impl Reconciler {
    /// How we described ourselves for a transport that was ordered: kept until it is agreed on, for restarts.
    pub fn described(&mut self, transport: &TransportId, local: &LocalParameters) {
        let Some(owner) = self.owners.get(transport).cloned() else {
            return;
        };
        let pending = match &owner {
            Owner::Publication(session, stream) => {
                let key = (session.clone(), stream.clone());
                let publication = self.publications.get_mut(&key);
                publication.and_then(|one| one.pending.as_mut())
            }
            Owner::Subscription(session, connection, stream) => {
                let key = (session.clone(), connection.clone(), stream.clone());
                let subscription = self.subscriptions.get_mut(&key);
                subscription.and_then(|one| one.pending.as_mut())
            }
        };
        if let Some(pending) = pending.filter(|pending| pending.transport == *transport) {
            pending.local = Some(local.clone());
        }
    }

    /// The client described itself so when the transport in force was agreed on.
    pub fn note_peer(&mut self, owner: &Owner, description: &RemoteDescription) {
        if let Some((_, agreed)) = self.agreed_mut(owner) {
            agreed.peer_session.clone_from(&description.session_id);
        }
    }

    /// Whether a description asks for a restart of ICE on the transport in force.
    pub fn is_restart(&self, owner: &Owner, description: &RemoteDescription) -> bool {
        let agreed = self.agreed(owner);
        agreed.is_some_and(|agreed| agreed.is_restarted_by(description))
    }

    /// How we describe ourselves if ICE begins anew now; nothing has changed yet.
    ///
    /// # Errors
    /// [`Overtaken`] when there is nothing to restart.
    pub fn restarted(
        &self,
        owner: &Owner,
        chance: &mut dyn Chance,
    ) -> Result<LocalParameters, Overtaken> {
        let agreed = self.agreed(owner).ok_or(Overtaken)?;
        Ok(LocalParameters {
            session_version: agreed.local.session_version + 1,
            ice: media::sdp_ice(&super::credentials(chance)),
            ..agreed.local.clone()
        })
    }

    /// What a subscriber is sent, under the names that it has.
    pub fn sent_media(&self, owner: &Owner, chance: &mut dyn Chance) -> Vec<SubscribeMedia> {
        let Owner::Subscription(session, _, stream) = owner else {
            return Vec::new();
        };
        let publication = self.publications.get(&(session.clone(), stream.clone()));
        let (Some(publication), Some(agreed)) = (publication, self.agreed(owner)) else {
            return Vec::new();
        };
        let is_sent = |kind| agreed.sent.iter().any(|sent| sent.kind == kind);
        let mut media = subscribe_media(&publication.media, stream, is_sent, chance);
        for one in &mut media {
            if let Some(sent) = agreed.sent.iter().find(|sent| sent.kind == one.kind) {
                one.ssrc = sent.ssrc;
                one.rtx_ssrc = sent.rtx_ssrc.or(one.rtx_ssrc);
                one.cname.clone_from(&sent.cname);
            }
        }
        media
    }

    /// Keeps our offer to restart until the client answers.
    ///
    /// # Errors
    /// [`Overtaken`] when there is nothing to restart.
    pub fn keep_restart_offer(
        &mut self,
        owner: &Owner,
        local: LocalParameters,
        offered: Offered,
    ) -> Result<(), Overtaken> {
        let (_, agreed) = self.agreed_mut(owner).ok_or(Overtaken)?;
        agreed.offered = Some((local, offered));
        Ok(())
    }

    /// The offer to restart that this answers.
    pub fn open_restart(
        &self,
        owner: &Owner,
        answer: &RemoteDescription,
    ) -> Option<(LocalParameters, Offered)> {
        let agreed = self.agreed(owner)?;
        let offered = agreed.offered.clone()?;
        agreed.is_restarted_by(answer).then_some(offered)
    }

    /// Both sides have agreed to restart: the node hears of both at once, and of nothing else.
    ///
    /// # Errors
    /// [`NoRestart`] when there is nothing to restart, or what was agreed on media is not what is in force.
    pub fn restart(
        &mut self,
        owner: &Owner,
        local: LocalParameters,
        ice: &sdp::IceCredentials,
        media: &impl serde::Serialize,
    ) -> Result<(), NoRestart> {
        let (id, agreed) = self.agreed_mut(owner).ok_or(Overtaken)?;
        if agreed.media_hash != hash_of(media) {
            return Err(NoRestart::OtherMedia);
        }
        agreed.local = local;
        agreed.ice = ice.clone();
        agreed.offered = None;
        let node = agreed.place.node.clone();
        let order = Change::Put(Entry::Transport(agreed.transport(&id)));
        self.changes.push((node, order));
        Ok(())
    }

    fn agreed(&self, owner: &Owner) -> Option<&Agreed> {
        match owner {
            Owner::Publication(session, stream) => {
                let key = (session.clone(), stream.clone());
                let publication = self.publications.get(&key)?;
                publication.current.as_ref()?;
                publication.agreed.as_deref()
            }
            Owner::Subscription(session, connection, stream) => {
                let key = (session.clone(), connection.clone(), stream.clone());
                let subscription = self.subscriptions.get(&key)?;
                subscription.current.as_ref()?;
                subscription.agreed.as_deref()
            }
        }
    }

    fn agreed_mut(&mut self, owner: &Owner) -> Option<(TransportId, &mut Agreed)> {
        match owner {
            Owner::Publication(session, stream) => {
                let key = (session.clone(), stream.clone());
                let publication = self.publications.get_mut(&key)?;
                let (_, transport) = publication.current.as_ref()?;
                Some((transport.clone(), publication.agreed.as_deref_mut()?))
            }
            Owner::Subscription(session, connection, stream) => {
                let key = (session.clone(), connection.clone(), stream.clone());
                let subscription = self.subscriptions.get_mut(&key)?;
                let (_, transport, _) = subscription.current.as_ref()?;
                Some((transport.clone(), subscription.agreed.as_deref_mut()?))
            }
        }
    }
}
