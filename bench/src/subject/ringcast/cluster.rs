use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Options, with_port};
use crate::exit::Exit;
use crate::signal::Application;
use crate::subject::process::{Folder, Process};

const NODE: &str = "media_1";
/// How long master and node may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// How many transports a worker may have: whatever the plan needs.
const TRANSPORTS_MAX: u32 = 65_536;
/// Every simulated browser comes from one address, as far as the master can see.
const PER_ADDRESS: u32 = 1_000_000;
/// A node that shares few cores with thousands of simulated browsers may be late without having crashed.
const NODE_SILENCE: &str = "30s";
/// Where media ports are looked for: below the ports that the system gives out.
const MEDIA_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A master and a node as processes of their own, in a folder of their own. All three go when it is dropped.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) metrics: SocketAddr,
    pub(super) media: Vec<SocketAddr>,
    node: Process,
    master: Process,
    // Dropped last.
    _folder: Folder,
}

impl Cluster {
    pub(super) fn start(options: &Options, exit: &Exit) -> anyhow::Result<Self> {
        let program = |name: &str| -> anyhow::Result<PathBuf> {
            let path = options.binaries.join(name);
            path.canonicalize()
                .with_context(|| format!("{} is missing: cargo build --release", path.display()))
        };
        let (master, node) = (program("ringcast-master")?, program("ringcast-node")?);
        let folder = Folder::new()?;
        let made = Command::new(&master)
            .args(["pki", "init", "--nodes", NODE, "--dir"])
            .arg(folder.path().join("pki"))
            .output()
            .context("cannot start ringcast-master")?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            bail!("ringcast-master pki init failed: {said}");
        }

        let ports = Ports::find(
            exit.subject_address(),
            exit.fleet_address(),
            options.workers,
        )?;
        let config = folder.path().join("node.toml");
        std::fs::write(&config, ports.node_config(options, exit, folder.path())?)?;
        let mut command = Command::new(node);
        command
            .arg("--config")
            .arg(&config)
            .envs(options.environment.iter().cloned());
        let node = Process::start("ringcast-node", &mut command, folder.path(), |command| {
            Ok(exit.spawn(command)?)
        })?;

        let secret = "BENCH".to_owned();
        let config = folder.path().join("master.toml");
        std::fs::write(
            &config,
            ports.master_config(options, exit, folder.path(), &secret),
        )?;
        let mut command = Command::new(master);
        command.arg("--config").arg(&config);
        let master = Process::start("ringcast-master", &mut command, folder.path(), |command| {
            Ok(command.spawn()?)
        })?;
        let scheme = if options.https { "https" } else { "http" };
        let subject = exit.subject_address();
        let media = (0..options.workers).map(|worker| with_port(subject, ports.media + worker));
        Ok(Self {
            url: format!("{scheme}://{}", with_port(exit.fleet_address(), ports.http)),
            secret,
            metrics: with_port(subject, ports.metrics),
            media: media.collect(),
            node,
            master,
            _folder: folder,
        })
    }

    /// Waits until the master says that it and the node are up.
    pub(super) async fn wait_up(&self, application: &Application) -> anyhow::Result<()> {
        let until = Instant::now() + START_PATIENCE;
        while !application.is_healthy().await {
            for process in [&self.node, &self.master] {
                process.ensure_alive()?;
            }
            if Instant::now() >= until {
                bail!(
                    "the cluster did not come up within {START_PATIENCE:?}\n{}\n{}",
                    self.master.last_words(),
                    self.node.last_words()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    pub(super) fn node_process(&self) -> u32 {
        self.node.id()
    }

    /// Ends both politely.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let alive = [&self.node, &self.master].map(Process::ensure_alive);
        self.master.stop();
        self.node.stop();
        alive.into_iter().collect()
    }
}

/// Ports that nobody had when they were looked for.
struct Ports {
    http: u16,
    master_admin: u16,
    link: u16,
    metrics: u16,
    media: u16,
}

impl Ports {
    fn find(subject: IpAddr, fleet: IpAddr, workers: u16) -> anyhow::Result<Self> {
        // In the forwarder's own network nothing else listens; here it is not even possible to look there.
        let local = |address: IpAddr| {
            if address.is_loopback() {
                address
            } else {
                fleet
            }
        };
        let tcp = |address| -> anyhow::Result<u16> {
            let listener = TcpListener::bind((address, 0))?;
            Ok(listener.local_addr()?.port())
        };
        let udp = |address| -> anyhow::Result<u16> {
            let socket = UdpSocket::bind((address, 0))?;
            Ok(socket.local_addr()?.port())
        };
        let subject = local(subject);
        let is_free = |base: &u16| {
            (0..workers).all(|worker| UdpSocket::bind((subject, base + worker)).is_ok())
        };
        // Whoever looks at the same moment, here or in another process, starts elsewhere.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % 16;
        let spread = (std::process::id() % 32) as u16 * 256 + turn * 16;
        let step = usize::from(workers.next_multiple_of(16));
        let candidates = (MEDIA_PORTS.start + spread..MEDIA_PORTS.end).step_by(step);
        let media = candidates
            .chain(MEDIA_PORTS.step_by(step))
            .find(is_free)
            .context("no free UDP ports for media")?;
        Ok(Self {
            http: tcp(fleet)?,
            master_admin: tcp(fleet)?,
            link: udp(subject)?,
            metrics: tcp(subject)?,
            media,
        })
    }

    fn node_config(&self, options: &Options, exit: &Exit, folder: &Path) -> anyhow::Result<String> {
        let subject = exit.subject_address();
        let mut text = String::new();
        write!(
            text,
            r#"node_id = "{NODE}"
[link]
listen = "{link}"
pki = "{pki}"
[admin]
listen = "{metrics}"
[media]
bind = ["{subject}"]
advertise = ["{subject}"]
base_port = {media}
workers = {workers}
pin = {pin}
driver = "{driver}"
"#,
            link = with_port(subject, self.link),
            pki = folder.join("pki").display(),
            metrics = with_port(subject, self.metrics),
            media = self.media,
            workers = options.workers,
            pin = options.pin,
            driver = options.driver,
        )?;
        let sets = |key: &str| {
            options
                .media_settings
                .iter()
                .any(|line| line.trim_start().starts_with(key))
        };
        if !sets("transports_max") {
            writeln!(text, "transports_max = {TRANSPORTS_MAX}")?;
        }
        for line in &options.media_settings {
            writeln!(text, "{line}")?;
        }
        writeln!(text, "[engine]")?;
        for line in &options.engine_settings {
            writeln!(text, "{line}")?;
        }
        Ok(text)
    }

    fn master_config(&self, options: &Options, exit: &Exit, folder: &Path, secret: &str) -> String {
        let fleet = exit.fleet_address();
        format!(
            r#"listen = "{listen}"
admin_listen = "{admin}"
plain_http = {plain_http}
secret = "{secret}"
data_dir = "{data}"
pki_dir = "{pki}"
media_server = "{media_server}"
transport_cc = {transport_cc}
sockets_per_address_max = {PER_ADDRESS}
joins_per_address_rate = {PER_ADDRESS}
node_silence = "{NODE_SILENCE}"
[[nodes]]
id = "{NODE}"
uri = "quic://{link}"
"#,
            listen = with_port(fleet, self.http),
            admin = with_port(fleet, self.master_admin),
            data = folder.join("master").display(),
            pki = folder.join("pki").display(),
            plain_http = !options.https,
            media_server = options.media_server,
            transport_cc = options.transport_cc,
            link = with_port(exit.subject_address(), self.link),
        )
    }
}
