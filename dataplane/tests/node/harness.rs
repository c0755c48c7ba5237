//! A node in a process of its own, a master that talks to it, and peers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant as StdInstant};

use clock::{Instant, Rng};
use link::desired::DesiredState;
use link::pki::Authority;
use link::quic::Credentials;
use link::quic::master::{Dialer, News, NodeConfig, NodeEvent, NodeLink};
use link::state::{self, Entry};
use proto::demux::{Packet, classify};
use proto::dtls;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::ice::{Credentials as IceCredentials, Output as IceOutput};
use proto::rtp::{Fields, Header, write_header};
use proto::srtp::{Inbound, Outbound};
use proto::stun::Message;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Longer than anything here should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const NODE: &str = "media_1";
pub const WORKERS: u16 = 2;

/// A node, its master, and what the master hears.
pub struct World {
    pub runtime: Runtime,
    pub link: NodeLink,
    pub news: mpsc::Receiver<NodeEvent>,
    pub node: NodeProcess,
    pub rng: Rng,
    dialer: Dialer,
}

/// The program. It is killed when dropped.
pub struct NodeProcess {
    pub child: Child,
    command: Command,
    pub admin: SocketAddr,
    pub link_address: SocketAddr,
    directory: PathBuf,
}

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Directories and ports of their own for each node of this test run.
fn fresh() -> (PathBuf, u16) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let directory = std::env::temp_dir().join(format!("ringcast-node-{process}-{number}"));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    // Workers need ports in a row; look for some that are free below the ephemeral range.
    let start = 10_000 + (process as u16 % 200) * 100 + number * 8;
    let free = |base: &u16| {
        let taken = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_err();
        !(0..WORKERS).any(|worker| taken(base + worker))
    };
    let base = (start..32_000).step_by(8).find(free);
    (directory, base.expect("free ports"))
}

fn free_tcp() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound")
}

fn free_udp() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("bound")
}

impl World {
    /// Starts a node with `flags` and waits until its link is up.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_with_log(flags, Stdio::inherit())
    }

    /// The same, with a place for its log.
    pub fn start_with_log(flags: &[&str], log: Stdio) -> Self {
        let (node, master) = NodeProcess::start_with_log(flags, log);
        Self::meet(node, &master)
    }

    fn meet(node: NodeProcess, credentials: &Credentials) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let dialer = runtime.block_on(async { Dialer::new(credentials).expect("sockets") });
        let (link, news) = dial(&runtime, &dialer, node.link_address, 1, DesiredState::new());
        let mut world = Self {
            runtime,
            link,
            news,
            node,
            rng: Rng::from_number(7),
            dialer,
        };
        world.wait_for(|news| matches!(news, News::Up { .. }));
        world
    }

    /// Another master comes, with this epoch and this idea of what should be. The former one must be gone.
    pub fn succeed(&mut self, epoch: u64, desired: DesiredState) {
        let address = self.node.link_address;
        let (link, news) = dial(&self.runtime, &self.dialer, address, epoch, desired);
        (self.link, self.news) = (link, news);
    }

    /// The next news of this kind.
    pub fn wait_for(&mut self, wanted: impl Fn(&News) -> bool) -> News {
        let news = &mut self.news;
        let wait = async {
            loop {
                let event = news.recv().await.expect("the link lives");
                if wanted(&event.news) {
                    return event.news;
                }
            }
        };
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, wait).await });
        waited.expect("news in time")
    }

    /// What the node says of a transport.
    pub fn report_of(&self, id: &str) -> state::TransportReport {
        let key = state::Key::Transport(state::TransportId::new(id));
        match self.link.report(&key) {
            Some(state::Report::Transport(report)) => report,
            other => panic!("{id}: {other:?}"),
        }
    }

    /// Waits until the node reports this state of a transport.
    pub fn wait_for_state(
        &self,
        id: &str,
        wanted: impl Fn(&state::TransportState) -> bool,
    ) -> state::TransportState {
        let key = state::Key::Transport(state::TransportId::new(id));
        let until = StdInstant::now() + PATIENCE;
        loop {
            if let Some(state::Report::Transport(report)) = self.link.report(&key)
                && wanted(&report.state)
            {
                return report.state;
            }
            assert!(
                StdInstant::now() < until,
                "{id}: {:?}",
                self.link.report(&key)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A transport on the node, with a peer that knows where it is. The fingerprint may be kept back.
    pub fn peer(&mut self, id: &str, session: &str, with_fingerprint: bool) -> Peer {
        let (local, remote) = (
            IceCredentials::generate(&mut self.rng),
            IceCredentials::generate(&mut self.rng),
        );
        let certificate = dtls::Certificate::generate().expect("made");
        let entry = state::Transport {
            id: state::TransportId::new(id),
            session: state::SessionId::new(session),
            connection: state::ConnectionId::new(id),
            local_ice: ice(&local),
            remote_ice: Some(ice(&remote)),
            remote_fingerprints: if with_fingerprint {
                fingerprints(&certificate)
            } else {
                Vec::new()
            },
        };
        self.link.put(Entry::Transport(entry.clone()));
        let wait = self.link.transport_report(&entry.id, PATIENCE);
        let report = self.runtime.block_on(wait).expect("made");
        let node = self.link.hello().expect("up").dtls_fingerprints;
        Peer::new(
            entry,
            report.addresses[0],
            local,
            remote,
            certificate,
            &node,
            self.rng.fork(),
        )
    }

    /// What the admin endpoint says.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.node.get(path)
    }

    /// Waits until something is so.
    pub fn wait_until(&self, what: &str, so: impl Fn() -> bool) {
        let until = StdInstant::now() + PATIENCE;
        while !so() {
            assert!(StdInstant::now() < until, "never: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the admin endpoint answers with this status.
    pub fn wait_for_admin(&self, path: &str, status: u16) {
        self.wait_until(path, || self.get(path).0 == status);
    }

    /// Waits until a metric is so: counters are published once per turn, so they come after what they count.
    pub fn wait_for_metric(&self, name: &str, labels: &str, so: impl Fn(f64) -> bool) {
        let until = StdInstant::now() + PATIENCE;
        while !so(self.metric(name, labels)) {
            let last = self.metric(name, labels);
            assert!(StdInstant::now() < until, "{name}{{{labels}}} stays {last}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The sum of all samples of a metric whose labels contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        let of_name =
            |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(labels);
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        page.lines().filter(of_name).filter_map(value).sum()
    }
}

fn dial(
    runtime: &Runtime,
    dialer: &Dialer,
    address: SocketAddr,
    epoch: u64,
    desired: DesiredState,
) -> (NodeLink, mpsc::Receiver<NodeEvent>) {
    let (events, news) = mpsc::channel(4096);
    let config = NodeConfig {
        name: NODE.into(),
        address,
        node_id: Some(NODE.into()),
        epoch,
        known_instance: None,
    };
    let link = runtime.block_on(async { NodeLink::spawn(dialer.clone(), config, desired, events) });
    (link, news)
}

impl NodeProcess {
    /// Starts a node with `flags`, and does not wait for it. Answers the credentials of its master too.
    pub fn start(flags: &[&str]) -> (Self, Credentials) {
        Self::start_with_log(flags, Stdio::inherit())
    }

    fn start_with_log(flags: &[&str], log: Stdio) -> (Self, Credentials) {
        let authority = Authority::generate("test").expect("randomness");
        let (directory, base_port) = fresh();
        authority.store(&directory).expect("written");
        let identity = authority.issue_node(NODE).expect("made");
        identity.store(&directory, NODE).expect("written");
        let (admin, link_address) = (free_tcp(), free_udp());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringcast-node"));
        command
            .args(["--node-id", NODE, "--bind", "127.0.0.1", "--no-pin"])
            .args(["--arena", "16MiB", "--workers", &WORKERS.to_string()])
            .args(["--base-port", &base_port.to_string()])
            .args(["--link-listen", &link_address.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .arg("--pki")
            .arg(&directory)
            .args(flags)
            .stdin(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("the program starts");
        let node = Self {
            child,
            command,
            admin,
            link_address,
            directory,
        };
        let ours = authority.issue_master().expect("made");
        let ours = Credentials::from_identity(authority.certificate_pem(), &ours).expect("fits");
        (node, ours)
    }

    /// Waits until the admin endpoint answers, which is long before the start is over.
    pub fn wait_until_it_listens(&self) {
        let until = StdInstant::now() + PATIENCE;
        while TcpStream::connect(self.admin).is_err() {
            assert!(StdInstant::now() < until, "nobody listens");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin endpoint listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status"), body.to_owned())
    }

    /// SIGINT, which waits for nobody, and how long it took to end.
    pub fn interrupt(&mut self) -> (Duration, std::process::ExitStatus) {
        let start = StdInstant::now();
        self.signal(Signal::INT);
        let status = self.child.wait().expect("our child");
        (start.elapsed(), status)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// Dies without a word, and is started anew.
    pub fn crash_and_restart(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        self.child = self.command.spawn().expect("the program starts");
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn ice(credentials: &IceCredentials) -> state::IceCredentials {
    state::IceCredentials {
        ufrag: credentials.ufrag().into(),
        pwd: credentials.password().into(),
    }
}

fn fingerprints(certificate: &dtls::Certificate) -> Vec<state::Fingerprint> {
    vec![state::Fingerprint {
        algorithm: "sha-256".into(),
        value: certificate.fingerprint_sha256(),
    }]
}

/// A received and decrypted RTP packet.
#[derive(Clone, Debug)]
pub struct Rtp {
    pub header: Header,
    pub payload: Vec<u8>,
}

/// The browser's end of a transport: it controls ICE, is the DTLS client, sends and receives SRTP.
pub struct Peer {
    pub entry: state::Transport,
    pub received: Vec<Rtp>,
    pub rtcp: Vec<Vec<u8>>,
    pub closed: Option<dtls::CloseReason>,
    certificate: dtls::Certificate,
    socket: UdpSocket,
    node: SocketAddr,
    ice: Controlling,
    dtls: Option<dtls::Handshake>,
    dtls_config: dtls::Config,
    epoch: StdInstant,
    expected: Vec<dtls::Fingerprint>,
    /// It never begins a handshake.
    begins_dtls: bool,
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
}

impl Peer {
    /// Waits until the system shows a socket of the node that sends to this peer alone, or none.
    pub fn wait_for_own_socket(&self, wanted: bool) {
        let port = self.socket.local_addr().expect("bound").port();
        let node = self.node.port();
        let until = StdInstant::now() + PATIENCE;
        // A group (233.252.0.x) and the node's port; then the peer. The system writes addresses as it has them in memory.
        let is_own = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (local, remote) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            local.ends_with(&format!("00FCE9:{node:04X}"))
                && remote == format!("0100007F:{port:04X}")
        };
        let is_there = || {
            let table = std::fs::read_to_string("/proc/net/udp").expect("the system says");
            table.lines().any(is_own)
        };
        while is_there() != wanted {
            assert!(StdInstant::now() < until, "a socket of its own: {wanted}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn new(
        entry: state::Transport,
        node: SocketAddr,
        theirs: IceCredentials,
        ours: IceCredentials,
        certificate: dtls::Certificate,
        expected: &[state::Fingerprint],
        rng: Rng,
    ) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(2)))
            .expect("a timeout");
        let parse = |one: &state::Fingerprint| dtls::Fingerprint::parse(&one.algorithm, &one.value);
        let ice = Controlling::new(Instant::ZERO, ours, theirs, node, IceConfig::default(), rng);
        Self {
            entry,
            received: Vec::new(),
            rtcp: Vec::new(),
            closed: None,
            certificate,
            socket,
            node,
            ice: ice.expect("short credentials"),
            dtls: None,
            dtls_config: dtls::Config::new(dtls::Settings::default()).expect("good settings"),
            epoch: StdInstant::now(),
            expected: expected
                .iter()
                .map(|one| parse(one).expect("valid"))
                .collect(),
            begins_dtls: true,
            inbound: None,
            outbound: None,
        }
    }

    /// The same with another idea of the node's ICE password.
    pub fn with_wrong_password(mut self) -> Self {
        let (node, own) = (&self.entry.local_ice, self.entry.remote_ice.as_ref());
        let own = own.expect("described");
        let wrong = IceCredentials::new(&node.ufrag, "anotherPasswordOf24chars");
        let own = IceCredentials::new(&own.ufrag, &own.pwd);
        let (wrong, own) = (wrong.expect("well-formed"), own.expect("well-formed"));
        let (config, rng) = (IceConfig::default(), Rng::from_number(11));
        let ice = Controlling::new(Instant::ZERO, own, wrong, self.node, config, rng);
        self.ice = ice.expect("short credentials");
        self
    }

    /// The same without DTLS.
    pub fn without_dtls(mut self) -> Self {
        self.begins_dtls = false;
        self
    }

    /// The same without an SRTP profile in common with the node.
    pub fn without_common_profile(mut self) -> Self {
        let config = dtls::Config::offering_no_encryption(dtls::Settings::default());
        self.dtls_config = config.expect("good settings");
        self
    }

    /// The entry with the fingerprint that was kept back.
    pub fn complete_entry(&self) -> Entry {
        Entry::Transport(state::Transport {
            remote_fingerprints: fingerprints(&self.certificate),
            ..self.entry.clone()
        })
    }

    pub fn is_connected(&self) -> bool {
        self.outbound.is_some()
    }

    /// Connects: ICE, then DTLS.
    pub fn connect(&mut self) {
        self.run_until("connected", |peer| peer.is_connected());
    }

    /// Takes part until something is so.
    pub fn run_until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let until = StdInstant::now() + PATIENCE;
        while !so(self) {
            assert!(StdInstant::now() < until, "{}: never {what}", self.entry.id);
            self.step();
        }
    }

    /// Takes part for a while.
    pub fn run_for(&mut self, time: Duration) {
        let until = StdInstant::now() + time;
        while StdInstant::now() < until {
            self.step();
        }
    }

    /// Sends a packet; `index` is sequence number and roll-over counter.
    pub fn send_rtp(
        &mut self,
        index: u64,
        fields: Fields,
        elements: &[proto::rtp::Element<'_>],
        payload: &[u8],
    ) {
        let mut header = [0; 128];
        let length = write_header(&mut header, &fields, elements).expect("fits");
        let mut packet = [0; 1500];
        let outbound = self.outbound.as_mut().expect("connected");
        let length = outbound
            .protect_rtp(
                index,
                fields.ssrc,
                &header[..length],
                &[],
                payload,
                &mut packet,
            )
            .expect("keys are fresh");
        self.socket
            .send_to(&packet[..length], self.node)
            .expect("sent");
    }

    /// Sends anything.
    pub fn send_raw(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.node).expect("sent");
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).expect("short"))
    }

    fn step(&mut self) {
        let now = self.now();
        if self.ice.deadline().is_some_and(|due| due <= now) {
            self.ice.on_timeout(now);
        }
        if let Some(dtls) = &mut self.dtls
            && dtls.deadline().is_some_and(|due| due <= now)
        {
            dtls.on_timeout(now);
        }
        self.drain();
        let mut buffer = [0; 2048];
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            self.take(&mut buffer[..length], from);
            self.drain();
        }
    }

    fn take(&mut self, datagram: &mut [u8], from: SocketAddr) {
        let now = self.now();
        match classify(datagram) {
            Packet::Stun => {
                let message = Message::parse(datagram).expect("the node speaks STUN");
                let mut response = [0; 512];
                if let Ok(length) = self.ice.on_message(now, &message, from, &mut response)
                    && length > 0
                {
                    self.socket
                        .send_to(&response[..length], from)
                        .expect("sent");
                }
            }
            Packet::Dtls => {
                if let Some(dtls) = &mut self.dtls {
                    dtls.on_datagram(now, datagram);
                }
            }
            Packet::Rtp => {
                let header = Header::parse(datagram).expect("the node speaks RTP");
                let inbound = self.inbound.as_mut().expect("media come after the keys");
                let (length, _) = inbound
                    .unprotect_rtp(datagram, header.len(), header.ssrc, header.sequence)
                    .expect("authentic");
                let range = header
                    .payload_range(&datagram[..length])
                    .expect("well-formed");
                let payload = datagram[range].to_vec();
                self.received.push(Rtp { header, payload });
            }
            Packet::Rtcp => {
                let inbound = self.inbound.as_mut().expect("reports come after the keys");
                let length = inbound.unprotect_rtcp(datagram).expect("authentic");
                self.rtcp.push(datagram[..length].to_vec());
            }
            Packet::Other => panic!("the node sent something of no protocol"),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.ice.poll() {
            if let IceOutput::Send { to, datagram } = output {
                self.socket.send_to(&datagram, to).expect("sent");
            }
        }
        if self.ice.is_connected() && self.dtls.is_none() && self.begins_dtls {
            let now = self.now();
            let mut dtls =
                dtls::Handshake::client(now, self.epoch, &self.certificate, &self.dtls_config);
            dtls.set_remote_fingerprints(now, &self.expected);
            self.dtls = Some(dtls);
        }
        let Some(dtls) = &mut self.dtls else { return };
        while let Some(output) = dtls.poll() {
            match output {
                dtls::Output::Datagram(datagram) => {
                    self.socket.send_to(&datagram, self.node).expect("sent");
                }
                dtls::Output::KeysReady(keys) => {
                    self.inbound = Some(Inbound::new(&keys.remote).expect("good keys"));
                    self.outbound = Some(Outbound::new(&keys.local).expect("good keys"));
                }
                dtls::Output::Closed(reason) => self.closed = Some(reason),
                dtls::Output::PeerCertificate { .. } | dtls::Output::Connected => {}
            }
        }
    }
}
