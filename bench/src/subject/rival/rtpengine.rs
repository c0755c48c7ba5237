//! Sipwise's rtpengine: published and subscribed streams over its control protocol *ng*, forwarded in user space.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::bencode::Value;
use super::{Feed, Seat, Server, free_port};
use crate::exit::Exit;
use crate::subject::process::{Folder, Process, find};

/// How long it may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// After so long a request is repeated; rtpengine knows by its cookie if it has answered it before.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// How often.
const TRIES: usize = 20;
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 16;
/// Where media ports are. Every transport takes two.
const PORT_MIN: u16 = 10_000;
const PORT_MAX: u16 = 65_000;
/// Warnings and worse.
const LOG_LEVEL: u8 = 4;

/// An rtpengine that runs. It ends when this is dropped.
pub(super) struct Rtpengine {
    process: Process,
    control: UdpSocket,
    requests: u64,
    /// Publishers and subscribers so far.
    people: u64,
    version: String,
    threads: Option<u16>,
    // Dropped last.
    _folder: Folder,
}

impl Rtpengine {
    pub(super) fn start(threads: Option<u16>, exit: &Exit) -> anyhow::Result<Self> {
        let program = find("rtpengine", "rtpengine-daemon")?;
        let folder = Folder::new()?;
        let control = free_port(exit, |address| UdpSocket::bind(address)?.local_addr())?;
        let said = Command::new(&program).arg("--version").output()?;
        let version = read_version(&String::from_utf8_lossy(&said.stderr))
            .or_else(|| read_version(&String::from_utf8_lossy(&said.stdout)));
        let mut command = Command::new(program);
        command
            // Neither the configuration of the package nor a module in the kernel.
            .args(["--config-file=none", "--table=-1", "--foreground"])
            .args(["--log-stderr", "--no-log-timestamps", "--dtls-passive"])
            .arg(format!("--log-level={LOG_LEVEL}"))
            .arg(format!("--interface={}", exit.subject_address()))
            .arg(format!("--listen-ng={control}"))
            .arg(format!("--port-min={PORT_MIN}"))
            .arg(format!("--port-max={PORT_MAX}"))
            // Ctrl-C is for us.
            .process_group(0);
        if let Some(threads) = threads {
            command.arg(format!("--num-threads={threads}"));
        }
        let process = Process::start("rtpengine", &mut command, folder.path(), |command| {
            Ok(exit.spawn(command)?)
        })?;
        let socket = UdpSocket::bind((exit.fleet_address(), 0))?;
        socket.connect(control)?;
        socket.set_read_timeout(Some(REPEAT_AFTER))?;
        let mut rtpengine = Self {
            process,
            control: socket,
            requests: 0,
            people: 0,
            version: format!(
                "rtpengine {}",
                version.unwrap_or("of unknown version".into())
            ),
            threads,
            _folder: folder,
        };
        rtpengine.wait_up()?;
        Ok(rtpengine)
    }

    fn wait_up(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START_PATIENCE;
        loop {
            self.process.ensure_alive()?;
            match self.ask(Value::dictionary([("command", "ping".into())])) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => {
                    bail!("{error:#}; {}", self.process.last_words())
                }
                // Nobody listens there yet.
                Err(_) => std::thread::sleep(REPEAT_AFTER / 10),
            }
        }
    }

    /// A request, and the answer to it.
    fn ask(&mut self, request: Value) -> anyhow::Result<Value> {
        self.requests += 1;
        let cookie = self.requests.to_string();
        let datagram = format!("{cookie} {}", request.encode());
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        for _ in 0..TRIES {
            self.control.send(datagram.as_bytes())?;
            let until = Instant::now() + REPEAT_AFTER;
            while Instant::now() < until {
                let length = match self.control.recv(&mut buffer) {
                    Ok(length) => length,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("rtpengine does not listen"),
                };
                let text = String::from_utf8_lossy(&buffer[..length]);
                if let Some(answer) = answer(&text, &cookie) {
                    return answer;
                }
            }
        }
        bail!("rtpengine gave no answer")
    }

    fn somebody(&mut self) -> u64 {
        self.people += 1;
        self.people
    }
}

impl Server for Rtpengine {
    fn process(&self) -> &Process {
        &self.process
    }

    fn open_session(&mut self, _session: usize) -> anyhow::Result<()> {
        // A call begins with whoever is first in it.
        Ok(())
    }

    fn publish(&mut self, session: usize, offer: &str) -> anyhow::Result<(Feed, String)> {
        let feed = self.somebody();
        let answer = self.ask(Value::dictionary([
            ("command", "publish".into()),
            ("call-id", call(session).as_str().into()),
            ("from-tag", tag(feed).as_str().into()),
            ("sdp", offer.into()),
            ("ICE", "force".into()),
            ("ICE-lite", "both".into()),
            ("DTLS", "passive".into()),
            ("SDES", Value::list(["off"])),
            ("rtcp-mux", Value::list(["accept"])),
            ("transport-protocol", "UDP/TLS/RTP/SAVPF".into()),
            (
                "codec",
                Value::dictionary([("accept", Value::list(["any"]))]),
            ),
        ]))?;
        Ok((Feed(feed), description(&answer)?))
    }

    fn subscribe(&mut self, session: usize, feed: Feed) -> anyhow::Result<(Seat, String)> {
        let seat = self.somebody();
        let answer = self.ask(Value::dictionary([
            ("command", "subscribe request".into()),
            ("call-id", call(session).as_str().into()),
            ("from-tag", tag(feed.0).as_str().into()),
            ("to-tag", tag(seat).as_str().into()),
            ("ICE", "force".into()),
            ("ICE-lite", "both".into()),
            ("DTLS", "passive".into()),
            ("SDES", Value::list(["off"])),
            ("rtcp-mux", Value::list(["require"])),
            ("transport-protocol", "UDP/TLS/RTP/SAVPF".into()),
        ]))?;
        Ok((Seat(seat), description(&answer)?))
    }

    fn accept(&mut self, session: usize, seat: Seat, answer: &str) -> anyhow::Result<()> {
        let request = Value::dictionary([
            ("command", "subscribe answer".into()),
            ("call-id", call(session).as_str().into()),
            ("to-tag", tag(seat.0).as_str().into()),
            ("sdp", answer.into()),
        ]);
        self.ask(request).map(|_| ())
    }

    fn leave(&mut self, session: usize, seat: Seat) -> anyhow::Result<()> {
        let request = Value::dictionary([
            ("command", "unsubscribe".into()),
            ("call-id", call(session).as_str().into()),
            ("to-tag", tag(seat.0).as_str().into()),
        ]);
        self.ask(request).map(|_| ())
    }

    fn keeps_ssrcs(&self) -> bool {
        true
    }

    fn bundles(&self) -> bool {
        false
    }

    fn notes(&self) -> Vec<String> {
        let threads = match self.threads {
            Some(threads) => format!("{threads} threads"),
            None => "as many threads as it likes".to_owned(),
        };
        vec![format!(
            "{}, in user space, {threads}; it bundles no media: a transport for each medium",
            self.version
        )]
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let alive = self.process.ensure_alive();
        self.process.stop();
        alive
    }
}

/// What a datagram says of the request with this cookie; nothing if it is the answer to another.
fn answer(datagram: &str, cookie: &str) -> Option<anyhow::Result<Value>> {
    let rest = datagram.strip_prefix(cookie)?.strip_prefix(' ')?;
    let Some(value) = Value::decode(rest) else {
        return Some(Err(anyhow::anyhow!("rtpengine said no bencoding: {rest}")));
    };
    match value.text("result") {
        Some("error") => {
            let reason = value.text("error-reason").unwrap_or("without a reason");
            Some(Err(anyhow::anyhow!("rtpengine refused: {reason}")))
        }
        _ => Some(Ok(value)),
    }
}

fn description(answer: &Value) -> anyhow::Result<String> {
    let sdp = answer.text("sdp").map(str::to_owned);
    sdp.context("rtpengine described no transport")
}

/// The call of a session.
fn call(session: usize) -> String {
    format!("session-{session}")
}

/// The tag of a publisher or subscriber.
fn tag(number: u64) -> String {
    format!("person-{number}")
}

/// What it says when asked, without the part of the package.
fn read_version(said: &str) -> Option<String> {
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))?;
    Some(version.split('-').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_those_to_other_requests_and_from_refusals() {
        assert!(answer("6 d6:result2:oke", "7").is_none());
        assert!(answer("77 d6:result2:oke", "7").is_none());
        let said = answer("7 d6:result2:ok3:sdp4:v=0\ne", "7")
            .unwrap()
            .unwrap();
        assert_eq!(description(&said).unwrap(), "v=0\n");
        let pong = answer("7 d6:result4:ponge", "7").unwrap().unwrap();
        assert!(description(&pong).is_err());
        let refused = answer("7 d12:error-reason7:No call6:result5:errore", "7").unwrap();
        assert_eq!(
            refused.unwrap_err().to_string(),
            "rtpengine refused: No call"
        );
        assert!(answer("7 nonsense", "7").unwrap().is_err());
    }

    #[test]
    fn its_version_is_what_people_call_it() {
        let said = "Version: 10.5.3.5-1+deb12u1\n";
        assert_eq!(read_version(said).as_deref(), Some("10.5.3.5"));
        assert_eq!(read_version(""), None);
    }
}
