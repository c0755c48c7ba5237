//! The node's Unix socket: what only its own user and root may ask, for it shows what is decrypted.
//!
//! A question is a line of JSON. The answer is a line of JSON too; to a capture follow its records, each piece with its length in front
//! of it (four octets, the first the highest; 0 is the last), and a line that sums up.

use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clock::Instant;
use serde::{Deserialize, Serialize};
use sfu::capture::records as records_of;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::capture::{Caller, Refused, Told, Wish};

/// Longest question.
const QUESTION_MAX: u64 = 4096;
/// How long whoever connects may take to ask and to take a piece of the answer, and we to find it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pieces of a capture that wait for its reader, and what is said before and after them.
const PIECES: usize = 16;
/// Connections that wait for the agent.
const QUEUE: usize = 4;
/// Conversations at once; who comes then waits until one is over.
const CONVERSATIONS: usize = 8;

/// A question as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Line {
    /// Which transports are there?
    Transports {},
    /// What goes over one?
    Capture {
        /// The master's name of it.
        transport: String,
        /// Most packets.
        packets: u64,
        /// How long, seconds.
        seconds: u64,
        /// Media as well.
        payload: bool,
    },
}

/// The first line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Each transport in words.
    Transports(Vec<TransportLine>),
    /// A capture has begun.
    Begun(Begun),
    /// Nothing comes of it, for that reason.
    Refused(String),
}

/// A transport, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportLine {
    /// The master's name.
    pub transport: String,
    /// The session on the link.
    pub session: String,
    /// The connection on the link.
    pub connection: String,
    /// What is sent and received on it.
    pub streams: String,
    /// `new`, `connecting`, `connected`.
    pub state: String,
    /// What is wrong, or nothing.
    pub cause: String,
}

/// What a reader of a capture needs beyond its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Begun {
    /// The node's clock then, nanoseconds.
    pub at_nanos: u64,
    /// Wall-clock time then, microseconds since 1970.
    pub unix_micros: u64,
    /// Where the peer is, if that is known.
    pub peer: Option<std::net::SocketAddr>,
    /// Where we are.
    pub local: Option<std::net::SocketAddr>,
}

/// The last line of a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Packets that were told of.
    pub packets: u64,
    /// Packets that were not.
    pub missed: u64,
    /// Why it is over.
    pub why: String,
}

/// What the agent is asked.
#[derive(Debug)]
pub enum Question {
    /// All transports.
    Transports(oneshot::Sender<Vec<TransportLine>>),
    /// A capture.
    Capture {
        /// Of what.
        wish: Wish,
        /// By whom.
        caller: Caller,
        /// What it brings.
        reader: mpsc::Sender<Told>,
        /// Whether it has begun.
        begun: oneshot::Sender<Result<Begun, Refused>>,
    },
}

/// The queue to the agent.
pub fn questions() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(QUEUE)
}

/// Makes the socket, which only our own user can connect to. One that another process left behind is replaced.
///
/// # Errors
///
/// If the directory is missing, if another user than ours and root can write in it, or if another node listens there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    check_directory(path)?;
    if let Ok(there) = std::fs::symlink_metadata(path) {
        let is_socket = there.file_type().is_socket();
        if !is_socket || std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = match is_socket {
                true => "another process listens there",
                false => "there is something else",
            };
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        std::fs::remove_file(path)?;
    }
    // Made where nobody else can look, so that there is no moment at which others could connect.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let private = path.with_file_name(name);
    // A node that was killed in the middle left it: in a container each one has the same number.
    if std::fs::symlink_metadata(&private).is_ok_and(|there| there.is_dir() && is_own(&there)) {
        std::fs::remove_dir_all(&private)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(&private)?;
    let made = make(&private.join("socket"), path);
    std::fs::remove_dir_all(&private)?;
    made
}

/// Whoever can write in the directory can put another socket into the place of ours.
fn check_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|one| !one.as_os_str().is_empty());
    let there = std::fs::metadata(parent.unwrap_or(Path::new(".")))?;
    let text = if !is_own(&there) && there.uid() != 0 {
        "the directory is another user's"
    } else if there.mode() & 0o022 != 0 {
        "others can write in the directory"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn is_own(there: &std::fs::Metadata) -> bool {
    there.uid() == rustix::process::geteuid().as_raw()
}

fn make(hidden: &Path, path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(hidden)?;
    std::fs::set_permissions(hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(hidden, path)?;
    Ok(listener)
}

/// Answers on `listener` for as long as the process lives.
pub async fn serve(listener: UnixListener, agent: mpsc::Sender<Question>) {
    let places = Arc::new(Semaphore::new(CONVERSATIONS));
    // Nobody closes it.
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let agent = agent.clone();
        tokio::spawn(async move {
            // Whoever goes away in the middle is no news.
            let _ = converse(stream, &agent).await;
            drop(place);
        });
    }
}

async fn converse(mut stream: UnixStream, agent: &mpsc::Sender<Question>) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    if credentials.uid() != own && credentials.uid() != 0 {
        tracing::warn!(target: logs::AUDIT, uid = credentials.uid(), "turned away at the admin socket");
        let text = "only the node's own user and root may ask".to_owned();
        return say(&mut stream, &Answer::Refused(text)).await;
    }
    let caller = Caller {
        uid: credentials.uid(),
        pid: credentials.pid(),
    };
    let line = timeout(PATIENCE, read_line(&mut stream)).await??;
    match serde_json::from_slice(&line) {
        Ok(Line::Transports {}) => {
            let (reply, answer) = oneshot::channel();
            ask(agent, Question::Transports(reply)).await?;
            let all = timeout(PATIENCE, answer).await?.map_err(|_| gone())?;
            say(&mut stream, &Answer::Transports(all)).await
        }
        Ok(Line::Capture {
            transport,
            packets,
            seconds,
            payload,
        }) => {
            let wish = Wish {
                name: transport,
                packets,
                time: Duration::from_secs(seconds),
                with_payload: payload,
            };
            capture(&mut stream, agent, wish, caller).await
        }
        Err(error) => {
            say(
                &mut stream,
                &Answer::Refused(format!("not understood: {error}")),
            )
            .await
        }
    }
}

async fn capture(
    stream: &mut UnixStream,
    agent: &mpsc::Sender<Question>,
    wish: Wish,
    caller: Caller,
) -> io::Result<()> {
    let (reader, mut told) = mpsc::channel(PIECES);
    let (begun, answer) = oneshot::channel();
    let question = Question::Capture {
        wish,
        caller,
        reader,
        begun,
    };
    ask(agent, question).await?;
    match timeout(PATIENCE, answer).await?.map_err(|_| gone())? {
        Ok(begun) => say(stream, &Answer::Begun(begun)).await?,
        Err(refused) => return say(stream, &Answer::Refused(refused.to_string())).await,
    }
    let mut sum = Sum {
        packets: 0,
        missed: 0,
        why: "the node stops".into(),
    };
    let (mut hears, mut says) = stream.split();
    let mut nothing = [0; 1];
    loop {
        tokio::select! {
            piece = told.recv() => match piece {
                Some(Told::Begun { .. }) => {}
                Some(Told::Records(records)) => {
                    let length = u32::try_from(records.len()).unwrap_or(u32::MAX);
                    let packets = records_of(&records).count() as u64;
                    // Who takes nothing for so long has given up: nobody else can capture meanwhile.
                    timeout(PATIENCE, says.write_all(&length.to_be_bytes())).await??;
                    timeout(PATIENCE, says.write_all(&records)).await??;
                    sum.packets += packets;
                }
                Some(Told::Ended(summary)) => {
                    sum = Sum { packets: summary.packets, missed: summary.missed, why: summary.why.into() };
                    break;
                }
                None => break,
            },
            // Whoever asked hangs up: the capture ends.
            read = hears.read(&mut nothing) => if read? == 0 { return Ok(()) },
        }
    }
    timeout(PATIENCE, says.write_all(&0_u32.to_be_bytes())).await??;
    say(stream, &sum).await
}

async fn ask(agent: &mpsc::Sender<Question>, question: Question) -> io::Result<()> {
    timeout(PATIENCE, agent.send(question))
        .await?
        .map_err(|_| gone())
}

fn gone() -> io::Error {
    io::Error::other("the agent has gone")
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    use tokio::io::AsyncBufReadExt as _;
    let mut line = Vec::new();
    BufReader::new(stream)
        .take(QUESTION_MAX)
        .read_until(b'\n', &mut line)
        .await?;
    Ok(line)
}

async fn say(stream: &mut UnixStream, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    timeout(PATIENCE, stream.write_all(&text)).await?
}

/// Wall-clock time at `at`, microseconds since 1970, when it is `now` on both clocks.
pub fn unix_micros(at: Instant, now: Instant) -> u64 {
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ago = now.saturating_since(at);
    let micros = unix.unwrap_or_default().saturating_sub(ago).as_micros();
    u64::try_from(micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A directory that is removed with everything in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, mode: u32) -> Self {
            let name = format!("ringcast-local-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).expect("a directory");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("admin.socket")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn where_others_can_write_there_is_no_socket() {
        for mode in [0o777, 0o1777, 0o770, 0o702] {
            let folder = Folder::new("open", mode);
            let error = bind(&folder.socket()).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{mode:o}");
            assert!(!folder.socket().exists());
        }
        for mode in [0o700, 0o755] {
            let folder = Folder::new("closed", mode);
            assert!(bind(&folder.socket()).is_ok(), "{mode:o}");
        }
    }

    #[tokio::test]
    async fn what_a_killed_node_of_the_same_number_left_is_no_hindrance() {
        let folder = Folder::new("leftover", 0o700);
        let left = folder
            .0
            .join(format!("admin.socket.{}", std::process::id()));
        std::fs::create_dir(&left).expect("ours");
        std::fs::write(left.join("socket"), "").expect("ours");
        assert!(bind(&folder.socket()).is_ok());
        assert!(!left.exists());
        // What is no such folder is not ours to remove.
        std::fs::write(&left, "").expect("ours");
        assert!(bind(&folder.socket()).is_err());
        assert!(left.exists());
    }

    /// Whoever asks, and the agent that is asked.
    fn served(folder: &Folder) -> mpsc::Receiver<Question> {
        let (ask, asked) = questions();
        let listener = bind(&folder.socket()).expect("a socket");
        tokio::spawn(serve(listener, ask));
        asked
    }

    async fn connect(folder: &Folder, line: &str) -> UnixStream {
        let mut stream = UnixStream::connect(folder.socket()).await.expect("heard");
        stream.write_all(line.as_bytes()).await.expect("sent");
        stream
    }

    const CAPTURE: &str =
        "{\"capture\":{\"transport\":\"x\",\"packets\":1,\"seconds\":1,\"payload\":false}}\n";

    /// The agent begins what is asked for.
    async fn begun(asked: &mut mpsc::Receiver<Question>) -> mpsc::Sender<Told> {
        match asked.recv().await {
            Some(Question::Capture { reader, begun, .. }) => {
                begun.send(Ok(Begun::default())).expect("it waits");
                reader
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_given_up_so_that_others_can_capture() {
        let folder = Folder::new("stuck", 0o700);
        let mut asked = served(&folder);
        let _stuck = connect(&folder, CAPTURE).await;
        let reader = begun(&mut asked).await;
        let sends = async { while reader.send(Told::Records(vec![0; 1 << 20])).await.is_ok() {} };
        assert!(timeout(PATIENCE * 3, sends).await.is_ok());
    }

    #[tokio::test]
    async fn where_the_node_stops_what_was_sent_is_counted() {
        let folder = Folder::new("stops", 0o700);
        let mut asked = served(&folder);
        let mut stream = connect(&folder, CAPTURE).await;
        let reader = begun(&mut asked).await;
        let three = Told::Records(vec![0; 3 * 14]);
        reader.send(three).await.expect("it is heard");
        drop(reader);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        let last = answer.rsplit(|byte| *byte == 0).next().expect("a line");
        let sum: Sum = serde_json::from_slice(last).expect("JSON");
        assert_eq!((sum.packets, sum.why.as_str()), (3, "the node stops"));
    }

    #[tokio::test]
    async fn there_are_so_many_conversations_and_the_next_one_waits() {
        let folder = Folder::new("crowd", 0o700);
        let mut asked = served(&folder);
        let mut silent = Vec::new();
        for _ in 0..CONVERSATIONS {
            silent.push(connect(&folder, "").await);
        }
        let _next = connect(&folder, "{\"transports\":{}}\n").await;
        let soon = Duration::from_millis(300);
        assert!(timeout(soon, asked.recv()).await.is_err(), "it waits");
        silent.pop();
        let question = timeout(PATIENCE / 2, asked.recv()).await;
        assert!(matches!(question, Ok(Some(Question::Transports(_)))));
    }
}
