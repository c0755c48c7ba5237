//! What the master serves, checked against the document in which it says so, by schemathesis.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The version whose findings are known.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// How long the daemons may take to start.
const START: Duration = Duration::from_secs(10);
const SECRET: &str = "OPENAPI_SECRET";

/// Builds the daemons, starts a master with a node, and has schemathesis speak with it; installs schemathesis in `target` where it is missing.
pub fn check(root: &Path, examples: u32) -> Result<()> {
    let program = schemathesis(root)?;
    step(
        Command::new("cargo")
            .args(["build", "--package", "control", "--package", "dataplane"])
            .current_dir(root),
    )?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cluster = Cluster::start(&target.join("debug"))?;
    let outcome = Command::new(program)
        .arg("--config-file")
        .arg(root.join("scripts/openapi.toml"))
        .arg("run")
        .arg(format!("{}/openvidu/api/openapi.json", cluster.url))
        .args(["--auth", &format!("OPENVIDUAPP:{SECRET}")])
        .args(["--max-examples", &examples.to_string()])
        .current_dir(&cluster.folder)
        .status()
        .context("run schemathesis")?;
    if !outcome.success() {
        bail!("the document and the API differ");
    }
    Ok(())
}

/// The program, in a virtual environment of its own.
fn schemathesis(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/schemathesis");
    let program = folder.join("bin/schemathesis");
    if !program.is_file() {
        step(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        step(Command::new(folder.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]))?;
    }
    Ok(program)
}

fn step(command: &mut Command) -> Result<()> {
    let outcome = command
        .status()
        .with_context(|| format!("run {command:?}"))?;
    if !outcome.success() {
        bail!("{command:?}: {outcome}");
    }
    Ok(())
}

/// A master and a node, which end with this.
struct Cluster {
    processes: Vec<Child>,
    url: String,
    folder: PathBuf,
}

impl Cluster {
    fn start(programs: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("ringcast-openapi-{}", std::process::id()));
        let (pki, listen) = (folder.join("pki"), free_tcp()?);
        let master = programs.join("ringcast-master");
        step(
            Command::new(&master)
                .args(["pki", "init", "--nodes", "media_1", "--dir"])
                .arg(&pki),
        )?;
        let (link, media) = (free_udp()?, free_udp()?);
        let pki = pki.display();
        let node = format!(
            "node_id = 'media_1'\nadmin.listen = '{}'\n[link]\npki = '{pki}'\nlisten = '127.0.0.1:{link}'\n\
             [media]\nworkers = 1\nbase_port = {media}\nadvertise = ['127.0.0.1']\n",
            free_tcp()?
        );
        let data = folder.display();
        let config = format!(
            "secret = '{SECRET}'\nplain_http = true\nlisten = '{listen}'\nadmin_listen = '127.0.0.1:0'\n\
             data_dir = '{data}'\npki_dir = '{pki}'\nlog_level = 'error'\nwrong_secrets_per_address_rate = 1000\n\
             [[nodes]]\nid = 'media_1'\nuri = 'quic://127.0.0.1:{link}'\n"
        );
        let mut cluster = Self {
            processes: Vec::new(),
            url: format!("http://{listen}"),
            folder: folder.clone(),
        };
        cluster.spawn(
            &programs.join("ringcast-node"),
            &folder.join("node.toml"),
            &node,
        )?;
        cluster.spawn(&master, &folder.join("master.toml"), &config)?;
        cluster.await_health(&listen)?;
        Ok(cluster)
    }

    fn spawn(&mut self, program: &Path, file: &Path, config: &str) -> Result<()> {
        fs::write(file, config).with_context(|| format!("write {}", file.display()))?;
        let mut command = Command::new(program);
        command.arg("--config").arg(file).stdin(Stdio::null());
        let log = fs::File::create(file.with_extension("log")).context("write a log")?;
        let process = command.stderr(log).spawn();
        self.processes
            .push(process.with_context(|| format!("start {}", program.display()))?);
        Ok(())
    }

    /// The master can be used once its node is up.
    fn await_health(&self, address: &str) -> Result<()> {
        let end = Instant::now() + START;
        while !is_usable(address) {
            if Instant::now() > end {
                bail!("the cluster did not start");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself, and what is left of it is only in the way.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_usable(address: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(START))?;
        stream
            .write_all(b"GET /openvidu/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn free_tcp() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    let address = listener.local_addr().context("find a free port")?;
    Ok(address.to_string())
}

fn free_udp() -> Result<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("find a free port")?;
    Ok(socket.local_addr().context("find a free port")?.port())
}
