//! What speaks DTLS for an association: `dimpl`, or after it what little is still needed.

use std::sync::Arc;

use clock::{Duration, Instant};
use dimpl::{Dtls, SrtpProfile};
use zeroize::Zeroizing;

use super::keys::{self, Notes, RecordKey};
use super::settled::Settled;
use super::{Certificate, Config, MAX_DATAGRAM, MAX_OUTPUTS, MAX_QUEUED_DATAGRAMS, offer};

/// `dimpl` wants a buffer of at least a datagram to poll into.
const SMALLEST_SCRATCH: usize = 2_048;
/// `dimpl` has no timer when its deadline is further away than this.
const FAR: Duration = Duration::from_secs(3_600);

/// What speaks DTLS.
pub(super) enum Machine {
    Whole(Box<Whole>),
    Settled(Box<Settled>),
}

/// All of it.
pub(super) struct Whole {
    dtls: Dtls,
    /// What [`Instant::ZERO`] is on the clock that `dimpl` wants.
    epoch: std::time::Instant,
    /// The list in our ClientHello is rewritten to this one.
    offered: Option<u16>,
    /// Bytes taken so far: no certificate can be longer.
    received: usize,
    pub(super) timer: Option<Instant>,
    /// The keys of the newest records.
    pub(super) opened: Option<RecordKey>,
    pub(super) sealed: Option<RecordKey>,
}

/// What `dimpl` gave out, owned.
pub(super) enum Step {
    Datagram(Vec<u8>),
    PeerCertificate(Vec<u8>),
    Keys(SrtpProfile, Zeroizing<Vec<u8>>),
    Connected,
    PeerClosed,
}

impl Machine {
    /// What `dimpl` has to say.
    pub(super) fn drain(&mut self, now: Instant) -> Vec<Step> {
        match self {
            Self::Whole(whole) => whole.drain(now),
            Self::Settled(_) => Vec::new(),
        }
    }
}

impl Whole {
    pub(super) fn new(
        now: Instant,
        epoch: std::time::Instant,
        certificate: &Certificate,
        config: &Config,
        is_client: bool,
    ) -> Self {
        let inner = Arc::clone(&config.0.inner);
        let mut dtls = Dtls::new_12(inner, certificate.0.clone(), to_std(epoch, now));
        dtls.set_active(is_client);
        Self {
            dtls,
            epoch,
            offered: config.0.offered.filter(|_| is_client),
            received: 0,
            timer: None,
            opened: None,
            sealed: None,
        }
    }

    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<(), dimpl::Error> {
        self.received = self.received.saturating_add(datagram.len());
        keys::discard_notes();
        let result = self
            .dtls
            .handle_timeout(to_std(self.epoch, now))
            .and_then(|()| self.dtls.handle_packet(datagram));
        self.note(keys::take_notes());
        result
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Result<(), dimpl::Error> {
        keys::discard_notes();
        let result = self.dtls.handle_timeout(to_std(self.epoch, now));
        self.note(keys::take_notes());
        result
    }

    /// The datagrams that say good-bye.
    pub(super) fn close(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if self.dtls.close().is_err() {
            return Vec::new();
        }
        let steps = self.drain(now).into_iter();
        self.timer = None;
        let datagrams = steps.filter_map(|step| match step {
            Step::Datagram(bytes) => Some(bytes),
            _ => None,
        });
        datagrams.collect()
    }

    fn note(&mut self, notes: Notes) {
        if notes.opened.is_some() {
            self.opened = notes.opened;
        }
        if notes.sealed.is_some() {
            self.sealed = notes.sealed;
        }
    }

    /// Empties `dimpl` and sets the timer.
    fn drain(&mut self, now: Instant) -> Vec<Step> {
        keys::discard_notes();
        let longest = MAX_DATAGRAM.saturating_mul(MAX_QUEUED_DATAGRAMS);
        let length = self.received.min(longest);
        let mut scratch = vec![0; length.max(SMALLEST_SCRATCH)];
        let mut steps = Vec::new();
        // Twice the bound of the queue: events and data that are not kept count too.
        for _ in 0..MAX_OUTPUTS.saturating_mul(2) {
            match self.dtls.poll_output(&mut scratch) {
                dimpl::Output::Packet(bytes) => {
                    let mut datagram = bytes.to_vec();
                    if let Some(profile) = self.offered {
                        offer::rewrite_datagram(&mut datagram, profile);
                    }
                    steps.push(Step::Datagram(datagram));
                }
                dimpl::Output::BufferTooSmall { needed } => {
                    scratch.resize(needed.clamp(SMALLEST_SCRATCH, longest), 0);
                }
                dimpl::Output::Timeout(at) => {
                    let at = from_std(self.epoch, at);
                    self.timer = (at.saturating_since(now) < FAR).then_some(at);
                    break;
                }
                dimpl::Output::Connected => steps.push(Step::Connected),
                dimpl::Output::PeerCert(der) => steps.push(Step::PeerCertificate(der.to_vec())),
                dimpl::Output::KeyingMaterial(material, profile) => {
                    let exported = Zeroizing::new(material.to_vec());
                    steps.push(Step::Keys(profile, exported));
                }
                dimpl::Output::CloseNotify => steps.push(Step::PeerClosed),
                // Application data means SCTP, which we do not offer.
                _ => {}
            }
        }
        self.note(keys::take_notes());
        steps
    }
}

fn to_std(epoch: std::time::Instant, at: Instant) -> std::time::Instant {
    let since = Duration::from_nanos(at.as_nanos());
    epoch.checked_add(since).unwrap_or(epoch)
}

fn from_std(epoch: std::time::Instant, at: std::time::Instant) -> Instant {
    let nanos = at.saturating_duration_since(epoch).as_nanos();
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
