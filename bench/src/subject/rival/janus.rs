//! Janus: the plugin for video rooms, over its WebSocket API.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client::client_with_config};

use super::{Feed, Seat, Server, free_port};
use crate::exit::Exit;
use crate::subject::process::{Folder, Process, find};

/// Event loops, unless told otherwise: by itself Janus starts a thread for every transport, which costs it more than twice as much.
const LOOPS: u16 = 1;
/// How long it may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where distributions and its own build put loadable parts.
const PLACES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/janus",
    "/usr/lib/aarch64-linux-gnu/janus",
    "/usr/lib/janus",
    "/usr/lib64/janus",
    "/usr/local/lib/janus",
    "/opt/janus/lib/janus",
];
/// The only plugin that is loaded, and the only transport of its API.
const PLUGIN: &str = "plugins/libjanus_videoroom.so";
const TRANSPORT: &str = "transports/libjanus_websockets.so";
/// What it calls the plugin and the language of its WebSockets.
const PACKAGE: &str = "janus.plugin.videoroom";
const PROTOCOL: &str = "janus-protocol";

/// A Janus that runs. It ends when this is dropped.
pub(super) struct Janus {
    process: Process,
    conversation: Conversation,
    /// The handles of those who publish, by what they publish.
    publishers: HashMap<u64, u64>,
    version: String,
    /// Zero: one for each transport.
    loops: u16,
    // Dropped last.
    _folder: Folder,
}

impl Janus {
    pub(super) fn start(threads: Option<u16>, exit: &Exit) -> anyhow::Result<Self> {
        let program = find("janus", "janus")?;
        let media = media_address(exit)?;
        let folder = Folder::new()?;
        lay_out(folder.path())?;
        let api = free_port(exit, |address| TcpListener::bind(address)?.local_addr())?;
        let loops = threads.unwrap_or(LOOPS);
        let config = config(folder.path(), media, loops);
        for (name, text) in [
            ("janus.jcfg", config),
            ("janus.transport.websockets.jcfg", api_config(api)),
            ("janus.plugin.videoroom.jcfg", "general: {}\n".to_owned()),
        ] {
            fs::write(folder.path().join(name), text)?;
        }
        let version = version(&program);
        let mut command = Command::new(program);
        command
            .arg("--configs-folder")
            .arg(folder.path())
            .arg("--config")
            .arg(folder.path().join("janus.jcfg"))
            .arg("--disable-colors")
            // Ctrl-C is for us.
            .process_group(0);
        let process = Process::start("janus", &mut command, folder.path(), |command| {
            Ok(exit.spawn(command)?)
        })?;
        let conversation = Conversation::begin(api, &process)?;
        Ok(Self {
            process,
            conversation,
            publishers: HashMap::new(),
            version,
            loops,
            _folder: folder,
        })
    }
}

impl Server for Janus {
    fn process(&self) -> &Process {
        &self.process
    }

    fn open_session(&mut self, session: usize) -> anyhow::Result<()> {
        let handle = self.conversation.attach()?;
        self.conversation.tell(handle, &room(session), None)?;
        self.conversation.detach(handle)
    }

    fn publish(&mut self, session: usize, offer: &str) -> anyhow::Result<(Feed, String)> {
        let handle = self.conversation.attach()?;
        let body = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": number(session),
        });
        let event = self
            .conversation
            .tell(handle, &body, Some(("offer", offer)))?;
        let feed = data(&event).get("id").and_then(Value::as_u64);
        let feed = feed.context("janus let somebody publish under no id")?;
        self.publishers.insert(feed, handle);
        Ok((Feed(feed), description(&event)?))
    }

    fn subscribe(&mut self, session: usize, feed: Feed) -> anyhow::Result<(Seat, String)> {
        // Nobody finds a stream whose transport Janus does not think up yet.
        if let Some(publisher) = self.publishers.get(&feed.0) {
            self.conversation.wait_up(*publisher)?;
        }
        let handle = self.conversation.attach()?;
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": number(session), "streams": [{ "feed": feed.0 }],
        });
        let event = self.conversation.tell(handle, &body, None)?;
        Ok((Seat(handle), description(&event)?))
    }

    fn accept(&mut self, _session: usize, seat: Seat, answer: &str) -> anyhow::Result<()> {
        let body = json!({ "request": "start" });
        let answer = Some(("answer", answer));
        self.conversation.tell(seat.0, &body, answer).map(|_| ())
    }

    fn leave(&mut self, _session: usize, seat: Seat) -> anyhow::Result<()> {
        self.conversation.up.remove(&seat.0);
        self.conversation.detach(seat.0)
    }

    fn keeps_ssrcs(&self) -> bool {
        false
    }

    fn bundles(&self) -> bool {
        true
    }

    fn notes(&self) -> Vec<String> {
        let loops = match self.loops {
            0 => "a thread for every transport".to_owned(),
            loops => format!("event_loops = {loops}"),
        };
        let mut notes = vec![format!("{}, videoroom, ICE lite, {loops}", self.version)];
        let maps = format!("/proc/{}/maps", self.process.id());
        // A process that has ended has no libraries; that it has ended is said elsewhere.
        let maps = fs::read_to_string(maps).unwrap_or_default();
        if maps.contains("libsrtp2") && maps.contains("libnss3") {
            notes.push(
                "this build's libsrtp2 encrypts with NSS, which is slower than OpenSSL".to_owned(),
            );
        }
        notes
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let alive = self.process.ensure_alive();
        self.process.stop();
        alive
    }
}

/// The session with Janus: requests and their answers, one at a time.
struct Conversation {
    socket: WebSocket<TcpStream>,
    session: u64,
    transactions: u64,
    /// Handles whose transports are up.
    up: HashSet<u64>,
}

impl Conversation {
    fn begin(api: SocketAddr, process: &Process) -> anyhow::Result<Self> {
        let until = Instant::now() + START_PATIENCE;
        let stream = loop {
            match TcpStream::connect(api) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= until => {
                    let words = process.last_words();
                    return Err(error).with_context(|| format!("janus did not come up\n{words}"));
                }
                Err(_) => process.ensure_alive()?,
            }
            std::thread::sleep(PAUSE);
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!("ws://{api}/").into_client_request()?;
        let protocol = HeaderValue::from_static(PROTOCOL);
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let config = WebSocketConfig::default();
        let (socket, _) = client_with_config(request, stream, Some(config))
            .map_err(|error| anyhow::anyhow!("the WebSocket handshake with janus: {error}"))?;
        let mut conversation = Self {
            socket,
            session: 0,
            transactions: 0,
            up: HashSet::new(),
        };
        let created = conversation.ask(json!({ "janus": "create" }))?;
        conversation.session = id(&created)?;
        Ok(conversation)
    }

    fn attach(&mut self) -> anyhow::Result<u64> {
        let request = json!({ "janus": "attach", "session_id": self.session, "plugin": PACKAGE });
        id(&self.ask(request)?)
    }

    fn detach(&mut self, handle: u64) -> anyhow::Result<()> {
        let request = json!({ "janus": "detach", "session_id": self.session, "handle_id": handle });
        self.ask(request).map(|_| ())
    }

    /// A message to the plugin, with a description if there is one; what came of it.
    fn tell(
        &mut self,
        handle: u64,
        body: &Value,
        description: Option<(&str, &str)>,
    ) -> anyhow::Result<Value> {
        let mut request = json!({
            "janus": "message", "session_id": self.session, "handle_id": handle, "body": body,
        });
        if let (Some((kind, sdp)), Some(request)) = (description, request.as_object_mut()) {
            request.insert("jsep".to_owned(), json!({ "type": kind, "sdp": sdp }));
        }
        self.ask(request)
    }

    fn ask(&mut self, mut request: Value) -> anyhow::Result<Value> {
        self.transactions += 1;
        let transaction = self.transactions.to_string();
        if let Some(request) = request.as_object_mut() {
            request.insert("transaction".to_owned(), json!(transaction));
        }
        self.socket.send(Message::text(request.to_string()))?;
        loop {
            let message = self
                .hear()
                .with_context(|| format!("janus gave no answer to {request}"))?;
            if let Some(result) = answer(&message, &transaction) {
                return result.with_context(|| format!("janus was asked {request}"));
            }
        }
    }

    /// Waits until the transport of a handle is up.
    fn wait_up(&mut self, handle: u64) -> anyhow::Result<()> {
        while !self.up.contains(&handle) {
            self.hear()
                .context("janus does not say that a publisher is connected")?;
        }
        Ok(())
    }

    /// The next message, whatever it is about.
    fn hear(&mut self) -> anyhow::Result<Value> {
        loop {
            let Message::Text(text) = self.socket.read()? else {
                continue;
            };
            let message: Value = serde_json::from_str(&text)?;
            if message.get("janus").and_then(Value::as_str) == Some("webrtcup") {
                self.up
                    .extend(message.get("sender").and_then(Value::as_u64));
            }
            return Ok(message);
        }
    }
}

/// What `message` says of a request; nothing if it is about something else, or only says that the request has arrived.
fn answer(message: &Value, transaction: &str) -> Option<anyhow::Result<Value>> {
    if message.get("transaction").and_then(Value::as_str) != Some(transaction) {
        return None;
    }
    let failure = |error: &Value| {
        let code = error.get("code").unwrap_or(&Value::Null);
        let reason = error.get("reason").and_then(Value::as_str);
        anyhow::anyhow!("refused: {code} {}", reason.unwrap_or("without a reason"))
    };
    match message.get("janus").and_then(Value::as_str) {
        Some("success" | "event") => {}
        Some("error") => return Some(Err(failure(message.get("error").unwrap_or(&Value::Null)))),
        _ => return None,
    }
    // The plugin has a way of its own to say no.
    if let Some(error) = data(message).get("error") {
        let reason = error.as_str().unwrap_or("without a reason");
        let code = data(message).get("error_code").unwrap_or(&Value::Null);
        return Some(Err(anyhow::anyhow!("refused: {code} {reason}")));
    }
    Some(Ok(message.clone()))
}

/// What the plugin says in a message.
fn data(message: &Value) -> &Value {
    message.pointer("/plugindata/data").unwrap_or(&Value::Null)
}

/// The session or handle that was made.
fn id(message: &Value) -> anyhow::Result<u64> {
    let id = message.pointer("/data/id").and_then(Value::as_u64);
    id.context("janus made something without an id")
}

fn description(message: &Value) -> anyhow::Result<String> {
    let sdp = message.pointer("/jsep/sdp").and_then(Value::as_str);
    sdp.map(str::to_owned)
        .context("janus described no transport")
}

/// The request for the room of a session.
fn room(session: usize) -> Value {
    json!({
        "request": "create", "room": number(session), "permanent": false, "publishers": 1000,
        "videocodec": "vp8,h264", "audiocodec": "opus", "bitrate": 0, "record": false, "notify_joining": false,
    })
}

/// Rooms are counted from one.
fn number(session: usize) -> usize {
    session + 1
}

/// Where media go. Janus gathers no candidates on the loopback device, and sends from the device of its candidate alone, so that
/// browsers on loopback cannot be reached from another address of the machine either.
fn media_address(exit: &Exit) -> anyhow::Result<IpAddr> {
    let address = exit.subject_address();
    anyhow::ensure!(
        !address.is_loopback(),
        "janus gathers no candidates on loopback: take --exit drop"
    );
    Ok(address)
}

/// Folders with links to the only parts that it is to load.
fn lay_out(folder: &Path) -> anyhow::Result<()> {
    for part in ["plugins", "transports", "events", "loggers"] {
        fs::create_dir(folder.join(part))?;
    }
    for part in [PLUGIN, TRANSPORT] {
        let found: Option<PathBuf> = PLACES
            .iter()
            .map(|place| Path::new(place).join(part))
            .find(|path| path.is_file());
        let found = found.with_context(|| format!("janus was installed without {part}"))?;
        symlink(found, folder.join(part))?;
    }
    Ok(())
}

fn config(folder: &Path, media: IpAddr, loops: u16) -> String {
    let folder = folder.display();
    format!(
        r#"general: {{
    configs_folder = "{folder}"
    plugins_folder = "{folder}/plugins"
    transports_folder = "{folder}/transports"
    events_folder = "{folder}/events"
    loggers_folder = "{folder}/loggers"
    debug_level = 3
    session_timeout = 0
    event_loops = {loops}
}}
media: {{ ipv6 = false }}
nat: {{
    nice_debug = false
    ice_lite = true
    ice_enforce_list = "{media}"
}}
"#
    )
}

fn api_config(api: SocketAddr) -> String {
    format!(
        r#"general: {{
    json = "plain"
    ws = true
    ws_ip = "{}"
    ws_port = {}
    wss = false
}}
admin: {{ admin_ws = false }}
"#,
        api.ip(),
        api.port()
    )
}

/// What it says of itself when asked, such as `Janus 1.1.2`.
fn version(program: &Path) -> String {
    let said = Command::new(program).arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    read_version(&said.unwrap_or_default())
}

fn read_version(said: &str) -> String {
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("Janus version:"))
        .and_then(|rest| rest.split(['(', ')']).nth(1));
    format!("Janus {}", version.unwrap_or("of unknown version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_acknowledgements_events_and_refusals() {
        let event = |kind: &str, data: Value| json!({ "janus": kind, "transaction": "7", "plugindata": { "plugin": PACKAGE, "data": data } });
        assert!(answer(&json!({ "janus": "ack", "transaction": "7" }), "7").is_none());
        assert!(answer(&event("event", json!({})), "8").is_none());
        assert!(answer(&json!({ "janus": "webrtcup", "sender": 5 }), "7").is_none());
        let joined = event("event", json!({ "videoroom": "joined", "id": 12 }));
        assert_eq!(data(&answer(&joined, "7").unwrap().unwrap())["id"], 12);

        let refused = event(
            "event",
            json!({ "error_code": 426, "error": "No such room" }),
        );
        let error = answer(&refused, "7").unwrap().unwrap_err().to_string();
        assert_eq!(error, "refused: 426 No such room");
        let refused = json!({ "janus": "error", "transaction": "7", "error": { "code": 458, "reason": "No such session" } });
        let error = answer(&refused, "7").unwrap().unwrap_err().to_string();
        assert_eq!(error, "refused: 458 No such session");
    }

    #[test]
    fn ids_and_descriptions_are_read_or_missed() {
        let made = json!({ "janus": "success", "transaction": "1", "data": { "id": 4_503_599_627_370_496_u64 } });
        assert_eq!(id(&made).unwrap(), 1 << 52);
        assert!(id(&json!({ "janus": "success" })).is_err());
        let offered = json!({ "janus": "event", "jsep": { "type": "offer", "sdp": "v=0\r\n" } });
        assert_eq!(description(&offered).unwrap(), "v=0\r\n");
        assert!(description(&made).is_err());
    }

    #[test]
    fn configurations_name_addresses_and_threads() {
        let media = [192, 0, 2, 7].into();
        let folder = Path::new("/run/bench");
        let text = config(folder, media, 3);
        assert!(text.contains("ice_enforce_list = \"192.0.2.7\""), "{text}");
        assert!(text.contains("event_loops = 3\n"), "{text}");
        assert!(
            text.contains("plugins_folder = \"/run/bench/plugins\""),
            "{text}"
        );
        let text = api_config(([127, 0, 0, 1], 8188).into());
        assert!(text.contains("ws_ip = \"127.0.0.1\""), "{text}");
        assert!(text.contains("ws_port = 8188"), "{text}");
    }

    #[test]
    fn its_version_is_what_people_call_it() {
        let said = "Janus version: 1102 (1.1.2)\nJanus commit: not-a-git-repo\n";
        assert_eq!(read_version(said), "Janus 1.1.2");
        assert_eq!(read_version("?"), "Janus of unknown version");
    }
}
