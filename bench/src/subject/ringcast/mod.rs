//! Ringcast itself: a master and a media node of given binaries, or a cluster that runs already, with everybody of a plan
//! brought in through its API as openvidu-browser would.

mod cluster;
mod people;
mod readings;
mod scraper;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clock::Rng;
use tokio::runtime::Runtime;

use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::plan::Plan;
use crate::progress::Event;
use crate::runner::Watch;
use crate::signal::{Application, Endpoint};
use crate::subject::browsers::Browsers;
use crate::subject::process::raise_descriptor_limit;
use crate::subject::{Readings, Subject};
use cluster::Cluster;
use people::{People, Venue};
pub use readings::Metrics;
pub use scraper::Scrape;
use scraper::{Disturbance, Scraper};

/// Threads for REST and WebSockets; media have their own.
const SIGNAL_THREADS: usize = 1;
/// How long master and kernel may take to clear away the socket of each who has hung up, and of all; the master keeps their places
/// longer.
const HANGING_UP: Duration = Duration::from_millis(3);
const HANGING_UP_MAX: Duration = Duration::from_secs(6);
/// How often progress is told while people join.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// How a cluster is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What it is called in reports.
    pub name: String,
    /// The folder with `ringcast-master` and `ringcast-node`.
    pub binaries: PathBuf,
    /// The node's `media.driver`: `auto`, `uring` or `mmsg`.
    pub driver: String,
    /// The node's workers.
    pub workers: u16,
    /// Whether workers keep to their cores.
    pub pin: bool,
    /// Whether transport-wide congestion control is negotiated, as browsers do.
    pub transport_cc: bool,
    /// The master's `media_server`, which says who offers on a subscription: `mediasoup` (the server) or `kurento`.
    pub media_server: String,
    /// Whether the API is served over TLS, with a certificate that the master makes for itself.
    pub https: bool,
    /// Lines of TOML for the `[media]` table of the node's configuration, such as `arena = "256MiB"`.
    pub media_settings: Vec<String>,
    /// The same for its `[engine]` table, such as `padding_max = 0`.
    pub engine_settings: Vec<String>,
    /// Variables for the environment of the node.
    pub environment: Vec<(String, String)>,
    /// Whether somebody reads the node's metrics all the time; none: nobody, and nothing is told of it.
    pub scrape: Option<Scrape>,
}

impl Options {
    /// One worker of the binaries in this folder, with the defaults of the node.
    pub fn new(binaries: PathBuf) -> Self {
        Self {
            name: "ringcast".to_owned(),
            binaries,
            driver: "auto".to_owned(),
            workers: 1,
            pin: false,
            transport_cc: true,
            media_server: "mediasoup".to_owned(),
            https: false,
            media_settings: Vec::new(),
            engine_settings: Vec::new(),
            environment: Vec::new(),
            scrape: None,
        }
    }
}

/// A cluster that runs already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What it is called in reports.
    pub name: String,
    /// The master, such as `https://localhost:4443`.
    pub url: String,
    /// The secret of its REST API.
    pub secret: String,
    /// Certificates that sign the master's, in DER.
    pub roots: Vec<Vec<u8>>,
    /// Take any certificate, such as the one that a master makes for itself.
    pub insecure: bool,
    /// The node's process, if it is on this machine.
    pub processes: Vec<u32>,
    /// Where the node serves `/metrics`, if that can be reached.
    pub metrics: Option<SocketAddr>,
}

/// A cluster, and the people who were brought into it.
#[derive(Debug)]
pub struct Ringcast {
    name: String,
    /// None if it was there before us.
    cluster: Option<Cluster>,
    processes: Vec<u32>,
    metrics: Option<SocketAddr>,
    media: Vec<SocketAddr>,
    scrape: Option<Scrape>,
    scraper: Option<Scraper>,
    /// At the last two readings, the older one first.
    disturbance: [Disturbance; 2],
    venue: Venue,
    people: People,
    // Dropped last: what the others still have to say is said on it.
    runtime: Runtime,
}

impl Ringcast {
    /// Starts a master beside the caller and a node in its place at `exit`, and waits until they are up.
    ///
    /// # Errors
    /// If a binary is missing, does not start or does not come up; its last words are in the error.
    pub fn start(options: &Options, exit: &Exit, seed: u64) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        let runtime = runtime()?;
        let cluster = Cluster::start(options, exit)?;
        let endpoint = Endpoint::new(&cluster.url, &[], options.https)?;
        let application = Application::new(endpoint, &cluster.secret);
        runtime.block_on(cluster.wait_up(&application))?;
        Ok(Self {
            name: options.name.clone(),
            processes: vec![cluster.node_process()],
            metrics: Some(cluster.metrics),
            media: cluster.media.clone(),
            cluster: Some(cluster),
            scrape: options.scrape,
            scraper: None,
            disturbance: Default::default(),
            venue: venue(application, seed)?,
            people: People::default(),
            runtime,
        })
    }

    /// Uses a cluster that runs already.
    ///
    /// # Errors
    /// If it cannot be reached or is not up.
    pub fn attach(running: &Running, seed: u64) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        let runtime = runtime()?;
        let roots: Vec<_> = running
            .roots
            .iter()
            .map(|root| root.clone().into())
            .collect();
        let endpoint = Endpoint::new(&running.url, &roots, running.insecure)?;
        let application = Application::new(endpoint, &running.secret);
        anyhow::ensure!(
            runtime.block_on(application.is_healthy()),
            "{} is not up, or the secret is wrong",
            running.url
        );
        Ok(Self {
            name: running.name.clone(),
            cluster: None,
            processes: running.processes.clone(),
            metrics: running.metrics,
            media: Vec::new(),
            scrape: None,
            scraper: None,
            disturbance: Default::default(),
            venue: venue(application, seed)?,
            people: People::default(),
            runtime,
        })
    }

    /// Brings everybody of `plan` in and returns when all are connected. `progress` is told how many are, of how many, and
    /// says whether to go on.
    ///
    /// # Errors
    /// If somebody is not let in or does not connect, or when `progress` says no.
    pub fn bring_in(
        &mut self,
        fleet: &Fleet,
        plan: &Plan,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> anyhow::Result<()> {
        let connect = self.people.connect(&self.venue, fleet, plan, progress);
        self.runtime.block_on(connect)
    }

    /// What the node says of itself, if it can be asked.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn metrics(&self) -> anyhow::Result<Option<Metrics>> {
        let Some(address) = self.metrics else {
            return Ok(None);
        };
        let read = self.runtime.block_on(readings::fetch(address));
        read.map(Some).context("cannot read the node's metrics")
    }
}

impl Subject for Ringcast {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.clone()
    }

    fn media_addresses(&self) -> Vec<SocketAddr> {
        self.media.clone()
    }

    fn connect(&mut self, fleet: &Fleet, plan: &Plan, watch: &Watch<'_>) -> anyhow::Result<()> {
        let mut told = Instant::now();
        self.bring_in(fleet, plan, &mut |joined, of| {
            if joined == of || told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                watch.report(Event::Joining { joined, of });
            }
            !watch.is_over()
        })?;
        if let (Some(Scrape::Every(every)), Some(address)) = (self.scrape, self.metrics) {
            self.scraper = Some(Scraper::start(address, every)?);
        }
        Ok(())
    }

    fn replace_viewers(&mut self, fleet: &Fleet, count: usize) -> anyhow::Result<()> {
        let replace = self.people.replace_viewers(&self.venue, fleet, count);
        self.runtime.block_on(replace)
    }

    fn hang_up(&mut self) {
        if self.cluster.is_some() {
            let people = self.people.hang_up();
            let patience = HANGING_UP.saturating_mul(u32::try_from(people).unwrap_or(u32::MAX));
            std::thread::sleep(patience.min(HANGING_UP_MAX));
        }
    }

    fn readings(&mut self) -> anyhow::Result<Readings> {
        let Some(metrics) = self.metrics()? else {
            return Ok(Readings::default());
        };
        self.disturbance = [self.disturbance[1], Disturbance::of(&metrics)];
        Ok(readings::of_node(&metrics))
    }

    fn notes(&self) -> Vec<String> {
        let [before, after] = &self.disturbance;
        let disturbed = self.scrape.map(|_| after.note_since(before));
        let scraped = self.scraper.as_ref().map(Scraper::note);
        scraped.into_iter().chain(disturbed).collect()
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        match self.cluster.take() {
            // It takes its sessions with it. To end one of thousands would tell each of everybody else's leaving.
            Some(cluster) => cluster.stop(),
            None => {
                let close = self.people.close(&self.venue);
                self.runtime.block_on(close);
                Ok(())
            }
        }
    }
}

fn venue(application: Application, seed: u64) -> anyhow::Result<Venue> {
    let mut rng = Rng::from_number(seed);
    Ok(Venue {
        application,
        // Sessions of another run on the same cluster must not be met.
        prefix: format!("bench-{}-{:08x}", std::process::id(), rng.next_u32()),
        browsers: Browsers::new(rng)?,
    })
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SIGNAL_THREADS)
        .thread_name("signal")
        .enable_all()
        .build()
        .context("cannot start threads for signalling")
}

/// An address as it stands in TOML and URLs.
fn with_port(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}
