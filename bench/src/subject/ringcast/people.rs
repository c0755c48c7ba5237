use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, stream};

use crate::fleet::{Association, Fleet, PeerId, PublisherSpec, SubscriberSpec};
use crate::plan::{Medium, Plan, Session, Stream, Suite};
use crate::signal::{
    Application, Browser, Error as SignalError, Joined, Peer, Published, Remote, Role,
};
use crate::subject::browsers::{Browsers, published_media, subscription};

/// People who join at the same time, if the plan does not say how fast they come.
const AT_ONCE: usize = 32;
/// The master cannot reach the media node, or has none (OpenVidu's code 204): on a machine that is full this passes.
const NO_MEDIA_NODE: i64 = 204;
/// How long people ask before they take that for an answer, and how long they wait in between.
const NODE_PATIENCE: Duration = Duration::from_secs(20);
const NODE_PAUSE: Duration = Duration::from_millis(500);
/// How long a person's media may take to connect once signalling is done.
const MEDIA_PATIENCE: Duration = Duration::from_secs(60);
/// More streams than a session ever has: it keeps the seeds of sessions apart.
const STREAMS_MAX: u64 = 1 << 16;

/// Where people meet: an application of the cluster, and what all browsers share.
#[derive(Debug)]
pub(super) struct Venue {
    pub(super) application: Application,
    pub(super) browsers: Browsers,
    /// What the names of the sessions begin with.
    pub(super) prefix: String,
}

/// Everybody who is there.
#[derive(Debug, Default)]
pub(super) struct People {
    sessions: Vec<OpenSession>,
    publishers: Vec<Person>,
    /// In the order in which they came.
    viewers: VecDeque<Person>,
    suite: Option<Suite>,
}

/// A session that has been opened, and what is published in it.
#[derive(Clone, Debug)]
struct OpenSession {
    name: String,
    streams: Vec<Arc<Source>>,
}

/// A stream that somebody publishes.
#[derive(Debug)]
struct Source {
    /// Its id, and that of the connection that publishes it.
    id: String,
    connection: String,
    media: Vec<(Medium, u64)>,
}

/// Somebody who has joined.
#[derive(Debug)]
struct Person {
    session: usize,
    browser: Browser,
    peers: Vec<PeerId>,
}

/// A stream that is to be published.
struct ToPublish<'a> {
    session: usize,
    stream: &'a Stream,
    first_seed: u64,
}

impl People {
    /// Brings everybody in: first those who publish, then those who watch.
    pub(super) async fn connect(
        &mut self,
        venue: &Venue,
        fleet: &Fleet,
        plan: &Plan,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> anyhow::Result<()> {
        self.suite = Some(plan.suite);
        let viewers: usize = plan.sessions.iter().map(|session| session.viewers).sum();
        let publishers: usize = plan.sessions.iter().map(|s| s.streams.len()).sum();
        let of = viewers + publishers;
        let guest = Guest {
            venue,
            fleet,
            suite: plan.suite,
        };
        for number in 0..plan.sessions.len() {
            let name = format!("{}-{number}", venue.prefix);
            venue.application.create_session(&name).await?;
            self.sessions.push(OpenSession {
                name,
                streams: Vec::new(),
            });
        }
        self.publish(&guest, plan, &mut |joined| progress(joined, of))
            .await?;
        self.watch_each_other(&guest, plan).await?;

        let places = plan.sessions.iter().enumerate();
        let places: Vec<_> = places
            .flat_map(|(number, session)| std::iter::repeat_n(number, session.viewers))
            .collect();
        let pace = Pace::new(plan.joins_per_second);
        let (sessions, pace) = (&self.sessions, &pace);
        let mut coming = stream::iter(places.into_iter().enumerate())
            .map(|(number, session)| {
                let guest = &guest;
                async move {
                    pace.wait(number).await;
                    guest.view(session, &sessions[session], true).await
                }
            })
            .buffer_unordered(pace.at_once());
        let mut joined = publishers;
        while let Some(person) = coming.next().await {
            self.viewers.push_back(person?);
            joined += 1;
            if !progress(joined, of) {
                bail!("interrupted");
            }
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        guest: &Guest<'_>,
        plan: &Plan,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> anyhow::Result<()> {
        let sessions = plan.sessions.iter().enumerate();
        let wanted: Vec<_> = sessions
            .flat_map(|(of, session)| {
                session
                    .streams
                    .iter()
                    .enumerate()
                    .map(move |(number, stream)| {
                        let place = of as u64 * STREAMS_MAX + number as u64;
                        ToPublish {
                            session: of,
                            stream,
                            // Two media each; apart also from those of a plan with another seed.
                            first_seed: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                                ^ (2 * place + 2),
                        }
                    })
            })
            .collect();
        let names: Vec<_> = self
            .sessions
            .iter()
            .map(|session| session.name.clone())
            .collect();
        let names = &names;
        let mut coming = stream::iter(wanted)
            .map(|wanted| async move { guest.publish(&names[wanted.session], &wanted).await })
            .buffer_unordered(AT_ONCE);
        while let Some(published) = coming.next().await {
            let (person, source) = published?;
            self.sessions[person.session].streams.push(Arc::new(source));
            self.publishers.push(person);
            if !progress(self.publishers.len()) {
                bail!("interrupted");
            }
        }
        Ok(())
    }

    /// Publishers of sessions in which they do so subscribe to all others.
    async fn watch_each_other(&mut self, guest: &Guest<'_>, plan: &Plan) -> anyhow::Result<()> {
        let watches = |session: &Session| session.publishers_watch;
        let sessions = &self.sessions;
        let mut coming = stream::iter(&mut self.publishers)
            .filter(|person| std::future::ready(watches(&plan.sessions[person.session])))
            .map(|person| async move {
                for source in &sessions[person.session].streams {
                    if source.connection != person.browser.connection() {
                        let peer = guest.subscribe(&person.browser, source, None).await?;
                        person.peers.push(peer);
                    }
                }
                guest.wait(&person.peers).await
            })
            .buffer_unordered(AT_ONCE);
        while let Some(watching) = coming.next().await {
            watching?;
        }
        Ok(())
    }

    /// The oldest viewers go, new ones come to their sessions.
    pub(super) async fn replace_viewers(
        &mut self,
        venue: &Venue,
        fleet: &Fleet,
        count: usize,
    ) -> anyhow::Result<()> {
        let Some(suite) = self.suite else {
            return Ok(());
        };
        let guest = Guest {
            venue,
            fleet,
            suite,
        };
        let count = count.min(self.viewers.len());
        let going: Vec<_> = self.viewers.drain(..count).collect();
        let sessions = &self.sessions;
        let mut changing = stream::iter(going)
            .map(|person| {
                let guest = &guest;
                async move {
                    let session = person.session;
                    guest.leave(person).await?;
                    guest.view(session, &sessions[session], false).await
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some(person) = changing.next().await {
            self.viewers.push_back(person?);
        }
        Ok(())
    }

    /// Ends all sessions, and with them everybody's presence.
    pub(super) async fn close(&mut self, venue: &Venue) {
        for session in self.sessions.drain(..) {
            // A cluster that is about to end anyway need not answer.
            if let Err(error) = venue.application.delete_session(&session.name).await {
                tracing::debug!(%error, "a session could not be ended");
            }
        }
        self.publishers.clear();
        self.viewers.clear();
    }

    /// Everybody's WebSocket breaks. The master waits for them to come back, and media go on meanwhile. Answers how many.
    pub(super) fn hang_up(&self) -> usize {
        let people = self.publishers.iter().chain(&self.viewers);
        people.inspect(|person| person.browser.hang_up()).count()
    }
}

/// Brings single people in.
struct Guest<'a> {
    venue: &'a Venue,
    fleet: &'a Fleet,
    suite: Suite,
}

impl Guest<'_> {
    async fn publish(
        &self,
        session: &str,
        wanted: &ToPublish<'_>,
    ) -> anyhow::Result<(Person, Source)> {
        let (browser, joined) = self.join(session, Role::Publisher).await?;
        let media: Vec<_> = [&wanted.stream.audio, &wanted.stream.video]
            .into_iter()
            .flatten()
            .zip(wanted.first_seed..)
            .map(|(medium, seed)| (medium.clone(), seed))
            .collect();
        let (peer, offered) = self.venue.browsers.describe(&media, None);
        let (has_audio, has_video) = (wanted.stream.audio.is_some(), wanted.stream.video.is_some());
        let published = browser
            .publish(&peer.publishing(&offered), has_audio, has_video)
            .await?;
        let remote = Remote::parse(&published.answer)?;
        let local = self.fleet.allocate();
        let spec = PublisherSpec {
            local,
            association: self.association(&peer, &remote),
            media: published_media(&media, &offered, &remote)?,
        };
        let id = self.fleet.publish(spec)?;
        self.trickle(&browser, &joined.connection, local, &peer)
            .await?;
        self.wait(&[id]).await?;
        let Published { stream, .. } = published;
        let source = Source {
            id: stream,
            connection: joined.connection,
            media,
        };
        let person = Person {
            session: wanted.session,
            browser,
            peers: vec![id],
        };
        Ok((person, source))
    }

    /// Somebody who watches everything in a session.
    async fn view(
        &self,
        number: usize,
        session: &OpenSession,
        wait: bool,
    ) -> anyhow::Result<Person> {
        let asked = net::now();
        let (browser, _) = self.join(&session.name, Role::Subscriber).await?;
        let mut peers = Vec::with_capacity(session.streams.len());
        for source in &session.streams {
            peers.push(self.subscribe(&browser, source, Some(asked)).await?);
        }
        self.fleet.newcomer(&peers);
        if wait {
            self.wait(&peers).await?;
        }
        Ok(Person {
            session: number,
            browser,
            peers,
        })
    }

    /// A token, a socket, and the way in.
    async fn join(&self, session: &str, role: Role) -> anyhow::Result<(Browser, Joined)> {
        let application = &self.venue.application;
        let token = application.create_connection(session, role).await?;
        let joined = patiently(|| Browser::join(application.endpoint(), &token)).await;
        Ok(joined?)
    }

    async fn leave(&self, person: Person) -> anyhow::Result<()> {
        for peer in person.peers {
            self.fleet.remove(peer);
        }
        person.browser.leave().await?;
        Ok(())
    }

    /// `asked`: when somebody who joins for this stream asked for a token.
    async fn subscribe(
        &self,
        browser: &Browser,
        source: &Source,
        asked: Option<clock::Instant>,
    ) -> anyhow::Result<PeerId> {
        let (peer, _) = self.venue.browsers.describe(&[], None);
        let remote = if browser.server_offers() {
            let offer = patiently(|| browser.prepare_subscription(&source.id)).await?;
            let answer = peer.answer(&offer)?;
            patiently(|| browser.accept_subscription(&source.id, &answer)).await?;
            Remote::parse(&offer)?
        } else {
            let kinds = source
                .media
                .iter()
                .map(|(medium, _)| crate::signal::kind(medium.codec()));
            let offer = peer.subscribing(&kinds.collect::<Vec<_>>());
            let answer = browser.subscribe(&source.id, &offer).await?;
            Remote::parse(&answer)?
        };
        let local = self.fleet.allocate();
        let association = self.association(&peer, &remote);
        let spec = SubscriberSpec {
            asked,
            ..subscription(&source.media, None, &remote, local, association)?
        };
        let id = self.fleet.subscribe(spec)?;
        self.trickle(browser, &source.connection, local, &peer)
            .await?;
        Ok(id)
    }

    async fn trickle(
        &self,
        browser: &Browser,
        of: &str,
        local: std::net::SocketAddr,
        peer: &Peer,
    ) -> anyhow::Result<()> {
        let candidate = crate::signal::host_candidate(local, peer.ice.ufrag());
        Ok(browser.ice_candidate(of, &candidate, "0").await?)
    }

    async fn wait(&self, peers: &[PeerId]) -> anyhow::Result<()> {
        for peer in peers {
            let connected = tokio::time::timeout(MEDIA_PATIENCE, self.fleet.connected(*peer));
            connected
                .await
                .with_context(|| format!("media did not connect within {MEDIA_PATIENCE:?}"))??;
        }
        Ok(())
    }

    fn association(&self, peer: &Peer, remote: &Remote) -> Association {
        let browsers = &self.venue.browsers;
        browsers.association(peer, remote, self.suite)
    }
}

/// Asks again while the master cannot reach the media node.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, SignalError>
where
    F: Future<Output = Result<T, SignalError>>,
{
    let until = Instant::now() + NODE_PATIENCE;
    loop {
        match ask().await {
            Err(SignalError::Refused { code, .. })
                if code == NO_MEDIA_NODE && Instant::now() < until =>
            {
                tokio::time::sleep(NODE_PAUSE).await;
            }
            answered => return answered,
        }
    }
}

/// When people come.
struct Pace {
    begun: tokio::time::Instant,
    interval: Option<Duration>,
}

impl Pace {
    fn new(per_second: Option<f64>) -> Self {
        let usable = per_second.filter(|rate| *rate > 0.0);
        Self {
            begun: tokio::time::Instant::now(),
            interval: usable.map(|rate| Duration::from_secs_f64(1.0 / rate)),
        }
    }

    async fn wait(&self, number: usize) {
        if let Some(interval) = self.interval {
            tokio::time::sleep_until(self.begun + interval.mul_f64(number as f64)).await;
        }
    }

    /// A storm must not be held back by those who are still joining.
    fn at_once(&self) -> usize {
        match self.interval {
            Some(interval) => AT_ONCE.max((2.0 / interval.as_secs_f64()).ceil() as usize),
            None => AT_ONCE,
        }
    }
}
