//! A built-in forwarder as a child process, told addresses and keys over its standard input.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clock::Rng;
use proto::srtp::{KeyingMaterial, Profile};

use super::{Readings, Subject};
use crate::baseline::{Answer, Key, Kind, Mapping, Order, Statistics};
use crate::exit::Exit;
use crate::fleet::{
    Association, ExpectedStream, ExtensionIds, Fleet, PeerId, PublishedMedium, PublisherSpec,
    SubscriberSpec,
};
use crate::plan::{Codec, Medium, Plan, Session, Suite};
use crate::progress::Event;
use crate::runner::Watch;
use crate::stream::{self, Verifier};

/// How long peers that need no handshake may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Payload types as Chromium has them.
const VIDEO: u8 = 96;
const H264: u8 = 103;
const AUDIO: u8 = 111;

/// How a baseline is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which one.
    pub kind: Kind,
    /// Spoils one octet of every so many packets.
    pub spoil_every: Option<u64>,
    /// Leaves out every so many packets.
    pub skip_every: Option<u64>,
    /// With more subscribers of a stream, it leaves out every tenth packet: for seeing that a ramp ends where it should.
    pub carries: Option<u64>,
}

impl From<Kind> for Options {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            spoil_every: None,
            skip_every: None,
            carries: None,
        }
    }
}

/// A baseline that runs.
#[derive(Debug)]
pub struct Baseline {
    kind: Kind,
    profile: Profile,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
    rng: Rng,
    next_ssrc: u32,
    /// Of a session: a viewer has a transport for each.
    streams: usize,
    /// Viewers in the order in which they came, for churn.
    viewers: VecDeque<Viewer>,
}

/// A transport of somebody who watches: one published stream, as with OpenVidu's browsers.
#[derive(Debug)]
struct Viewer {
    peer: PeerId,
    address: SocketAddr,
    watched: Vec<Published>,
}

/// An RTP stream as it was published.
#[derive(Clone, Debug)]
struct Published {
    ssrc: u32,
    codec: Codec,
    seed: u64,
    verifier: Verifier,
}

impl Baseline {
    /// Starts one: `program` is `ringcast-bench`.
    ///
    /// # Errors
    /// If it does not start or finds no cipher library.
    pub fn start(
        program: &Path,
        options: &Options,
        exit: &Exit,
        suite: Suite,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let profile = suite.profile();
        let mut command = Command::new(program);
        command
            .args(["baseline", options.kind.name()])
            .arg("--listen")
            .arg(exit.subject_address().to_string())
            .arg("--profile")
            .arg(profile.id().to_string())
            // Ctrl-C is for us; it ends with its orders.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, every) in [
            ("--spoil-every", options.spoil_every),
            ("--skip-every", options.skip_every),
            ("--carries", options.carries),
        ] {
            if let Some(every) = every {
                command.arg(name).arg(every.to_string());
            }
        }
        let mut child = exit.spawn(&mut command)?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a child without pipes");
        };
        let mut baseline = Self {
            kind: options.kind,
            profile,
            child,
            orders: Some(orders),
            answers: BufReader::new(answers),
            address: ([0, 0, 0, 0], 0).into(),
            streams: 1,
            rng: Rng::from_number(seed),
            next_ssrc: 0x1000_0000,
            viewers: VecDeque::new(),
        };
        match baseline.hear()? {
            Answer::Ready { address } => baseline.address = address,
            other => bail!("{} said {other:?} in place of its address", options.kind),
        }
        Ok(baseline)
    }

    fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        let orders = self.orders.as_mut().context("it was stopped")?;
        orders
            .write_all(line.as_bytes())
            .with_context(|| format!("{} takes no orders", self.kind))
    }

    fn hear(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("{} has ended: {}", self.kind, self.child.wait()?);
        }
        match serde_json::from_str(&line)? {
            Answer::Refused(why) => bail!("{} refused: {why}", self.kind),
            answer => Ok(answer),
        }
    }

    /// Everything that it has been told is in force when this returns.
    fn statistics(&mut self) -> anyhow::Result<Statistics> {
        self.tell(&Order::Statistics)?;
        match self.hear()? {
            Answer::Statistics(statistics) => Ok(statistics),
            other => bail!("{} said {other:?} in place of statistics", self.kind),
        }
    }

    fn ssrc(&mut self) -> u32 {
        self.next_ssrc += 1;
        self.next_ssrc
    }

    fn keys(&mut self) -> anyhow::Result<KeyingMaterial> {
        let mut exported = vec![0; self.profile.exporter_len()];
        self.rng.fill(&mut exported);
        Ok(KeyingMaterial::from_exporter(
            self.profile,
            &exported,
            true,
        )?)
    }

    /// One session: who publishes, and what everybody watches.
    fn connect_session(
        &mut self,
        fleet: &Fleet,
        session: &Session,
        seed: &mut u64,
    ) -> anyhow::Result<Vec<PeerId>> {
        let mut publishers = Vec::new();
        for stream in &session.streams {
            let mut media = Vec::new();
            for medium in [&stream.video, &stream.audio].into_iter().flatten() {
                *seed += 1;
                media.push((medium.clone(), *seed, self.ssrc()));
            }
            publishers.push(media);
        }
        let mut peers = Vec::new();
        for (number, media) in publishers.iter().enumerate() {
            let watched: Vec<_> = media.iter().map(published).collect::<Result<_, _>>()?;
            let others = if session.publishers_watch {
                publishers.len().saturating_sub(1)
            } else {
                0
            };
            for _ in 0..session.viewers + others {
                let viewer = self.watch(fleet, watched.clone())?;
                peers.push(viewer.peer);
                self.viewers.push_back(viewer);
            }
            let local = fleet.allocate();
            let keys = self.keys()?;
            self.tell(&Order::Publisher {
                address: local,
                key: Key::from(&keys.local),
            })?;
            // Nobody may speak before he is known.
            self.statistics()
                .with_context(|| format!("publisher {number}"))?;
            peers.push(fleet.publish(PublisherSpec {
                local,
                association: Association::Keyed {
                    remote: self.address,
                    keys: Box::new(keys),
                },
                media: media.iter().map(published_medium).collect(),
            })?);
        }
        Ok(peers)
    }

    fn watch(&mut self, fleet: &Fleet, watched: Vec<Published>) -> anyhow::Result<Viewer> {
        let local = fleet.allocate();
        let keys = self.keys()?;
        let (mut streams, mut expect) = (Vec::new(), Vec::new());
        for stream in &watched {
            let to = self.ssrc();
            streams.push(Mapping {
                from: stream.ssrc,
                to,
                // Below 2^15, so that a receiver that misses the first packets guesses the rollover counter right.
                first_sequence: self.rng.next_u64() as u16 >> 1,
            });
            expect.push(ExpectedStream {
                ssrc: to,
                codec: stream.codec,
                seed: stream.seed,
                verifier: stream.verifier.clone(),
                rtx: None,
                key_frames_on_request: false,
            });
        }
        let address = local;
        let key = Key::from(&keys.remote);
        let peer = fleet.subscribe(SubscriberSpec {
            local,
            association: Association::Keyed {
                remote: self.address,
                keys: Box::new(keys),
            },
            expect,
            transport_sequence: None,
            asked: None,
        })?;
        fleet.wait_connected(&[peer], PATIENCE)?;
        self.tell(&Order::Subscriber {
            address,
            key,
            streams,
        })?;
        Ok(Viewer {
            peer,
            address,
            watched,
        })
    }
}

impl Subject for Baseline {
    fn name(&self) -> String {
        self.kind.to_string()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.child.id()]
    }

    fn media_addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    fn connect(&mut self, fleet: &Fleet, plan: &Plan, watch: &Watch<'_>) -> anyhow::Result<()> {
        let mut seed = plan.seed << 32;
        let mut peers = Vec::new();
        let streams = plan.sessions.iter().map(|session| session.streams.len());
        self.streams = streams.max().unwrap_or(0);
        for (done, session) in plan.sessions.iter().enumerate() {
            peers.extend(self.connect_session(fleet, session, &mut seed)?);
            watch.report(Event::Joining {
                joined: done + 1,
                of: plan.sessions.len(),
            });
            if watch.is_over() {
                bail!("interrupted");
            }
        }
        self.statistics()?;
        Ok(fleet.wait_connected(&peers, PATIENCE)?)
    }

    fn replace_viewers(&mut self, fleet: &Fleet, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let mut peers = Vec::with_capacity(self.streams);
            for _ in 0..self.streams {
                let Some(oldest) = self.viewers.pop_front() else {
                    return Ok(());
                };
                self.tell(&Order::Remove {
                    address: oldest.address,
                })?;
                fleet.remove(oldest.peer);
                let viewer = self.watch(fleet, oldest.watched)?;
                peers.push(viewer.peer);
                self.viewers.push_back(viewer);
            }
            fleet.newcomer(&peers);
        }
        Ok(())
    }

    fn readings(&mut self) -> anyhow::Result<Readings> {
        let statistics = self.statistics()?;
        Ok(Readings {
            system_calls: Some(statistics.system_calls),
            received: Some(statistics.received),
            sent: Some(statistics.forwarded),
            // What was ignored is not among them: that is RTCP, by design.
            dropped: [
                ("unauthentic", statistics.unauthentic),
                ("refused", statistics.refused),
            ]
            .map(|(reason, count)| (reason.to_owned(), count))
            .into(),
            ..Readings::default()
        })
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        // The end of its orders is the order to end.
        self.orders = None;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.kind);
        }
        Ok(())
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        if self.orders.take().is_some() {
            // If it has gone already there is nothing to end.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn published((medium, seed, ssrc): &(Medium, u64, u32)) -> Result<Published, stream::Error> {
    Ok(Published {
        ssrc: *ssrc,
        codec: medium.codec(),
        seed: *seed,
        verifier: Verifier::new(medium, *seed)?,
    })
}

fn published_medium((medium, seed, ssrc): &(Medium, u64, u32)) -> PublishedMedium {
    PublishedMedium {
        medium: medium.clone(),
        seed: *seed,
        ssrc: *ssrc,
        payload_type: match medium.codec() {
            Codec::Vp8 => VIDEO,
            Codec::H264 => H264,
            Codec::Opus => AUDIO,
        },
        rtx: None,
        mid: String::new(),
        extensions: ExtensionIds::default(),
    }
}
