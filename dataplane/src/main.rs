//! `ringcast-node`: the media node.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dataplane::ask;
use dataplane::check_host::{self, Grade, Host, SystemProbes};
use dataplane::config::{self, Config, Driver, LogFormat, MetricsLevel, Sources};
use dataplane::daemon;
use logs::{Form, Logs};
use toml::{Table, Value};

/// Ringcast's media node: receives streams and forwards them.
///
/// Every option is also a key of the TOML file (--print-config prints all of them) and an environment variable:
/// RINGCAST_NODE__MEDIA__BASE_PORT is media.base_port. Flags win over the environment, and that over the file.
///
/// SIGTERM ends the node when its sessions are over (shutdown.drain), a second one and SIGINT at once. SIGHUP has configuration and
/// certificates read again.
#[derive(Parser)]
#[command(name = "ringcast-node", version)]
struct Flags {
    /// The TOML file with the configuration.
    #[arg(long, value_name = "FILE", env = "RINGCAST_NODE_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration, and if it makes sense the link's certificate, key and authority, and end: print "ok", or everything
    /// that is wrong, with status 1.
    #[arg(long)]
    check_config: bool,
    /// Print the configuration in effect, with where each value comes from, and end.
    #[arg(long, conflicts_with = "check_config")]
    print_config: bool,
    /// The same without where values come from.
    #[arg(long, conflicts_with_all = ["check_config", "print_config"])]
    check: bool,
    /// Read and grade what of this host limits a media node, say what to do about it, and end: status 3 if something is
    /// bad, otherwise 0.
    #[arg(long, conflicts_with_all = ["check", "check_config", "print_config"])]
    check_host: bool,
    /// Print what --check-host finds as JSON.
    #[arg(long, requires = "check_host")]
    json: bool,
    /// The node's id, which its certificate names too [default: the host's name].
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Where the master dials us, UDP [default: 0.0.0.0:7443].
    #[arg(long, value_name = "ADDRESS")]
    link_listen: Option<SocketAddr>,
    /// The directory with ca.pem, NODE_ID.pem and NODE_ID.key [default: pki].
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// The authority's certificate, if not in --pki.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our certificate, if not in --pki.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key, if not in --pki.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// An address to bind for media; once for IPv4, once for IPv6 [default: 0.0.0.0 and ::].
    #[arg(long, value_name = "IP")]
    bind: Vec<IpAddr>,
    /// UDP port of worker 0; worker i has the port i above it [default: 20000].
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// An address that browsers are told, best first; may be repeated [default: the host's own].
    #[arg(long, value_name = "IP")]
    advertise: Vec<IpAddr>,
    /// The port that browsers are told for worker 0, where something in front of us maps ports.
    #[arg(long, value_name = "PORT")]
    advertised_base_port: Option<u16>,
    /// Packet workers [default: one per core].
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
    /// Let workers wander between cores.
    #[arg(long)]
    no_pin: bool,
    /// How packets get in and out [default: auto].
    #[arg(long)]
    driver: Option<Driver>,
    /// Receive memory of one worker [default: 64MiB].
    #[arg(long, value_name = "BYTES")]
    arena: Option<String>,
    /// Most transports of one worker [default: 4000].
    #[arg(long, value_name = "N")]
    transports_max: Option<u32>,
    /// Transports of one session on one worker; with so many, its further users go to other workers [default: 1000].
    #[arg(long, value_name = "N")]
    session_worker_transports: Option<u32>,
    /// Bytes by which a packet of a picture may be padded to leave with its neighbours; 0 for never [default: 1].
    #[arg(long, value_name = "BYTES")]
    padding_max: Option<u32>,
    /// Where /metrics, /healthz/live, /healthz/ready, /healthz/startup and /debug are served, TCP [default: port 9090 of the
    /// address of --link-listen, since the master reads /metrics].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// How much detail /metrics has; basic is enough for rules, alerts and the master [default: full].
    #[arg(long, value_name = "LEVEL")]
    metrics: Option<MetricsLevel>,
    /// error, warn, info, debug, trace, or directives [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How long calls may go on after SIGTERM; then they are closed [default: 60s].
    #[arg(long, value_name = "TIME")]
    drain: Option<String>,
    /// The form of log lines [default: text].
    #[arg(long)]
    log_format: Option<LogFormat>,
    /// Test switch: what to break.
    #[arg(long, hide = true, value_parser = ["drop-rtp"])]
    fault: Option<String>,
    /// The Unix socket by which `capture` and `transports` ask the running node [default: $RUNTIME_DIRECTORY/admin.socket, if
    /// systemd sets that; else there is none].
    #[arg(long, value_name = "PATH", global = true)]
    admin_socket: Option<PathBuf>,
    /// Test switch: neither ask for nor answer retransmissions.
    #[arg(long, hide = true)]
    no_nack: bool,
    #[command(subcommand)]
    question: Option<Question>,
}

/// What the node that runs on this host is asked.
#[derive(Subcommand)]
enum Question {
    /// List the transports of the running node.
    Transports {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the decrypted packets of one transport of the running node to rtpdump files: headers of RTP, and RTCP whole. The node's
    /// log says who did so.
    Capture {
        /// The transport, as REST, inspector, log and `transports` name it.
        #[arg(long, value_name = "ID")]
        transport: String,
        /// How long, at most 600.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// Most packets, at most a million.
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        packets: u64,
        /// Media as well: whoever has the files can see and hear what was said.
        #[arg(long)]
        payload: bool,
        /// The files: NAME.rtpdump makes NAME.in.rtpdump, what came from the client, and NAME.out.rtpdump, what went to it. None is
        /// overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// The exit status of --check-host if the node will not work as configured.
const HOST_IS_BAD: u8 = 3;

fn main() -> ExitCode {
    match start(Flags::parse()) {
        Ok(status) => status,
        Err(error) => {
            // The messages carry their causes themselves.
            eprintln!("ringcast-node: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is not Unicode is nothing that we understand.
fn environment() -> Vec<(String, String)> {
    let all = std::env::vars_os();
    let text = all.map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    text.flatten().collect()
}

fn start(flags: Flags) -> anyhow::Result<ExitCode> {
    let variables = environment();
    let spelt = well_spelt(&variables);
    let sources = Sources {
        file: flags.config.clone(),
        environment: config::from_environment(variables.into_iter()),
        flags: flags.as_table(),
    };
    if flags.only_asks() {
        spelt?;
        return answered(&flags, &sources);
    }
    let (format, id) = sources.of_lines();
    spelt.and_then(|()| live(sources)).or_else(|error| {
        let (why, who) = (error.to_string(), Some(("node", id.as_str())));
        // Whoever reads the log by machine reads this too.
        let line = logs::last_words("ringcast-node", &why, form(format), who);
        eprintln!("{line}");
        Ok(ExitCode::FAILURE)
    })
}

/// Runs the node until a signal ends it.
fn live(sources: Sources) -> anyhow::Result<ExitCode> {
    let config = sources.load()?;
    let logs = log_to_stderr(&config)?;
    daemon::run(&config, sources, logs)?;
    Ok(ExitCode::SUCCESS)
}

fn answered(flags: &Flags, sources: &Sources) -> anyhow::Result<ExitCode> {
    if flags.check_config {
        return Ok(report_on(&mistakes(sources)));
    }
    let config = sources.load()?;
    if flags.print_config {
        print!("{}", sources.print(&config)?);
        return Ok(ExitCode::SUCCESS);
    }
    if flags.check {
        print!("{}", config.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(question) = &flags.question {
        print!("{}", answer(question, config.admin.socket.as_deref())?);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(report_on_host(&config, flags.json))
}

/// No variable is meant for a key and does nothing.
fn well_spelt(variables: &[(String, String)]) -> anyhow::Result<()> {
    let known = Config::default().to_toml().parse().unwrap_or_default();
    let keys: Vec<_> = config::leaves(&known)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let names = variables.iter().map(|(name, _)| name.clone());
    match config::misspelt(names, &keys) {
        Some((name, key)) => anyhow::bail!("{name}: {key} is set by {}", config::variable(&key)),
        None => Ok(()),
    }
}

/// Everything that would keep a start, or a reading while the node runs, from using configuration and certificates.
fn mistakes(sources: &Sources) -> Vec<String> {
    let mut mistakes = sources.mistakes();
    if mistakes.is_empty() {
        // Which files they are is known only from a configuration that makes sense.
        let tried = sources.load().map_err(|error| error.to_string());
        let tried = tried
            .and_then(|config| daemon::credentials(&config).map_err(|error| error.to_string()));
        mistakes.extend(tried.err());
    }
    mistakes
}

fn report_on(mistakes: &[String]) -> ExitCode {
    if mistakes.is_empty() {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    for mistake in mistakes {
        eprintln!("ringcast-node: {mistake}");
    }
    ExitCode::FAILURE
}

fn answer(question: &Question, socket: Option<&Path>) -> Result<String, ask::Error> {
    match question {
        Question::Transports { json } => ask::transports(socket, *json),
        Question::Capture {
            transport,
            seconds,
            packets,
            payload,
            out,
        } => {
            let wish = ask::Capture {
                transport: transport.clone(),
                seconds: *seconds,
                packets: *packets,
                payload: *payload,
                out: out.clone(),
            };
            ask::capture(socket, &wish)
        }
    }
}

fn report_on_host(config: &Config, json: bool) -> ExitCode {
    let report = check_host::inspect(&Host::new("/", &SystemProbes), config);
    match json {
        true => println!("{}", report.to_json()),
        false => print!("{}", report.to_table()),
    }
    match report.worst() {
        Grade::Bad => ExitCode::from(HOST_IS_BAD),
        _ => ExitCode::SUCCESS,
    }
}

fn log_to_stderr(config: &Config) -> anyhow::Result<Logs> {
    let who = Some(("node", config.node_id.as_str()));
    let started = logs::start(&config.log.level, form(config.log.format), who);
    started.map_err(|error| anyhow::anyhow!("log.level {:?}: {error}", config.log.level))
}

fn form(format: LogFormat) -> Form {
    match format {
        LogFormat::Text => Form::Text,
        LogFormat::Json => Form::Json,
    }
}

impl Flags {
    /// Whether no node is to run.
    fn only_asks(&self) -> bool {
        let prints = self.print_config || self.check || self.check_config || self.check_host;
        prints || self.question.is_some()
    }

    /// The flags that were given, as a layer of configuration.
    fn as_table(&self) -> Table {
        let mut table = Table::new();
        let text = |path: &PathBuf| path.display().to_string();
        let mut set = |key: &str, value: Option<Value>| {
            let Some(value) = value else { return };
            let nested = key.rsplit('.').fold(value, |value, part| {
                Value::Table(Table::from_iter([(part.to_owned(), value)]))
            });
            if let Value::Table(layer) = nested {
                config::overlay(&mut table, layer);
            }
        };
        let string = |text: Option<String>| text.map(Value::String);
        let number = |number: Option<u32>| number.map(|number| Value::Integer(number.into()));
        let list = |ips: &[IpAddr]| {
            let texts = ips.iter().map(|ip| Value::String(ip.to_string()));
            (!ips.is_empty()).then(|| Value::Array(texts.collect()))
        };
        set("node_id", string(self.node_id.clone()));
        set(
            "link.listen",
            string(self.link_listen.map(|address| address.to_string())),
        );
        set("link.pki", string(self.pki.as_ref().map(text)));
        set("link.ca", string(self.ca.as_ref().map(text)));
        set("link.certificate", string(self.cert.as_ref().map(text)));
        set("link.key", string(self.key.as_ref().map(text)));
        set("media.bind", list(&self.bind));
        set("media.base_port", number(self.base_port.map(u32::from)));
        set("media.advertise", list(&self.advertise));
        set(
            "media.advertised_base_port",
            number(self.advertised_base_port.map(u32::from)),
        );
        set("media.workers", number(self.workers.map(u32::from)));
        set("media.pin", self.no_pin.then_some(Value::Boolean(false)));
        set("media.driver", self.driver.as_ref().map(name));
        set("media.arena", string(self.arena.clone()));
        set("media.transports_max", number(self.transports_max));
        set("engine.padding_max", number(self.padding_max));
        set(
            "media.session_worker_transports",
            number(self.session_worker_transports),
        );
        set(
            "admin.listen",
            string(self.admin_listen.map(|address| address.to_string())),
        );
        set("admin.metrics", self.metrics.as_ref().map(name));
        set("shutdown.drain", string(self.drain.clone()));
        set("admin.socket", string(self.admin_socket.as_ref().map(text)));
        set("log.level", string(self.log_level.clone()));
        set("log.format", self.log_format.as_ref().map(name));
        set(
            "faults.drop_rtp",
            self.fault.is_some().then_some(Value::Boolean(true)),
        );
        set("faults.nack", self.no_nack.then_some(Value::Boolean(false)));
        table
    }
}

/// The word for a choice, the same in a flag and in the file.
fn name(choice: &impl clap::ValueEnum) -> Value {
    let word = choice
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    Value::String(word.unwrap_or_default())
}
