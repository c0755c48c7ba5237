//! The master's end: one [`NodeLink`] per node dials, dials again, pushes what is desired and hears what is reported.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::{ClientConfig, Connection, Endpoint};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::trouble::ONLY_ASKED;
use super::{
    Credentials, Error, HANDSHAKE, Receiver, Sender, Trouble, close, expect_peer, peer_names,
    understand,
};
use crate::desired::DesiredState;
use crate::message::{Heartbeat, Hello, PROTOCOL_VERSION, ToMaster, ToNode, Welcome};
use crate::pki;
use crate::replica::Step;
use crate::reported::ReportedView;
use crate::state::{Entry, Key, Report, TransportId, TransportReport};
use crate::statistics::{StatisticsAnswer, StatisticsQuestion, TransportStatistics};

/// The first wait before dialling again; it doubles up to [`REDIAL_MAX`].
pub const REDIAL_MIN: Duration = Duration::from_millis(100);
/// The longest wait before dialling again.
pub const REDIAL_MAX: Duration = Duration::from_secs(2);
/// The wait of a master that was told of a newer one: it must not fight, but a node that starts anew forgets.
pub const REDIAL_SUPERSEDED: Duration = Duration::from_secs(10);
/// A node that is silent for so long is dialled anew.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);
/// More transports than this nobody has: what goes beyond is no honest answer.
const ANSWER_MAX: usize = 1 << 20;
/// Most questions about streams that one node has to answer at a time.
pub const QUESTIONS_MAX: usize = 16;

/// The socket from which all nodes are dialled. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    v4: Endpoint,
    v6: Option<Endpoint>,
    config: Arc<Mutex<ClientConfig>>,
}

/// What a link is told once.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The master's name for the node; events carry it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The id that its certificate must name. `None`: whatever the node says of itself, if its certificate agrees.
    pub node_id: Option<String>,
    /// This master's epoch.
    pub epoch: u64,
    /// The instance that the desired state was made for, if one was met before the master's last restart.
    pub known_instance: Option<String>,
}

/// News of a node.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    /// [`NodeConfig::name`].
    pub name: String,
    /// What happened.
    pub news: News,
}

/// What happened to a node.
#[derive(Clone, Debug)]
pub enum News {
    /// It is there.
    Up {
        /// How it introduced itself.
        hello: Hello,
        /// It is another process than the one met before: everything that was on it is lost, and what was desired of it has
        /// been forgotten too.
        restarted: bool,
    },
    /// What it reports has changed; after every `Up` one of these, possibly empty, completes the picture.
    Reports(Vec<Step<Report>>),
    /// It is alive.
    Heartbeat(Heartbeat),
    /// It can't be reached any more, or (`was_up: false`) a try to dial it has failed.
    Down {
        /// Why, for people.
        why: String,
        /// The kind of it.
        trouble: Trouble,
        /// It was up until now.
        was_up: bool,
    },
}

/// Why there is no report to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReport {
    /// The node refuses the entry.
    #[error("the media node refuses: {0}")]
    Refused(String),
    /// It is no longer wanted on the node.
    #[error(
        "it was taken back while it was being set up: its session has ended, or its media node has failed"
    )]
    Withdrawn,
    /// It did not come in time.
    #[error("the media node did not answer in time")]
    Timeout,
    /// Nobody asks the node any more.
    #[error("the link to the media node has been given up")]
    Stopped,
}

/// A handle on the link to one node. Cheap to clone; the link ends with [`stop`](Self::stop) or with the last handle.
#[derive(Clone)]
pub struct NodeLink {
    shared: Arc<Shared>,
    /// Dropped with the last handle, which ends the task.
    _alive: Arc<watch::Sender<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to send.
    desired_changed: Notify,
    /// Counts the changes of what is reported.
    reported_changed: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    /// The next try to dial shall not wait.
    impatient: Notify,
    questions: Mutex<Questions>,
}

/// What the node was asked about its streams and has not answered.
#[derive(Default)]
struct Questions {
    last: u64,
    to_ask: VecDeque<StatisticsQuestion>,
    open: HashMap<u64, OpenQuestion>,
}

struct OpenQuestion {
    heard: Vec<TransportStatistics>,
    answer: oneshot::Sender<Vec<TransportStatistics>>,
}

struct State {
    desired: DesiredState,
    reported: ReportedView,
    hello: Option<Hello>,
    up: bool,
    last_heard: Option<Instant>,
    heartbeat: Heartbeat,
}

impl Dialer {
    /// Opens the sockets. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the certificates are unusable or no socket can be had. A host without IPv6 is no error.
    pub fn new(credentials: &Credentials) -> Result<Self, Error> {
        let config = credentials.client_config()?;
        let any_v4 = SocketAddr::from(([0, 0, 0, 0], 0));
        let any_v6 = SocketAddr::from(([0u16; 8], 0));
        let v4 = Endpoint::client(any_v4).map_err(|source| Error::Socket {
            address: any_v4,
            source,
        })?;
        Ok(Self {
            v4,
            v6: Endpoint::client(any_v6).ok(),
            config: Arc::new(Mutex::new(config)),
        })
    }

    /// Shows another certificate to whoever is dialled from now on, by all clones. Connections that there are stay as they are.
    ///
    /// # Errors
    ///
    /// If certificate and key don't fit together; then nothing changes.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), Error> {
        let config = credentials.client_config()?;
        *self.config() = config;
        Ok(())
    }

    fn config(&self) -> MutexGuard<'_, ClientConfig> {
        // What it guards is replaced as a whole.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dials once and shows that a node of our cluster answers.
    async fn dial(&self, address: SocketAddr) -> Result<Connection, Error> {
        let endpoint = match (&self.v6, address) {
            (Some(v6), SocketAddr::V6(_)) => v6,
            _ => &self.v4,
        };
        let connecting = endpoint.connect_with(self.config().clone(), address, pki::NODE_NAME)?;
        Ok(connecting.await?)
    }

    /// Dials once to see which node is there, without taking it over from anybody: the id in its certificate.
    ///
    /// # Errors
    ///
    /// If no node of our cluster answers within `patience`, or its certificate names none.
    pub async fn identify(&self, address: SocketAddr, patience: Duration) -> Result<String, Error> {
        let connection = timeout(patience, self.dial(address))
            .await
            .unwrap_or(Err(Error::Silent(patience)))?;
        let names = peer_names(&connection);
        connection.close(ONLY_ASKED.into(), b"only asked who is there");
        let own = names.iter().find(|name| *name != pki::NODE_NAME);
        own.cloned().ok_or(Error::WrongPeer {
            expected: "any media node".to_owned(),
            names,
        })
    }
}

impl NodeLink {
    /// Begins to dial and does so until stopped. Must be called inside a tokio runtime.
    ///
    /// Events wait for room in `events`; whoever reads them must not wait for this link in turn.
    pub fn spawn(
        dialer: Dialer,
        config: NodeConfig,
        desired: DesiredState,
        events: mpsc::Sender<NodeEvent>,
    ) -> Self {
        let (alive, gone) = watch::channel(());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                desired,
                reported: ReportedView::new(),
                hello: None,
                up: false,
                last_heard: None,
                heartbeat: Heartbeat::default(),
            }),
            desired_changed: Notify::new(),
            reported_changed: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            impatient: Notify::new(),
            questions: Mutex::default(),
        });
        let task = Task {
            dialer,
            known_instance: config.known_instance.clone(),
            config,
            shared: shared.clone(),
            events,
        };
        tokio::spawn(task.run(gone));
        Self {
            shared,
            _alive: Arc::new(alive),
        }
    }

    /// This should be on the node.
    pub fn put(&self, entry: Entry) {
        self.put_all([entry]);
    }

    /// All this should be on the node, in this order; it travels together.
    pub fn put_all(&self, entries: impl IntoIterator<Item = Entry>) {
        self.change(|desired| {
            for entry in entries {
                desired.put(entry);
            }
        });
    }

    /// This should no longer be on the node.
    pub fn remove(&self, key: &Key) {
        self.change(|desired| {
            desired.remove(key);
        });
    }

    /// Changes what should be there in one go.
    pub fn change(&self, change: impl FnOnce(&mut DesiredState)) {
        change(&mut self.shared.lock().desired);
        self.shared.desired_changed.notify_one();
        // Who waits for the report of what was just taken back waits in vain.
        self.shared
            .reported_changed
            .send_modify(|count| *count += 1);
    }

    /// A copy of what should be there, to be saved.
    pub fn desired(&self) -> DesiredState {
        self.shared.lock().desired.clone()
    }

    /// The node is connected and has introduced itself.
    pub fn is_up(&self) -> bool {
        self.shared.lock().up
    }

    /// How the node last introduced itself.
    pub fn hello(&self) -> Option<Hello> {
        self.shared.lock().hello.clone()
    }

    /// How long nothing has been heard of the node; `None` if it was never met.
    pub fn silence(&self) -> Option<Duration> {
        self.shared.lock().last_heard.map(|then| then.elapsed())
    }

    /// The last heartbeat.
    pub fn heartbeat(&self) -> Heartbeat {
        self.shared.lock().heartbeat.clone()
    }

    /// The revision of what should be there; compare [`Heartbeat::applied`].
    pub fn revision(&self) -> u64 {
        self.shared.lock().desired.revision()
    }

    /// What the node reports under this name.
    pub fn report(&self, key: &Key) -> Option<Report> {
        self.shared.lock().reported.get(key).cloned()
    }

    /// Everything that the node reports.
    pub fn reports(&self) -> Vec<Report> {
        self.shared.lock().reported.reports().cloned().collect()
    }

    /// Waits until the node has made this transport, and so has given it addresses.
    ///
    /// # Errors
    ///
    /// If the node refuses it, if it is taken back meanwhile, or nothing comes within `patience`.
    pub async fn transport_report(
        &self,
        transport: &TransportId,
        patience: Duration,
    ) -> Result<TransportReport, NoReport> {
        let key = Key::Transport(transport.clone());
        let mut changed = self.shared.reported_changed.subscribe();
        let wait = async {
            loop {
                match self.report(&key) {
                    Some(Report::Transport(report)) => return Ok(report),
                    Some(Report::Refused(refusal)) => return Err(NoReport::Refused(refusal.limit)),
                    Some(Report::Voice(_)) | None => {}
                }
                if *self.shared.stop.borrow() {
                    return Err(NoReport::Stopped);
                }
                if self.shared.lock().desired.get(&key).is_none() {
                    return Err(NoReport::Withdrawn);
                }
                if changed.changed().await.is_err() {
                    return Err(NoReport::Stopped);
                }
            }
        };
        timeout(patience, wait)
            .await
            .unwrap_or(Err(NoReport::Timeout))
    }

    /// Asks how streams are doing, all of them or those of a session or connection; the question's number is set here.
    ///
    /// # Errors
    ///
    /// If the node is away, has too much to answer, or says nothing within `patience`.
    pub async fn statistics(
        &self,
        question: StatisticsQuestion,
        patience: Duration,
    ) -> Result<Vec<TransportStatistics>, NoReport> {
        if !self.is_up() {
            return Err(NoReport::Stopped);
        }
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut questions = self.shared.questions();
            if questions.open.len() >= QUESTIONS_MAX {
                return Err(NoReport::Timeout);
            }
            questions.last += 1;
            let number = questions.last;
            let heard = Vec::new();
            questions
                .open
                .insert(number, OpenQuestion { heard, answer });
            questions
                .to_ask
                .push_back(StatisticsQuestion { number, ..question });
            number
        };
        self.shared.desired_changed.notify_one();
        let outcome = timeout(patience, answered).await;
        self.shared.questions().forget(number);
        match outcome {
            Ok(Ok(statistics)) => Ok(statistics),
            Ok(Err(_)) => Err(NoReport::Stopped),
            Err(_) => Err(NoReport::Timeout),
        }
    }

    /// Dials now instead of waiting for the next try, if the node is away.
    pub fn dial_now(&self) {
        self.shared.impatient.notify_waiters();
    }

    /// Hangs up and dials no more. What is on the node goes on until its transports end by themselves.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
        self.shared
            .reported_changed
            .send_modify(|count| *count += 1);
    }
}

impl Questions {
    fn forget(&mut self, number: u64) {
        self.open.remove(&number);
        self.to_ask.retain(|question| question.number != number);
    }

    /// A part of an answer has come. Who asked may have given up.
    fn hear(&mut self, part: StatisticsAnswer) {
        let Some(open) = self.open.get_mut(&part.number) else {
            return;
        };
        open.heard.extend(part.transports);
        let is_complete = !part.more || open.heard.len() > ANSWER_MAX;
        if is_complete && let Some(open) = self.open.remove(&part.number) {
            // Who asked may have given up at this moment.
            let _ = open.answer.send(open.heard);
        }
    }

    /// Nobody answers any more: who asks is told at once.
    fn clear(&mut self) {
        self.open.clear();
        self.to_ask.clear();
    }
}

impl Shared {
    /// A poisoned lock means that somebody has panicked with it; what it guards is still a list of questions.
    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A poisoned lock means that a closure of the caller has panicked; what it guards is still a map.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task behind a link.
struct Task {
    dialer: Dialer,
    config: NodeConfig,
    known_instance: Option<String>,
    shared: Arc<Shared>,
    events: mpsc::Sender<NodeEvent>,
}

impl Task {
    async fn run(mut self, mut gone: watch::Receiver<()>) {
        let mut stop = self.shared.stop.subscribe();
        tokio::select! {
            () = self.dial_forever() => {}
            // Nothing is ever sent: this ends when the last handle goes.
            _ = gone.changed() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.disconnected();
    }

    async fn dial_forever(&mut self) {
        let mut wait = REDIAL_MIN;
        loop {
            let error = match self.connect().await {
                Ok((connection, sender, receiver)) => {
                    wait = REDIAL_MIN;
                    let error = match self.converse(sender, receiver).await {
                        Ok(never) => match never {},
                        Err(error) => error,
                    };
                    close(&connection, &error.to_string());
                    error
                }
                Err(error) => error,
            };
            let was_up = self.disconnected();
            let (why, trouble) = (error.to_string(), error.trouble());
            tracing::debug!(node = %self.config.name, address = %self.config.address, %why, was_up, "link down");
            let down = News::Down {
                why,
                trouble,
                was_up,
            };
            self.tell(down).await;
            let pause = match trouble {
                Trouble::Superseded => REDIAL_SUPERSEDED,
                _ => wait,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.impatient.notified() => {}
            }
            wait = (wait * 2).min(REDIAL_MAX);
        }
    }

    async fn connect(&mut self) -> Result<(Connection, Sender<ToNode>, Receiver<ToMaster>), Error> {
        timeout(HANDSHAKE, self.introduce())
            .await
            .unwrap_or(Err(Error::Silent(HANDSHAKE)))
    }

    async fn introduce(
        &mut self,
    ) -> Result<(Connection, Sender<ToNode>, Receiver<ToMaster>), Error> {
        let connection = self.dialer.dial(self.config.address).await?;
        let (send, receive) = connection.open_bi().await?;
        let (mut sender, mut receiver) = (Sender::new(send), Receiver::new(receive));
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            epoch: self.config.epoch,
        };
        sender.send(&ToNode::Welcome(welcome)).await?;
        let ToMaster::Hello(hello) = receiver.receive().await? else {
            close(&connection, "hello comes first");
            return Err(Error::OutOfOrder("hello"));
        };
        if let Err(error) = understand(hello.version) {
            close(&connection, &error.to_string());
            return Err(error);
        }
        let expected = self.config.node_id.as_deref().unwrap_or(&hello.node);
        let checked = expect_peer(&connection, expected).and_then(|()| {
            (expected == hello.node)
                .then_some(())
                .ok_or(Error::WrongPeer {
                    expected: expected.to_owned(),
                    names: vec![hello.node.clone()],
                })
        });
        if let Err(error) = checked {
            close(&connection, "the node is not who it says");
            return Err(error);
        }
        self.connected(hello).await;
        Ok((connection, sender, receiver))
    }

    /// Speaks and listens until something ends the conversation.
    async fn converse(
        &self,
        mut sender: Sender<ToNode>,
        mut receiver: Receiver<ToMaster>,
    ) -> Result<std::convert::Infallible, Error> {
        let speak = async {
            loop {
                // The lock is not held while sending.
                let next = self.shared.lock().desired.poll();
                let ask = || self.shared.questions().to_ask.pop_front();
                match next.or_else(|| ask().map(ToNode::AskStatistics)) {
                    Some(message) => sender.send(&message).await?,
                    None => self.shared.desired_changed.notified().await,
                }
            }
        };
        let listen = async {
            loop {
                let message = timeout(SILENCE_MAX, receiver.receive())
                    .await
                    .unwrap_or(Err(Error::Silent(SILENCE_MAX)))?;
                self.heard(message).await?;
            }
        };
        tokio::select! {
            error = speak => error,
            error = listen => error,
        }
    }

    async fn heard(&self, message: ToMaster) -> Result<(), Error> {
        let news = {
            let mut state = self.shared.lock();
            state.last_heard = Some(Instant::now());
            match message {
                ToMaster::Heartbeat(heartbeat) => {
                    state.heartbeat = heartbeat.clone();
                    Some(News::Heartbeat(heartbeat))
                }
                ToMaster::ReportedSnapshot(part) if part.more => {
                    state
                        .reported
                        .on_message(ToMaster::ReportedSnapshot(part))?;
                    None
                }
                ToMaster::Statistics(part) => {
                    self.shared.questions().hear(part);
                    None
                }
                ToMaster::Hello(_) | ToMaster::Unknown => None,
                message => Some(News::Reports(state.reported.on_message(message)?)),
            }
        };
        if matches!(news, Some(News::Reports(_))) {
            self.shared
                .reported_changed
                .send_modify(|count| *count += 1);
        }
        if let Some(news) = news {
            self.tell(news).await;
        }
        Ok(())
    }

    async fn connected(&mut self, hello: Hello) {
        let restarted = self
            .known_instance
            .as_ref()
            .is_some_and(|known| *known != hello.instance);
        self.known_instance = Some(hello.instance.clone());
        {
            let mut state = self.shared.lock();
            if restarted {
                state.desired.clear();
            }
            state.desired.on_connected();
            state.reported.on_hello(&hello.instance);
            state.hello = Some(hello.clone());
            state.last_heard = Some(Instant::now());
            state.up = true;
        }
        self.tell(News::Up { hello, restarted }).await;
    }

    /// Answers whether it was connected.
    fn disconnected(&self) -> bool {
        self.shared.questions().clear();
        let mut state = self.shared.lock();
        state.desired.on_disconnected();
        std::mem::replace(&mut state.up, false)
    }

    /// Nobody listening is no reason to stop.
    async fn tell(&self, news: News) {
        let event = NodeEvent {
            name: self.config.name.clone(),
            news,
        };
        let _ = self.events.send(event).await;
    }
}
