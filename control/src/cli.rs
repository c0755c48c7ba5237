//! The command line, and the order in which the master starts and stops.

mod operate;
mod remote;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use link::quic::master::Dialer;
use logs::{Form, Logs};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::app::{App, now_millis};
use crate::config::{self, Config, Environment, LogFormat, Settings, Sources};
use crate::http_client::{HttpClient, Options, Reach};
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::server::{Front, Stage};
use crate::store::Store;
use crate::webhook::{Endpoint, Webhook};
use crate::{api, audit, cdr, load_watch, network_quality, nodes, pki, server, tls, webhook};
use operate::Operation;

/// How often nodes and lost clients are looked at.
const TICK: Duration = Duration::from_millis(200);

/// How often is said what the log left out.
const LEFT_OUT: Duration = Duration::from_secs(1);

/// The master of a Ringcast cluster.
///
/// SIGTERM and SIGINT end it when the requests that are under way are answered (shutdown_deadline), a second one at once; calls go on
/// without a master. SIGHUP has configuration and certificates read again.
#[derive(Debug, Parser)]
#[command(
    name = "ringcast-master",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the master; also without a command.
    Run(Box<Run>),
    /// Make the certificates with which master and nodes know each other.
    Pki {
        #[command(subcommand)]
        what: Pki,
    },
    /// Check the configuration and print what is in effect, secrets hidden.
    CheckConfig {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        run: Box<Run>,
    },
    #[command(flatten)]
    Operate(Operation),
}

#[derive(Args, Debug)]
struct Run {
    /// The configuration file (TOML).
    #[arg(long, env = "RINGCAST_MASTER_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and stop: print "ok", or everything that is wrong, with status 1.
    #[arg(long)]
    check_config: bool,
    /// Print the effective configuration, secrets hidden, with where each value comes from, and stop.
    #[arg(long, conflicts_with = "check_config")]
    print_config: bool,
    /// The same without where values come from.
    #[arg(long, conflicts_with_all = ["check_config", "print_config"])]
    check: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Pki {
    /// Make authority, master's and nodes' certificates, as far as they are missing.
    Init {
        /// Where to put them.
        #[arg(long)]
        dir: PathBuf,
        /// The ids of the nodes, with commas between them.
        #[arg(long, value_delimiter = ',')]
        nodes: Vec<String>,
    },
    /// Make a certificate for one node.
    Node {
        /// Where the authority is, and the certificate goes.
        #[arg(long)]
        dir: PathBuf,
        /// The node's id.
        #[arg(long)]
        id: String,
    },
}

/// Does what the command line says.
///
/// # Errors
/// Whatever stops the master from starting, named.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => return start(cli.run),
        Some(Command::Run(run)) => return start(*run),
        Some(Command::Pki { what }) => match what {
            Pki::Init { dir, nodes } => pki::init(&dir, &nodes)?,
            Pki::Node { dir, id } => pki::node(&dir, &id)?,
        },
        Some(Command::CheckConfig { json, run }) => check(*run, json)?,
        Some(Command::Operate(operation)) => return operate::run(operation),
    }
    Ok(ExitCode::SUCCESS)
}

/// An error and its causes, without those that the text tells already.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn start(run: Run) -> anyhow::Result<ExitCode> {
    if run.check_config {
        return Ok(report_on(&mistakes(&sources(run))));
    }
    if run.print_config {
        let sources = sources(run);
        print!("{}", sources.print(&sources.load()?)?);
        return Ok(ExitCode::SUCCESS);
    }
    if run.check {
        check(run, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = sources(run);
    let form = form(sources.log_format());
    live(sources).or_else(|error| {
        let why = in_words(&error);
        // Whoever reads the log by machine reads this too.
        eprintln!("{}", logs::last_words("ringcast-master", &why, form, None));
        Ok(ExitCode::FAILURE)
    })
}

/// Runs the master until a signal ends it.
fn live(sources: Sources) -> anyhow::Result<ExitCode> {
    let config = sources.load()?;
    config.check_data_dir()?;
    let logs = log_to_stderr(&config)?;
    logs.audit_to(audit::file(&config)?);
    for warning in config::openvidu::unserved(&sources.environment) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(serve(config, sources, logs));
    // Whoever reads a file or resolves a name for nobody is not waited for.
    runtime.shutdown_background();
    ended?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Everything that is wrong with the configuration; if nothing is, with the files that it names.
fn mistakes(sources: &Sources) -> Vec<String> {
    let mistakes = sources.mistakes();
    if !mistakes.is_empty() {
        return mistakes;
    }
    let config = match sources.load() {
        Ok(config) => config,
        Err(error) => return vec![in_words(&error.into())],
    };
    let data = config.check_data_dir().err().map(anyhow::Error::from);
    let front = tls::check(&config).err().map(anyhow::Error::from);
    let link = nodes::dialling::check(&config);
    let link = link.err().map(anyhow::Error::from);
    let webhook = config.webhook_endpoint.as_ref();
    let webhook = webhook.and_then(|_| Endpoint::new(&config).err());
    let audit = audit::check_file(&config).err();
    let all = data
        .iter()
        .chain(&front)
        .chain(&link)
        .chain(&webhook)
        .chain(&audit);
    all.map(in_words).collect()
}

fn report_on(mistakes: &[String]) -> ExitCode {
    if mistakes.is_empty() {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    for mistake in mistakes {
        eprintln!("ringcast-master: {mistake}");
    }
    ExitCode::FAILURE
}

/// The environment variables that a command and those below it understand.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|one| one.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    let below = command.get_subcommands().flat_map(variables);
    own.chain(below).collect()
}

/// Everywhere that the configuration is read.
fn sources(run: Run) -> Sources {
    Sources {
        file: run.config,
        environment: Environment::of_process(),
        flags: run.settings,
        variables: variables(&Cli::command()),
    }
}

fn check(run: Run, json: bool) -> anyhow::Result<()> {
    let sources = sources(run);
    let config = sources.load()?;
    for warning in config::openvidu::unserved(&sources.environment) {
        eprintln!("ringcast-master: {warning}");
    }
    let text = match json {
        true => serde_json::to_string_pretty(&config)? + "\n",
        false => toml::to_string(&config).context("print the configuration")?,
    };
    print!("{text}");
    Ok(())
}

fn log_to_stderr(config: &Config) -> anyhow::Result<Logs> {
    logs::start(&config.log_level, form(config.log_format), None)
        .with_context(|| format!("configuration: log_level: '{}'", config.log_level))
}

fn form(format: LogFormat) -> Form {
    match format {
        LogFormat::Text => Form::Text,
        LogFormat::Json => Form::Json,
    }
}

async fn serve(config: Config, sources: Sources, logs: Logs) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let stage = Stage::new();
    let (stop, stopped) = watch::channel(false);
    let admin = bind(config.admin_listen).await?;
    let metrics_at = admin.local_addr()?;
    // To the very end: whoever watches sees why the master is not ready.
    let (_nobody, never) = watch::channel(false);
    let (_as_it_is, plain) = watch::channel(Front::default());
    let routes = server::admin_routes(&stage);
    tokio::spawn(server::serve(admin, plain, routes, never));

    let package = match &config.client_package {
        Some(path) => {
            let bytes = api::pages::read_package(path);
            Some(bytes.with_context(|| format!("read client package {}", path.display()))?)
        }
        None => None,
    };
    let (front, fronts) = watch::channel(Front::of(&config)?);
    let listener = bind(config.listen).await?;
    let (http, scheme) = (listener.local_addr()?, config.scheme());
    stage.is_at("the state is read");
    let (app, webhook, dialer) = restored(config, &stage)?;
    let epoch = app.facts.epoch;

    let routes = server::routes(&app, package);
    let serving = tokio::spawn(server::serve(listener, fronts, routes, stopped));
    begin_rounds(&app, &logs)?;
    stage.started(&app);
    tracing::info!(url = %format!("{scheme}://{http}"), metrics = %format!("http://{metrics_at}/metrics"), epoch, "listening");

    let reloader = Reloader {
        sources,
        logs,
        front,
        webhook,
        dialer,
    };
    while !signals.end_or_reload().await {
        reloader.reload(&app);
    }
    tracing::info!("stopping: calls go on without a master");
    app.stop();
    stop.send_replace(true);
    let deadline = app.config().shutdown_deadline;
    tokio::select! {
        ended = serving => ended.context("answer what is under way")?,
        () = sleep(deadline) => tracing::warn!("the time is over: not everything that was asked is answered"),
        () = signals.end() => tracing::warn!("asked again: not everything that was asked is answered"),
    }
    Ok(())
}

/// The master with everything that its predecessor knew, and its ways to nodes and to the webhook.
fn restored(
    config: Config,
    stage: &Stage,
) -> anyhow::Result<(Arc<App>, Option<Webhook>, Option<Dialer>)> {
    let state = Store::open(&config.data_dir)?;
    let metrics = Metrics::new();
    metrics.started(now_millis());
    metrics.certificate("https", tls::expiry(&config));
    let app = App::restored(config, metrics, state)?;
    let webhook = webhook::start(&app)?;
    cdr::start(&app);
    stage.is_at("nodes are dialled");
    let dialer = nodes::dial(&app, app.facts.epoch)?;
    Ok((app, webhook, dialer))
}

/// What is done again and again.
fn begin_rounds(app: &Arc<App>, logs: &Logs) -> anyhow::Result<()> {
    let config = app.config();
    let (ticking, carrying) = (app.clone(), app.clone());
    tokio::spawn(every(TICK, move || ticking.tick()));
    tokio::spawn(async move { carrying.carry_removals().await });
    let (telling, counting) = (logs.clone(), app.clone());
    tokio::spawn(every(LEFT_OUT, move || {
        telling.tell_left_out();
        if counting.config().audit_path.is_some() {
            counting.metrics.audited(telling.take_audited());
        }
    }));
    let scrapes = HttpClient::new(&Options {
        reach: Reach::Everywhere,
        ca: None,
    })?;
    tokio::spawn(load_watch::watch(app.clone(), scrapes));
    if config.network_quality {
        let period = config.network_quality_interval;
        tokio::spawn(network_quality::watch(app.clone(), period));
    }
    let (period, age) = (
        config.sessions_garbage_interval,
        config.sessions_garbage_threshold,
    );
    if !period.is_zero() {
        let collecting = app.clone();
        tokio::spawn(every(period, move || collecting.collect_garbage(age)));
    }
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))
}

async fn every(period: Duration, mut act: impl FnMut()) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        act();
    }
}

/// What operators say by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }

    /// Waits until the end is wanted (true), or that everything is read again.
    async fn end_or_reload(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.hangup.recv() => false,
        }
    }

    /// Waits until the end is wanted.
    async fn end(&mut self) {
        while !self.end_or_reload().await {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_variable() {
        let command = Cli::command();
        let variables = variables(&command);
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let expected = match id {
                "check" | "check_config" | "print_config" | "help" | "version" => continue,
                id => format!("RINGCAST_MASTER_{}", id.to_uppercase()),
            };
            assert!(variables.contains(&expected), "{id}");
        }
        assert!(variables.len() > 30);
    }

    #[test]
    fn certificates_are_tried_and_none_is_made() {
        let dir = crate::testing::Dir::new("check-config");
        std::fs::create_dir_all(&dir.0).expect("made");
        let path = |name: &str| dir.0.join(name);
        let of = |more: &str| {
            let text = format!("secret = 's'\ndata_dir = '{}'\n{more}", dir.0.display());
            std::fs::write(path("master.toml"), text).expect("written");
            mistakes(&Sources {
                file: Some(path("master.toml")),
                environment: Environment::new([]),
                flags: config::Settings::default(),
                variables: Vec::new(),
            })
        };
        assert_eq!(of(""), Vec::<String>::new());
        assert!(!path("https.pem").exists() && !path("pki").exists());
        // Pairs that fit, of two authorities.
        for name in ["pki", "other"] {
            crate::pki::init(&path(name), &[]).expect("made");
        }
        let named = |certificate: &str, key: &str| {
            let (certificate, key) = (path(certificate), path(key));
            let (certificate, key) = (certificate.display(), key.display());
            of(&format!(
                "certificate = '{certificate}'\nprivate_key = '{key}'"
            ))
        };
        let good = named("pki/master.pem", "pki/master.key");
        assert_eq!(good, Vec::<String>::new());
        for (certificate, key) in [
            ("pki/master.pem", "other/master.key"),
            ("nowhere.pem", "pki/master.key"),
        ] {
            let told = named(certificate, key);
            assert!(told.len() == 1 && told[0].contains(certificate), "{told:?}");
        }
        let webhook = "webhook_endpoint = 'https://app.example/'\nwebhook_ca =";
        let authority = |name: &str| of(&format!("{webhook} '{}'", path(name).display()));
        assert_eq!(authority("pki/ca.pem"), Vec::<String>::new());
        let told = authority("no-ca.pem");
        assert!(told.len() == 1 && told[0].contains("no-ca.pem"), "{told:?}");
        let audit = |name: &str| of(&format!("audit_path = '{}'", path(name).display()));
        assert_eq!(audit("audit.jsonl"), Vec::<String>::new());
        assert!(!path("audit.jsonl").exists(), "nothing is made");
        for wrong in ["nowhere/audit.jsonl", "pki"] {
            let told = audit(wrong);
            let names =
                told.len() == 1 && told[0].contains("audit_path") && told[0].contains(wrong);
            assert!(names, "{told:?}");
        }
        std::fs::copy(path("other/master.key"), path("pki/master.key")).expect("there");
        assert_eq!(of("").len(), 1, "the key is another's");
        std::fs::remove_file(path("pki/master.key")).expect("there");
        let told = of("");
        assert!(
            told.len() == 1 && told[0].contains("master.key"),
            "{told:?}"
        );
    }

    #[test]
    fn every_cause_is_told_once() {
        let inner = || std::io::Error::other("disk on fire");
        let outer = anyhow::Error::new(inner()).context("write x");
        assert_eq!(in_words(&outer), "write x: disk on fire");
        // What carries its cause in its own text.
        let named = crate::config::Error::Read {
            path: "x".into(),
            source: inner(),
        };
        let text = in_words(&anyhow::Error::new(named).context("start"));
        assert_eq!(text, "start: read configuration x: disk on fire");
    }
}
