//! The command line, and the order in which the master starts and stops.

mod operate;
mod remote;
mod table;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing_subscriber::EnvFilter;

use crate::app::{App, now_millis};
use crate::config::{self, Config, Environment, LogFormat, Settings};
use crate::http_client::{HttpClient, Options, Reach};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::{api, cdr, load_watch, network_quality, nodes, pki, server, tls, webhook};
use operate::Operation;

/// How often nodes and lost clients are looked at.
const TICK: Duration = Duration::from_millis(200);

/// The master of a Ringcast cluster.
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
    /// Print the effective configuration, secrets hidden, and stop.
    #[arg(long)]
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
        None => start(cli.run)?,
        Some(Command::Run(run)) => start(*run)?,
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

fn start(run: Run) -> anyhow::Result<()> {
    if run.check {
        return check(run, false);
    }
    let (config, environment) = configured(run)?;
    log_to_stderr(&config)?;
    for warning in config::openvidu::unserved(&environment) {
        tracing::warn!("{warning}");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve(config))
}

/// The environment variables that a command and those below it understand.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|one| one.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    let below = command.get_subcommands().flat_map(variables);
    own.chain(below).collect()
}

/// Reads the configuration from everywhere.
fn configured(run: Run) -> anyhow::Result<(Config, Environment)> {
    let environment = Environment::of_process();
    environment.check(&variables(&Cli::command()))?;
    let get = |name: &str| environment.get(name);
    let config = Config::load(run.config.as_deref(), run.settings, get)?;
    Ok((config, environment))
}

fn check(run: Run, json: bool) -> anyhow::Result<()> {
    let (config, environment) = configured(run)?;
    for warning in config::openvidu::unserved(&environment) {
        eprintln!("ringcast-master: {warning}");
    }
    let text = match json {
        true => serde_json::to_string_pretty(&config)? + "\n",
        false => toml::to_string(&config).context("print the configuration")?,
    };
    print!("{text}");
    Ok(())
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)
        .with_context(|| format!("configuration: log_level: '{}'", config.log_level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match config.log_format {
        // Colours are for people who look on: a file or a pipe gets plain text.
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let package = match &config.client_package {
        Some(path) => {
            let bytes = api::pages::read_package(path);
            Some(bytes.with_context(|| format!("read client package {}", path.display()))?)
        }
        None => None,
    };
    let tls = match config.plain_http {
        true => None,
        false => Some(tls::server_config(&config)?),
    };
    let now = now_millis();
    let state = Store::open(&config.data_dir)?;
    let (listen, admin_listen, scheme) = (config.listen, config.admin_listen, config.scheme());
    let garbage = (
        config.sessions_garbage_interval,
        config.sessions_garbage_threshold,
    );
    let quality = config
        .network_quality
        .then_some(config.network_quality_interval);
    let metrics = Metrics::new();
    metrics.started(now);
    metrics.certificate("https", tls::expiry(&config));
    let app = App::restored(config, metrics, state)?;
    let epoch = app.facts.epoch;
    webhook::start(&app)?;
    cdr::start(&app);
    let scrapes = HttpClient::new(&Options {
        reach: Reach::Everywhere,
        ca: None,
    })?;
    let proxies = app.config.trusted_proxies.clone();
    let listener = bind(listen).await?;
    let admin = bind(admin_listen).await?;
    nodes::dial(&app, epoch)?;

    let (http, metrics_at) = (listener.local_addr()?, admin.local_addr()?);
    tokio::spawn(server::serve(
        listener,
        tls,
        server::routes(&app, package),
        proxies,
    ));
    tokio::spawn(server::serve(
        admin,
        None,
        server::admin_routes(&app),
        Vec::new(),
    ));
    let ticking = app.clone();
    tokio::spawn(every(TICK, move || ticking.tick()));
    let carrying = app.clone();
    tokio::spawn(async move { carrying.carry_removals().await });
    tokio::spawn(load_watch::watch(app.clone(), scrapes));
    if let Some(period) = quality {
        tokio::spawn(network_quality::watch(app.clone(), period));
    }
    if !garbage.0.is_zero() {
        let collecting = app.clone();
        tokio::spawn(every(garbage.0, move || {
            collecting.collect_garbage(garbage.1)
        }));
    }
    tracing::info!(url = %format!("{scheme}://{http}"), metrics = %format!("http://{metrics_at}/metrics"), epoch, "listening");
    stopped().await?;
    tracing::info!("stopping: calls go on without a master");
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

async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
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
                "check" | "help" | "version" => continue,
                id => format!("RINGCAST_MASTER_{}", id.to_uppercase()),
            };
            assert!(variables.contains(&expected), "{id}");
        }
        assert!(variables.len() > 30);
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
