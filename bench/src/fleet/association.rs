use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clock::{Instant, Rng};
use proto::dtls::{self, Handshake};
use proto::ice::Event;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::srtp::KeyingMaterial;
use proto::stun::Message;

use super::Failure;
use super::outbox::Outbox;
use super::spec::{self, Negotiated};
use crate::plan::Suite;

/// Room for the answer to a check.
const STUN_ANSWER_BYTES: usize = 128;

/// What all handshakes of a thread share.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// What [`Instant::ZERO`] is on the clock of the standard library.
    epoch: std::time::Instant,
    configs: Vec<(Suite, dtls::Config)>,
    ice: IceConfig,
}

impl Handshakes {
    /// Lets the cipher library test itself, which takes a while.
    pub(super) fn new(now: Instant) -> Result<Self, dtls::BadSettings> {
        let since = Duration::from_nanos(now.as_nanos());
        let std_now = std::time::Instant::now();
        let settings = dtls::Settings {
            // A host that makes thousands of handshakes at once answers late.
            retransmit_after: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(40),
            ..dtls::Settings::default()
        };
        let configs = [Suite::Aes256Gcm, Suite::Aes128Gcm, Suite::AesCm80]
            .into_iter()
            .map(|suite| Ok((suite, dtls::Config::offering(settings, suite.profile())?)))
            .collect::<Result<_, dtls::BadSettings>>()?;
        Ok(Self {
            epoch: std_now.checked_sub(since).unwrap_or(std_now),
            configs,
            ice: IceConfig::default(),
        })
    }

    fn config(&self, suite: Suite) -> &dtls::Config {
        let found = self.configs.iter().find(|(known, _)| *known == suite);
        &found.expect("there is one for every suite").1
    }
}

/// ICE and DTLS of one peer.
#[derive(Debug)]
pub(super) struct Association {
    local: IpAddr,
    remote: SocketAddr,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Keys come from elsewhere, so there is nothing to do.
    Keyed,
    Negotiated(Box<Negotiation>),
    Ended,
}

#[derive(Debug)]
struct Negotiation {
    ice: Controlling,
    /// From the selection of an address to the keys.
    dtls: Option<Handshake>,
    has_keys: bool,
    spec: Negotiated,
}

/// What an input led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// Media may flow.
    Keys(Box<KeyingMaterial>),
    /// It is over.
    Failed(Failure),
}

impl Association {
    /// Starts to talk to the forwarder; with keys given there is nothing to say.
    pub(super) fn new(
        now: Instant,
        local: IpAddr,
        spec: spec::Association,
        handshakes: &Handshakes,
        rng: &mut Rng,
    ) -> (Self, Option<Progress>) {
        match spec {
            spec::Association::Keyed { remote, keys } => {
                let association = Self {
                    local,
                    remote,
                    stage: Stage::Keyed,
                };
                (association, Some(Progress::Keys(keys)))
            }
            spec::Association::Negotiated(spec) => {
                let remote = spec.candidate;
                let ice = Controlling::new(
                    now,
                    spec.local.clone(),
                    spec.remote.clone(),
                    remote,
                    handshakes.ice,
                    rng.fork(),
                );
                let (stage, progress) = match ice {
                    Ok(ice) => {
                        let negotiation = Negotiation {
                            ice,
                            dtls: None,
                            has_keys: false,
                            spec: *spec,
                        };
                        (Stage::Negotiated(Box::new(negotiation)), None)
                    }
                    Err(_) => (Stage::Ended, Some(Progress::Failed(Failure::Ice))),
                };
                let association = Self {
                    local,
                    remote,
                    stage,
                };
                (association, progress)
            }
        }
    }

    /// Where everything goes.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Smoothed round trip of the connectivity checks, if there are any.
    pub(super) fn rtt(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Negotiated(negotiation) => negotiation.ice.rtt(),
            Stage::Keyed | Stage::Ended => None,
        }
    }

    pub(super) fn on_stun(
        &mut self,
        now: Instant,
        datagram: &[u8],
        from: SocketAddr,
        handshakes: &Handshakes,
        out: &mut Outbox,
    ) -> Option<Progress> {
        let Stage::Negotiated(negotiation) = &mut self.stage else {
            return None;
        };
        let message = Message::parse(datagram).ok()?;
        let mut answer = [0; STUN_ANSWER_BYTES];
        // Why a message is ignored does not matter here: a peer that cannot connect says so.
        if let Ok(len) = negotiation.ice.on_message(now, &message, from, &mut answer)
            && let Some(answer) = answer.get(..len).filter(|answer| !answer.is_empty())
        {
            out.send(self.local, from, answer);
        }
        self.drain(now, handshakes, out)
    }

    pub(super) fn on_dtls(
        &mut self,
        now: Instant,
        datagram: &[u8],
        handshakes: &Handshakes,
        out: &mut Outbox,
    ) -> Option<Progress> {
        let Stage::Negotiated(negotiation) = &mut self.stage else {
            return None;
        };
        negotiation.dtls.as_mut()?.on_datagram(now, datagram);
        self.drain(now, handshakes, out)
    }

    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        handshakes: &Handshakes,
        out: &mut Outbox,
    ) -> Option<Progress> {
        let Stage::Negotiated(negotiation) = &mut self.stage else {
            return None;
        };
        if negotiation.ice.deadline().is_some_and(|due| due <= now) {
            negotiation.ice.on_timeout(now);
        }
        if let Some(dtls) = &mut negotiation.dtls
            && dtls.deadline().is_some_and(|due| due <= now)
        {
            dtls.on_timeout(now);
        }
        self.drain(now, handshakes, out)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let Stage::Negotiated(negotiation) = &self.stage else {
            return None;
        };
        let dtls = negotiation.dtls.as_ref().and_then(Handshake::deadline);
        [negotiation.ice.deadline(), dtls]
            .into_iter()
            .flatten()
            .min()
    }

    fn drain(
        &mut self,
        now: Instant,
        handshakes: &Handshakes,
        out: &mut Outbox,
    ) -> Option<Progress> {
        let Stage::Negotiated(negotiation) = &mut self.stage else {
            return None;
        };
        let progress = negotiation.drain(now, (self.local, self.remote), handshakes, out);
        if let Some(Progress::Failed(_)) = progress {
            self.stage = Stage::Ended;
        }
        progress
    }
}

impl Negotiation {
    fn drain(
        &mut self,
        now: Instant,
        path: (IpAddr, SocketAddr),
        handshakes: &Handshakes,
        out: &mut Outbox,
    ) -> Option<Progress> {
        while let Some(output) = self.ice.poll() {
            match output {
                proto::ice::Output::Send { to, datagram } => out.send(path.0, to, &datagram),
                proto::ice::Output::Event(Event::Selected { .. }) => self.begin(now, handshakes),
                proto::ice::Output::Event(Event::ConsentLost) => {
                    return Some(Progress::Failed(Failure::ConsentLost));
                }
                proto::ice::Output::Event(Event::Timeout) => {
                    return Some(Progress::Failed(Failure::Ice));
                }
                proto::ice::Output::Event(Event::Checked(_) | Event::Forgotten(_)) => {}
            }
        }
        let mut progress = None;
        while let Some(output) = self.dtls.as_mut().and_then(Handshake::poll) {
            match output {
                dtls::Output::Datagram(datagram) => out.send(path.0, path.1, &datagram),
                dtls::Output::KeysReady(keys) => {
                    self.has_keys = true;
                    progress = Some(if keys.profile == self.spec.suite.profile() {
                        Progress::Keys(Box::new(keys))
                    } else {
                        Progress::Failed(Failure::Profile(keys.profile))
                    });
                }
                dtls::Output::Closed(reason) => {
                    progress = Some(Progress::Failed(Failure::Dtls(reason)));
                }
                dtls::Output::PeerCertificate { .. } | dtls::Output::Connected => {}
            }
        }
        if self.has_keys {
            // The server's flight is the last one of a full handshake (RFC 6347 §4.2.4), so nothing is ever repeated.
            self.dtls = None;
        }
        progress
    }

    fn begin(&mut self, now: Instant, handshakes: &Handshakes) {
        let config = handshakes.config(self.spec.suite);
        let mut dtls = Handshake::client(now, handshakes.epoch, &self.spec.certificate, config);
        dtls.set_remote_fingerprints(now, &self.spec.fingerprints);
        self.dtls = Some(dtls);
    }
}
