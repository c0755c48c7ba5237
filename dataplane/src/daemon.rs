//! Putting a node together: certificates, workers, agent; and taking it apart again.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use clock::{Instant, NtpTime, Rng};
use link::message::{Capacity, Hello, PROTOCOL_VERSION};
use link::quic::Credentials;
use link::quic::node::Listener;
use logs::Logs;
use net::{AnyDriver, Choice, Driver as _, Waker};
use packet::{Arena, ArenaSize, Bursts, BurstsSize, CHUNK_BYTES, SLOT_BYTES, SMALL_SLOT_BYTES};
use proto::dtls;
use sfu::Engine;
use tokio::sync::mpsc;

use crate::agent::handshake::Handshakes;
use crate::agent::node::Node;
use crate::agent::{Agent, End, PeerSockets, Signals, WorkerPort, admin, local};
use crate::capacity::{self, Capacity as Measured};
use crate::check_host::{Host, SystemProbes};
use crate::config::{Bytes, Config, Driver, SHUTDOWN_PATIENCE, Sources};
use crate::crossing::Crossing;
use crate::gather::Gather;
use crate::mailbox::{Outbox, mailbox};
use crate::metrics::{self, AgentCounters, Cells};
use crate::placement::Limits;
use crate::reload::Reloader;
use crate::worker::{News, Order, Worker, chain};

/// Orders that may wait for a worker.
const ORDERS_MAX: usize = 4096;
/// News that may wait for the agent, per worker.
const NEWS_MAX: usize = 4096;
/// Receive slots that caches can never take.
const RESERVE: u32 = 4096;
/// Of those, the part that other workers may be lent.
const LOANS_SHARE: u32 = 4;
/// Of the receive memory, the part for small packets.
const SMALL_SHARE: u64 = 8;
/// Finished bursts that may wait for the driver.
const BURSTS_QUEUED: usize = 8192;
/// How long a worker's port may be in use when the node starts.
const PORT_PATIENCE: Duration = Duration::from_secs(1);
/// Descriptors beside the media sockets: link, admin, rings, wakers, files.
const DESCRIPTORS: u64 = 1024;

/// Why a node can't start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The link's certificates or socket can't be had.
    #[error("{source}; {mend}")]
    Link {
        /// What is wrong.
        source: link::quic::Error,
        /// What to do about it.
        mend: String,
    },
    /// The certificate is another node's.
    #[error(
        "the certificate is for {names:?}, but this node is {node:?}: set --node-id, or issue a certificate with `ringcast-master pki node --id {node}`"
    )]
    WrongCertificate {
        /// The names in it.
        names: Vec<String>,
        /// The node's id.
        node: String,
    },
    /// The system has no randomness, or the cipher library does not work.
    #[error("DTLS can't be set up: {0}")]
    Dtls(String),
    /// A worker's sockets or ring can't be had.
    #[error("worker {worker}: {why}; {mend}")]
    Driver {
        /// Which.
        worker: u16,
        /// What is wrong.
        why: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// Memory for packets can't be had.
    #[error(
        "worker {worker}: memory for packets: {source}; lower --arena ({arena}) or the number of workers"
    )]
    Memory {
        /// Which.
        worker: u16,
        /// How much was asked for.
        arena: Bytes,
        /// What is wrong.
        source: packet::Error,
    },
    /// The admin endpoint can't listen.
    #[error(
        "listen on {address} for the admin endpoint: {source}; choose another address with --admin-listen"
    )]
    Admin {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The Unix socket can't be made.
    #[error(
        "make the socket {} (admin.socket): {source}; its directory must be there, ours or root's, and nobody else may write in it",
        path.display()
    )]
    Socket {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The system refuses something that every process gets.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A worker could not go on.
    #[error("worker {worker} failed: {why}")]
    WorkerFailed {
        /// Which.
        worker: u16,
        /// Why.
        why: String,
    },
}

/// Runs a node until a signal ends it. `sources` are read again when a signal asks for it.
///
/// # Errors
///
/// [`Error`] says what can't be had and what to do about it.
pub fn run(config: &Config, sources: Sources, logs: Logs) -> Result<(), Error> {
    let credentials = credentials(config)?;
    raise_descriptor_limit(DESCRIPTORS + u64::from(config.media.transports_max));
    let (end, threads) = on_runtime(serve(config, &credentials, sources, logs))?;
    join(threads);
    match end {
        End::Asked => {
            tracing::info!("stopped");
            Ok(())
        }
        End::WorkerFailed { worker, why } => Err(Error::WorkerFailed { worker, why }),
    }
}

/// Answers on the Unix socket.
fn serve_locally(
    path: &Path,
    agent: mpsc::Sender<local::Question>,
) -> Result<tokio::task::JoinHandle<()>, Error> {
    let listener = local::bind(path).map_err(|source| Error::Socket {
        path: path.to_owned(),
        source,
    })?;
    tracing::info!(socket = %path.display(), "ringcast-node capture asks here");
    Ok(tokio::spawn(local::serve(listener, agent)))
}

/// What the wall clock showed at `Instant::ZERO`, in milliseconds since 1970.
fn millis_at_zero() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = u64::try_from(since_1970.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    millis.saturating_sub(net::now().as_millis())
}

async fn serve(
    config: &Config,
    credentials: &Credentials,
    sources: Sources,
    logs: Logs,
) -> Result<(End, Vec<JoinHandle<()>>), Error> {
    // Before anything that takes time: what comes meanwhile is heard when the start is over.
    let signals = Signals::new().map_err(system("be told of signals"))?;
    let address = config.admin_listen();
    let page = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| Error::Admin { address, source })?;
    let stage = Arc::new(admin::Stage::new(config.admin.open));
    let (ask, questions) = admin::questions();
    let serving = tokio::spawn(admin::serve(page, stage.clone(), ask));
    let (ask_locally, local_questions) = local::questions();
    let socket = config.admin.socket.as_deref();
    let listening = socket
        .map(|path| serve_locally(path, ask_locally))
        .transpose()?;
    // Elsewhere, so that whoever asks how far the start is gets an answer.
    let preparing = tokio::task::spawn_blocking({
        let (config, stage) = (config.clone(), stage.clone());
        move || prepare(&config, &stage)
    });
    let prepared = preparing.await.map_err(|error| Error::System {
        what: "prepare the workers",
        source: std::io::Error::other(error),
    })??;
    let listener = Listener::bind(config.link.listen, credentials).map_err(|source| {
        let mend = match source {
            link::quic::Error::Socket { .. } => {
                "if another process has the port, choose another with --link-listen".into()
            }
            _ => pair_of_keys(config),
        };
        Error::Link { source, mend }
    })?;
    let (agent, threads) = assemble(config, credentials, prepared, stage, (sources, logs))?;
    tracing::info!(link = %config.link.listen, admin = %address, "waiting for the master");
    let end = agent
        .run(Arc::new(listener), questions, local_questions, signals)
        .await;
    serving.abort();
    if let (Some(listening), Some(socket)) = (listening, socket) {
        listening.abort();
        // Left behind it would be replaced at the next start.
        let _ = std::fs::remove_file(socket);
    }
    Ok((end.map_err(system("run the agent"))?, threads))
}

fn pair_of_keys(config: &Config) -> String {
    format!(
        "certificate and key must be a pair: `ringcast-master pki node --id {}` makes one",
        config.node_id
    )
}

/// What takes time at the start.
struct Prepared {
    wake: Waker,
    workers: Started,
    capacity: Measured,
    /// What a packet costs, if it was measured.
    cost: Option<Result<capacity::Cost, String>>,
}

fn prepare(config: &Config, stage: &admin::Stage) -> Result<Prepared, Error> {
    stage.is_at("the workers begin");
    let wake = Waker::new().map_err(system("make a waker"))?;
    let workers = start_workers(config, &wake)?;
    let (.., choice) = &workers;
    tracing::info!(node = %config.node_id, version = env!("CARGO_PKG_VERSION"), "{choice}");
    announce(config);
    stage.is_at("finding out what the node can take");
    let host = Host::new("/", &SystemProbes);
    let mut cost = None;
    let (capacity, told) = capacity::assess(config, &host, || {
        let measured = capacity::forwarding(config);
        cost = Some(measured.clone());
        measured
    });
    tracing::info!(transports = transports_max(config), "limits: {told}");
    stage.is_at("the link is opened");
    Ok(Prepared {
        wake,
        workers,
        capacity,
        cost,
    })
}

fn assemble(
    config: &Config,
    credentials: &Credentials,
    prepared: Prepared,
    stage: Arc<admin::Stage>,
    (sources, logs): (Sources, Logs),
) -> Result<(Agent, Vec<JoinHandle<()>>), Error> {
    let Prepared {
        wake,
        workers: (ports, threads, choice),
        capacity,
        cost,
    } = prepared;
    let handshakes = handshakes()?;
    let view = Arc::new(admin::View {
        cells: ports.iter().map(|port| port.cells.clone()).collect(),
        wakers: ports.iter().map(|port| port.waker.clone()).collect(),
        node: Mutex::new(metrics::Node {
            driver: choice.driver,
            transports_max: transports_max(config),
            capacity,
            certificate_expiry: credentials.expiry(),
            started: SystemTime::now(),
            level: config.admin.metrics,
        }),
        agent: Mutex::new(AgentCounters::default()),
        unready: Mutex::new(Some("starting".to_owned())),
    });
    let hello = hello(config, &handshakes, &capacity);
    let addresses = (0..config.media.workers)
        .map(|worker| config.advertised(worker))
        .collect();
    let limits = Limits {
        transports_max: config.media.transports_max,
        session_transports: config.media.session_worker_transports,
        capacity,
    };
    let node = Node::new(addresses, limits, handshakes).with_clock(millis_at_zero());
    let reloader = Reloader::new(sources, config.clone(), logs, cost, capacity);
    let agent = Agent::new(node, hello, ports, wake, (view, stage), reloader);
    Ok((agent, threads))
}

/// The agent's runtime: tokio on io_uring, or on epoll where io_uring is refused.
fn on_runtime<F: Future>(future: F) -> F::Output {
    match tokio_uring::Runtime::new(tokio_uring::builder().entries(256)) {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            tracing::info!(%error, "the agent runs on epoll, since io_uring is refused");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("epoll is always there").block_on(future)
        }
    }
}

/// Who we are, by the files that the configuration names.
///
/// # Errors
///
/// [`Error::Link`] or [`Error::WrongCertificate`].
pub fn credentials(config: &Config) -> Result<Credentials, Error> {
    let (ca, certificate, key) = config.pki_files();
    let credentials = Credentials::load(&ca, &certificate, &key).map_err(|source| Error::Link {
        source,
        mend: format!(
            "`ringcast-master pki init --dir pki --nodes {}` makes the files; bring ca.pem and this node's certificate \
             and key here and name their directory with --pki",
            config.node_id
        ),
    })?;
    let names = credentials.names();
    if !names.contains(&config.node_id) || !names.iter().any(|name| name == link::pki::NODE_NAME) {
        return Err(Error::WrongCertificate {
            names,
            node: config.node_id.clone(),
        });
    }
    credentials.check().map_err(|source| Error::Link {
        source,
        mend: pair_of_keys(config),
    })?;
    Ok(credentials)
}

fn handshakes() -> Result<Handshakes, Error> {
    let certificate =
        dtls::Certificate::generate().map_err(|error| Error::Dtls(error.to_string()))?;
    let settings = dtls::Config::new(dtls::Settings::default())
        .map_err(|error| Error::Dtls(error.to_string()))?;
    Ok(Handshakes::new(certificate, settings, epoch()))
}

/// The reading of the system's monotonic clock that [`Instant::ZERO`] stands for.
fn epoch() -> StdInstant {
    let since_zero = net::now() - Instant::ZERO;
    let now = StdInstant::now();
    now.checked_sub(since_zero).unwrap_or(now)
}

fn hello(config: &Config, handshakes: &Handshakes, measured: &Measured) -> Hello {
    let fingerprint = link::Fingerprint {
        algorithm: "sha-256".into(),
        value: handshakes.fingerprint(),
    };
    Hello {
        version: PROTOCOL_VERSION,
        node: config.node_id.clone(),
        instance: random_name(),
        software: concat!("ringcast-node ", env!("CARGO_PKG_VERSION")).into(),
        dtls_fingerprints: vec![fingerprint],
        capacity: Capacity {
            workers: config.media.workers,
            transports_max: u32::try_from(transports_max(config)).unwrap_or(u32::MAX),
            packets_per_second: Some(measured.packets_per_second),
            bits_per_second: Some(measured.bits_per_second),
            memory_bytes: Some(measured.memory_bytes),
        },
        metrics: Some(config.admin_listen()),
    }
}

fn transports_max(config: &Config) -> u64 {
    u64::from(config.media.transports_max) * u64::from(config.media.workers)
}

fn random_name() -> String {
    let bytes = random::<16>();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness once it has booted");
    bytes
}

type Started = (Vec<WorkerPort>, Vec<JoinHandle<()>>, Choice);

fn start_workers(config: &Config, wake: &Waker) -> Result<Started, Error> {
    let cores = match (config.media.pin, net::available_cores()) {
        (true, Ok(cores)) => cores,
        _ => Vec::new(),
    };
    if config.media.pin && cores.len() < usize::from(config.media.workers) {
        tracing::warn!(
            cores = cores.len(),
            workers = config.media.workers,
            "more workers than cores: some share one"
        );
    }
    let (mut ports, mut made): (Vec<WorkerPort>, Vec<_>) = (Vec::new(), Vec::new());
    let mut first = None;
    // Everything is opened before the first thread starts, so that a port in use ends the start and not a running node.
    for number in 0..config.media.workers {
        let (port, worker, choice) = make_worker(config, number, wake)?;
        first.get_or_insert(choice);
        ports.push(port);
        made.push(worker);
    }
    let wakers: Vec<Waker> = ports.iter().map(|port| port.waker.clone()).collect();
    let loans = arena_size(config.media.arena.0).reserve / LOANS_SHARE;
    let crossings = Crossing::between(&wakers, loans as usize);
    for (worker, crossing) in made.iter_mut().zip(crossings) {
        worker.crossing = crossing;
    }
    let mut threads = Vec::new();
    for (index, worker) in made.into_iter().enumerate() {
        let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
        let thread = std::thread::Builder::new().name(format!("worker-{index}"));
        let running = thread.spawn(move || {
            if let Some(core) = core
                && let Err(error) = net::pin_to_core(core)
            {
                tracing::warn!(worker = index, core, %error, "the worker is not pinned");
            }
            if let Err(error) = net::sharpen_timers() {
                tracing::debug!(worker = index, %error, "timers are a little late");
            }
            worker.run();
        });
        threads.push(running.map_err(system("start a thread"))?);
    }
    let choice = first.expect("there is at least one worker");
    Ok((ports, threads, choice))
}

/// A worker with everything that belongs to it, and the agent's end of it; its driver as one line for the log.
///
/// # Errors
/// [`Error`] if the sockets, the driver or the memory can't be had.
pub fn make_worker(
    config: &Config,
    number: u16,
    wake: &Waker,
) -> Result<(WorkerPort, Worker<AnyDriver>, Choice), Error> {
    let (driver, choice) = open_driver(config, number)?;
    let memory = |source| Error::Memory {
        worker: number,
        arena: config.media.arena,
        source,
    };
    let arena = Arena::new(arena_size(config.media.arena.0)).map_err(memory)?;
    let bursts = Bursts::new(BurstsSize {
        chunks: usize::try_from(config.media.bursts.0).unwrap_or(usize::MAX) / CHUNK_BYTES,
        bursts: BURSTS_QUEUED,
    })
    .map_err(memory)?;
    let engine = sfu::api::Config {
        ntp_at_zero: ntp_at_zero(),
        transports_max: config.media.transports_max as usize,
        cache_packets_max: config.media.cache_packets_max,
        nack: config.faults.nack,
        padding_max: config.engine.padding_max,
        transport_wide: config.engine.congestion_control,
        pacing: config.engine.pacing,
        playout_delay_max: config.engine.playout_delay_max.0,
        follow_remb: config.engine.follow_remb,
        cycles: net::cycles,
        drop_rtp: config.faults.drop_rtp,
    };
    let (to_worker, orders) = mailbox::<Order>(ORDERS_MAX);
    let (to_agent, news) = mailbox::<News>(NEWS_MAX);
    let cells = Arc::new(Cells::new());
    let port = WorkerPort {
        overflows: [to_worker.overflows(), to_agent.overflows()],
        orders: Outbox::new(to_worker),
        news,
        waker: driver.waker(),
        peer_sockets: peer_sockets(config, &driver),
        cells: cells.clone(),
    };
    let worker = Worker {
        number,
        driver,
        engine: Engine::new(engine, Rng::from_seed(random())),
        arena,
        bursts,
        orders,
        news: to_agent,
        agent: wake.clone(),
        crossing: Crossing::none(),
        gather: Gather::new(config.media.gather.0),
        cells,
    };
    Ok((port, worker, choice))
}

fn open_driver(config: &Config, number: u16) -> Result<(AnyDriver, Choice), Error> {
    let bytes = |bytes: Bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX);
    let mut wanted = net::Config::new(config.listeners(number));
    wanted.kind = match config.media.driver {
        Driver::Auto => net::Kind::Auto,
        Driver::Uring => net::Kind::Uring,
        Driver::Mmsg => net::Kind::Mmsg,
    };
    wanted.receive_buffer = bytes(config.media.receive_buffer);
    wanted.send_buffer = bytes(config.media.send_buffer);
    if config.media.peer_sockets {
        wanted.peers_max = config.media.transports_max as usize;
        wanted.peer_idle_max = config.media.peer_socket_idle.0;
    }
    let opened = open_when_free(&wanted, number).map_err(|error| Error::Driver {
        worker: number,
        why: chain(&error),
        mend: match error {
            net::Error::Uring { .. } => "use --driver auto or mmsg, or allow io_uring",
            _ => "if another process has the port, choose others with --base-port; if the address is not this host's, mend --bind",
        },
    })?;
    let (room, asked) = (opened.0.peers_max(), wanted.peers_max);
    if opened.1.driver == "uring" && room < asked {
        tracing::warn!(
            "only {room} of {asked} peers get a socket of their own, the rest costs more processor time; raise LimitNOFILE"
        );
    }
    Ok(opened)
}

/// Opens a driver as soon as its ports are free: the kernel takes the rings of a process that was killed apart when it has time, and
/// their sockets keep the ports for so long.
fn open_when_free(wanted: &net::Config, number: u16) -> Result<(AnyDriver, Choice), net::Error> {
    let began = StdInstant::now();
    loop {
        match net::open(wanted) {
            Err(net::Error::Socket {
                source, address, ..
            }) if source.kind() == std::io::ErrorKind::AddrInUse
                && began.elapsed() < PORT_PATIENCE =>
            {
                tracing::debug!(worker = number, %address, "waiting until the port is free");
                std::thread::sleep(PORT_PATIENCE / 50);
            }
            done => return done,
        }
    }
}

/// None if they are not wanted, if the driver has no use for them, or if its listeners do not share a port.
fn peer_sockets(config: &Config, driver: &AnyDriver) -> Option<PeerSockets> {
    let mut ports = driver.local_addresses().map(|address| address.port());
    let port = ports.next()?;
    let wanted = driver.peers_max() > 0 && ports.all(|other| other == port);
    wanted.then(|| PeerSockets {
        port,
        send_buffer: usize::try_from(config.media.send_buffer.0).unwrap_or(usize::MAX),
    })
}

fn arena_size(bytes: u64) -> ArenaSize {
    let count =
        |bytes: u64, each: usize| u32::try_from(bytes / each as u64).unwrap_or(u32::MAX / 4);
    let small = bytes / SMALL_SHARE;
    let slots = count(bytes - small, SLOT_BYTES);
    ArenaSize {
        slots,
        small_slots: count(small, SMALL_SLOT_BYTES),
        reserve: RESERVE.min(slots / 4),
    }
}

/// Wall-clock time at [`Instant::ZERO`].
fn ntp_at_zero() -> NtpTime {
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    NtpTime::from_unix(wall.saturating_sub(net::now() - Instant::ZERO))
}

/// Where browsers are told to send.
fn announce(config: &Config) {
    let list = |addresses: Vec<SocketAddr>| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        texts.join(" ")
    };
    for worker in 0..config.media.workers {
        tracing::info!(
            worker,
            listens = list(config.listeners(worker)),
            advertises = list(config.advertised(worker)),
            "media port"
        );
    }
    if config
        .media
        .advertise
        .iter()
        .all(std::net::IpAddr::is_loopback)
    {
        tracing::warn!(
            "only loopback addresses are advertised: browsers on other hosts can't reach this node"
        );
    }
    if config.faults.drop_rtp || !config.faults.nack {
        tracing::warn!(faults = ?config.faults, "faults are injected: this node is for tests only");
    }
}

/// As many descriptors as the system lets us have, and `wanted` where we may say so ourselves.
fn raise_descriptor_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let falls_short = |most: Option<u64>| most.is_some_and(|most| most < wanted);
    if falls_short(limit.maximum) {
        // Only the privileged may.
        let wanted = Some(wanted);
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: wanted,
                maximum: wanted,
            },
        );
    }
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_err() {
            tracing::debug!("the limit of open files stays as it is");
        }
    }
    if getrlimit(Resource::Nofile)
        .current
        .is_some_and(|now| now < DESCRIPTORS)
    {
        tracing::warn!("this process may open fewer than {DESCRIPTORS} files; raise LimitNOFILE");
    }
}

/// Waits for the workers, but not for ever.
fn join(threads: Vec<JoinHandle<()>>) {
    let patience = StdInstant::now() + SHUTDOWN_PATIENCE / 2;
    for thread in threads {
        while !thread.is_finished() && StdInstant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !thread.is_finished() || thread.join().is_err() {
            tracing::warn!("a worker did not end in time");
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::System { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_free_soon_is_waited_for() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("it has one");
        let mut wanted = net::Config::new(vec![address]);
        wanted.kind = net::Kind::Mmsg;
        assert!(net::open(&wanted).is_err(), "it is in use");
        let release = std::thread::spawn(move || {
            std::thread::sleep(PORT_PATIENCE / 4);
            drop(taken);
        });
        assert!(open_when_free(&wanted, 0).is_ok());
        release.join().expect("released");
        let other = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = other.local_addr().expect("it has one");
        let began = StdInstant::now();
        assert!(open_when_free(&net::Config::new(vec![address]), 0).is_err());
        assert!(began.elapsed() >= PORT_PATIENCE, "it stays in use");
    }
}
