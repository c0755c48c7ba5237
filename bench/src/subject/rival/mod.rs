//! Servers of others, as Debian packages them: what people run today in Ringcast's place.
//!
//! Each is started from its installed program, with a configuration of its own in a temporary folder, and signalled in its own
//! language. Browsers get to it with ICE, DTLS and SRTP as they get to Ringcast: one transport for every stream that they watch.

mod bencode;
mod janus;
mod rtpengine;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clock::Rng;

use super::browsers::{Browsers, published_media, subscription};
use super::process::{Process, raise_descriptor_limit};
use super::{Readings, Subject};
use crate::exit::Exit;
use crate::fleet::{Fleet, PeerId, PublisherSpec};
use crate::plan::{Medium, Plan, Session, Stream, Suite};
use crate::progress::Event;
use crate::runner::Watch;
use crate::signal::Remote;

/// How long media of everybody may take to connect once signalling is done.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks for the end, while people wait for their turn to join.
const TURN: Duration = Duration::from_millis(1);
/// How often progress is told while people join.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Janus with its plugin for video rooms.
    Janus,
    /// Sipwise's rtpengine, forwarding in user space.
    Rtpengine,
}

impl Kind {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Janus => "janus",
            Self::Rtpengine => "rtpengine",
        }
    }
}

/// How one is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which one.
    pub kind: Kind,
    /// What it is called in reports.
    pub name: String,
    /// How many threads share the media. If not given: for Janus one, which costs it least, and as many as it likes for the other.
    /// Zero: for Janus what it does by itself, which is a thread for every transport.
    pub threads: Option<u16>,
}

impl From<Kind> for Options {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            name: kind.name().to_owned(),
            threads: None,
        }
    }
}

/// A stream that somebody publishes, as its server names it within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Feed(u64);

/// Somebody's subscription to one stream, as its server names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat(u64);

/// A server that runs, and its language.
trait Server: Send {
    /// What of it runs here.
    fn process(&self) -> &Process;

    /// Makes a place for the session of this number.
    fn open_session(&mut self, session: usize) -> anyhow::Result<()>;

    /// Takes the offer of one who publishes; the answer.
    fn publish(&mut self, session: usize, offer: &str) -> anyhow::Result<(Feed, String)>;

    /// Offers a stream to one who wants to watch it.
    fn subscribe(&mut self, session: usize, feed: Feed) -> anyhow::Result<(Seat, String)>;

    /// Takes the answer to that.
    fn accept(&mut self, session: usize, seat: Seat, answer: &str) -> anyhow::Result<()>;

    /// Ends a subscription.
    fn leave(&mut self, session: usize, seat: Seat) -> anyhow::Result<()>;

    /// Whether streams go on under the SSRC of the publisher.
    fn keeps_ssrcs(&self) -> bool;

    /// Whether sound and pictures of a stream share a transport (BUNDLE, RFC 9143).
    fn bundles(&self) -> bool;

    /// What a reader of its figures must know.
    fn notes(&self) -> Vec<String>;

    /// Ends it.
    fn stop(&mut self) -> anyhow::Result<()>;
}

/// A server of others that was started for a run.
pub struct Rival {
    name: String,
    server: Box<dyn Server>,
    browsers: Browsers,
    sessions: Vec<Vec<Source>>,
    /// In the order in which they came.
    viewers: VecDeque<Viewer>,
    media: Vec<SocketAddr>,
    suite: Suite,
}

/// What somebody publishes over one transport.
#[derive(Clone, Debug)]
struct Source {
    feed: Feed,
    media: Vec<(Medium, u64)>,
    ssrcs: Vec<u32>,
}

/// A transport of somebody who watches one source.
#[derive(Clone, Copy, Debug)]
struct Viewer {
    session: usize,
    /// Which of the session's.
    source: usize,
    seat: Seat,
    peer: PeerId,
}

impl Rival {
    /// Starts one in its place at `exit` and waits until it can be talked to.
    ///
    /// # Errors
    /// If it is not installed, does not start, or cannot be used at this exit; the error says which and why.
    pub fn start(options: &Options, exit: &Exit, seed: u64) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        let server: Box<dyn Server> = match options.kind {
            Kind::Janus => Box::new(janus::Janus::start(options.threads, exit)?),
            Kind::Rtpengine => Box::new(rtpengine::Rtpengine::start(options.threads, exit)?),
        };
        Ok(Self {
            name: options.name.clone(),
            server,
            browsers: Browsers::new(Rng::from_number(seed))?,
            sessions: Vec::new(),
            viewers: VecDeque::new(),
            media: Vec::new(),
            suite: Suite::Aes256Gcm,
        })
    }

    fn connect_all(&mut self, fleet: &Fleet, plan: &Plan, watch: &Watch<'_>) -> anyhow::Result<()> {
        self.suite = plan.suite;
        let mut seed = plan.seed << 32;
        let mut peers = Vec::new();
        for (number, session) in plan.sessions.iter().enumerate() {
            self.server.open_session(number)?;
            let mut sources = Vec::new();
            for stream in &session.streams {
                for media in self.transports(stream, &mut seed) {
                    let (source, peer) = self.publish(fleet, number, media)?;
                    sources.push(source);
                    peers.push(peer);
                }
            }
            self.sessions.push(sources);
        }
        // Nobody can watch before there is something.
        fleet.wait_connected(&peers, PATIENCE)?;

        let sources: Vec<_> = self.sessions.iter().map(Vec::len).collect();
        let audience = audience(plan, &sources);
        let (begun, mut told) = (Instant::now(), Instant::now());
        let of = audience.len();
        for (joined, (session, source)) in audience.into_iter().enumerate() {
            let due = plan
                .joins_per_second
                .map(|rate| begun + Duration::from_secs_f64(joined as f64 / rate));
            while due.is_some_and(|due| Instant::now() < due) {
                watch.sleep(TURN)?;
            }
            let viewer = self.view(fleet, session, source)?;
            peers.push(viewer.peer);
            self.viewers.push_back(viewer);
            if joined + 1 == of || told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let joined = joined + 1;
                watch.report(Event::Joining { joined, of });
            }
            if watch.is_over() {
                bail!("interrupted");
            }
        }
        Ok(fleet.wait_connected(&peers, PATIENCE)?)
    }

    /// The media of each transport that a stream takes.
    fn transports(&self, stream: &Stream, seed: &mut u64) -> Vec<Vec<(Medium, u64)>> {
        let media = [&stream.audio, &stream.video].into_iter().flatten();
        let media: Vec<_> = media
            .map(|medium| {
                *seed += 1;
                (medium.clone(), *seed)
            })
            .collect();
        if self.server.bundles() {
            vec![media]
        } else {
            media.into_iter().map(|medium| vec![medium]).collect()
        }
    }

    fn publish(
        &mut self,
        fleet: &Fleet,
        session: usize,
        media: Vec<(Medium, u64)>,
    ) -> anyhow::Result<(Source, PeerId)> {
        let local = fleet.allocate();
        let (peer, offered) = self.browsers.describe(&media, Some(local));
        let (feed, answer) = self.server.publish(session, &peer.publishing(&offered))?;
        let remote =
            Remote::parse(&answer).with_context(|| format!("cannot use the answer\n{answer}"))?;
        self.media.push(remote.candidate);
        let id = fleet.publish(PublisherSpec {
            local,
            association: self.browsers.association(&peer, &remote, self.suite),
            media: published_media(&media, &offered, &remote)?,
        })?;
        let source = Source {
            feed,
            media,
            ssrcs: offered.iter().map(|offered| offered.ssrc).collect(),
        };
        Ok((source, id))
    }

    fn view(&mut self, fleet: &Fleet, session: usize, number: usize) -> anyhow::Result<Viewer> {
        let source = self.sessions.get(session).and_then(|all| all.get(number));
        let source = source.context("nobody publishes that")?;
        let (seat, offer) = self.server.subscribe(session, source.feed)?;
        let local = fleet.allocate();
        let (peer, _) = self.browsers.describe(&[], Some(local));
        let remote =
            Remote::parse(&offer).with_context(|| format!("cannot use the offer\n{offer}"))?;
        self.server.accept(session, seat, &peer.answer(&offer)?)?;
        let association = self.browsers.association(&peer, &remote, self.suite);
        let kept = self.server.keeps_ssrcs().then_some(&source.ssrcs[..]);
        let spec = subscription(&source.media, kept, &remote, local, association)?;
        let peer = fleet.subscribe(spec)?;
        Ok(Viewer {
            session,
            source: number,
            seat,
            peer,
        })
    }

    /// An error, and what the server said last.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let process = self.server.process();
        match process.ensure_alive() {
            Err(ended) => anyhow::anyhow!("{error:#}; {ended:#}"),
            Ok(()) => anyhow::anyhow!("{error:#}; {}", process.last_words()),
        }
    }
}

impl Subject for Rival {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.process().id()]
    }

    fn media_addresses(&self) -> Vec<SocketAddr> {
        self.media.clone()
    }

    fn connect(&mut self, fleet: &Fleet, plan: &Plan, watch: &Watch<'_>) -> anyhow::Result<()> {
        let connected = self.connect_all(fleet, plan, watch);
        connected.map_err(|error| self.explain(error))
    }

    fn replace_viewers(&mut self, fleet: &Fleet, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            // All transports of one viewer came one after the other.
            let session = self.viewers.front().map_or(0, |viewer| viewer.session);
            let transports = self.sessions.get(session).map_or(0, Vec::len);
            let mut peers = Vec::with_capacity(transports);
            for _ in 0..transports {
                let Some(oldest) = self.viewers.pop_front() else {
                    return Ok(());
                };
                fleet.remove(oldest.peer);
                self.server.leave(oldest.session, oldest.seat)?;
                let viewer = self.view(fleet, oldest.session, oldest.source)?;
                peers.push(viewer.peer);
                self.viewers.push_back(viewer);
            }
            fleet.newcomer(&peers);
        }
        Ok(())
    }

    fn readings(&mut self) -> anyhow::Result<Readings> {
        // None of them tells what the others tell, or not without being asked so often that it shows.
        self.server.process().ensure_alive()?;
        Ok(Readings::default())
    }

    fn notes(&self) -> Vec<String> {
        self.server.notes()
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.server.stop()
    }
}

/// An address of the server's that nobody has now: what `bind` gets from a socket that it opens and closes.
fn free_port(
    exit: &Exit,
    bind: impl FnOnce((IpAddr, u16)) -> io::Result<SocketAddr> + Send,
) -> anyhow::Result<SocketAddr> {
    let address = (exit.subject_address(), 0);
    Ok(exit.subject_network().enter(|| bind(address))??)
}

/// Who watches what: session and source of each transport. `sources` says how many there are in each session.
fn audience(plan: &Plan, sources: &[usize]) -> Vec<(usize, usize)> {
    let of_session = |(number, (session, sources)): (usize, (&Session, &usize))| {
        let sources = *sources;
        let others = match session.publishers_watch {
            true => session.streams.len().saturating_sub(1),
            false => 0,
        };
        let audience = session.viewers + others;
        (0..audience * sources).map(move |place| (number, place % sources))
    };
    let sessions = plan.sessions.iter().zip(sources).enumerate();
    sessions.flat_map(of_session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_watches_everybody_else() {
        let mut plan = crate::plan::tests::example();
        let sessions = plan.sessions.clone();
        plan.sessions.extend(sessions);
        let audience = audience(&plan, &[2, 2]);
        assert_eq!(audience.len(), plan.streams_out());
        for session in 0..2 {
            for stream in 0..2 {
                let watching = audience.iter().filter(|one| **one == (session, stream));
                assert_eq!(watching.count(), 4, "session {session}, stream {stream}");
            }
        }
    }
}
