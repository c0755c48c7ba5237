//! `ringcast-node transports` and `ringcast-node capture`: questions to the node that runs on this host, by its Unix socket.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clock::Instant;
use sfu::capture::records;

use crate::agent::local::{Answer, Begun, Line, Sum, TransportLine};
use crate::rtpdump::RtpDump;

/// Longest piece of a capture that is believed in.
const PIECE_MAX: u32 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No node listens there, or we may not ask it.
    #[error(
        "reach the node by {}: {source} (admin.socket of the running node; its own user and root may ask)",
        path.display()
    )]
    Reach {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration names no socket.
    #[error("the configuration has no admin.socket: set it, and start the node with it")]
    NoSocket,
    /// The node says no.
    #[error("{0}")]
    Refused(String),
    /// The conversation broke off.
    #[error("listen to the node: {0}")]
    Broken(io::Error),
    /// A file can't be written.
    #[error("write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It broke off in the middle.
    #[error(
        "{why}; the capture is not whole: {packets} packets until then are in {} (from the peer) and {} (to it)",
        came.display(), left.display()
    )]
    Half {
        /// For that.
        why: Box<Error>,
        /// After so many packets.
        packets: u64,
        /// Those from the peer.
        came: PathBuf,
        /// Those to it.
        left: PathBuf,
    },
}

/// What is to be captured.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The master's name of the transport.
    pub transport: String,
    /// How long, seconds.
    pub seconds: u64,
    /// Most packets.
    pub packets: u64,
    /// Media as well.
    pub payload: bool,
    /// Where to: one file for each direction, `NAME.in.EXT` and `NAME.out.EXT`.
    pub out: PathBuf,
}

/// Shows the transports of the node: a table, or JSON.
///
/// # Errors
///
/// If the node can't be asked.
pub fn transports(socket: Option<&Path>, json: bool) -> Result<String, Error> {
    let mut stream = ask(socket, &Line::Transports {})?;
    let all = match first_line(&mut stream)? {
        Answer::Transports(all) => all,
        Answer::Refused(why) => return Err(Error::Refused(why)),
        Answer::Begun(_) => return Err(unexpected()),
    };
    if json {
        let text =
            serde_json::to_string_pretty(&all).map_err(|error| Error::Broken(error.into()))?;
        return Ok(format!("{text}\n"));
    }
    Ok(table(&all))
}

/// Captures, and says in a sentence what became of it.
///
/// # Errors
///
/// If the node can't be asked or says no, or the files can't be written. Those are never overwritten. Until they are whole their names
/// end in `.part`; of a capture that breaks off they stay so, with all packets that came, and without any packet they are removed.
pub fn capture(socket: Option<&Path>, wish: &Capture) -> Result<String, Error> {
    let paths = ["in", "out"].map(|direction| named(&wish.out, direction));
    let mut dumps = create_both(&paths)?;
    let taken = converse(socket, wish, &mut dumps);
    let packets = dumps.iter().map(|dump| dump.packets).sum();
    let sum = match taken.and_then(|sum| complete(&mut dumps).map(|()| sum)) {
        Ok(sum) => sum,
        Err(why) if packets == 0 => {
            for dump in &dumps {
                let _ = std::fs::remove_file(part(&dump.path));
            }
            return Err(why);
        }
        Err(why) => {
            let [came, left] = paths.map(|path| part(&path));
            return Err(Error::Half {
                why: Box::new(why),
                packets,
                came,
                left,
            });
        }
    };
    let [came, left] = paths.map(|path| path.display().to_string());
    let missed = match sum.missed {
        0 => String::new(),
        missed => format!(", {missed} were missed"),
    };
    Ok(format!(
        "{} packets in {came} (from the peer) and {left} (to it){missed}; it ended: {}\n",
        sum.packets, sum.why
    ))
}

fn converse(socket: Option<&Path>, wish: &Capture, dumps: &mut [Dump; 2]) -> Result<Sum, Error> {
    let question = Line::Capture {
        transport: wish.transport.clone(),
        packets: wish.packets,
        seconds: wish.seconds,
        payload: wish.payload,
    };
    let mut stream = ask(socket, &question)?;
    let begun = match first_line(&mut stream)? {
        Answer::Begun(begun) => begun,
        Answer::Refused(why) => return Err(Error::Refused(why)),
        Answer::Transports(_) => return Err(unexpected()),
    };
    let start = Instant::from_nanos(begun.at_nanos);
    for (dump, source) in dumps.iter_mut().zip([begun.peer, begun.local]) {
        dump.begin(source, &begun)?;
    }
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).map_err(broken)?;
        let length = u32::from_be_bytes(length);
        if length == 0 {
            break;
        }
        if length > PIECE_MAX {
            return Err(unexpected());
        }
        let mut piece = vec![0; length as usize];
        stream.read_exact(&mut piece).map_err(broken)?;
        for record in records(&piece) {
            let after = record.at.saturating_since(start);
            let dump = &mut dumps[usize::from(!record.incoming)];
            dump.add(after, record.is_rtcp, record.len, record.octets)?;
        }
        for dump in dumps.iter_mut() {
            dump.write()?;
        }
    }
    let mut line = String::new();
    stream.read_line(&mut line).map_err(broken)?;
    serde_json::from_str(&line).map_err(|error| Error::Broken(error.into()))
}

/// Both files, or none. Whether they can be written is known before anything is captured.
fn create_both(paths: &[PathBuf; 2]) -> Result<[Dump; 2], Error> {
    for path in paths {
        if path.symlink_metadata().is_ok() {
            return Err(write(path)(rustix::io::Errno::EXIST.into()));
        }
    }
    let came = Dump::create(&paths[0])?;
    let left = Dump::create(&paths[1]).inspect_err(|_| {
        let _ = std::fs::remove_file(part(&paths[0]));
    })?;
    Ok([came, left])
}

/// Both are whole, and get their names when both are on the disk.
fn complete(dumps: &mut [Dump; 2]) -> Result<(), Error> {
    for dump in dumps.iter() {
        dump.file.sync_all().map_err(write(&part(&dump.path)))?;
    }
    for dump in dumps.iter() {
        std::fs::rename(part(&dump.path), &dump.path).map_err(write(&dump.path))?;
    }
    Ok(())
}

/// One of the two files.
struct Dump {
    /// What it is called when it is whole.
    path: PathBuf,
    file: File,
    /// Octets of the file; it never ends in the middle of a packet.
    whole: u64,
    /// Packets in it.
    packets: u64,
    /// What is written next, and how many packets that is.
    next: RtpDump<Vec<u8>>,
    waiting: u64,
}

impl Dump {
    fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            file: create(&part(path))?,
            whole: 0,
            packets: 0,
            next: RtpDump::default(),
            waiting: 0,
        })
    }

    fn begin(&mut self, source: Option<SocketAddr>, begun: &Begun) -> Result<(), Error> {
        let unix = Duration::from_micros(begun.unix_micros);
        let begins = RtpDump::begin(Vec::new(), source, unix);
        self.next = begins.map_err(write(&self.path))?;
        self.write()
    }

    fn add(&mut self, after: Duration, is_rtcp: bool, len: u16, kept: &[u8]) -> Result<(), Error> {
        let added = self.next.add(after, is_rtcp, len, kept);
        self.waiting += 1;
        added.map_err(write(&self.path))
    }

    /// Puts what was added into the file, all of it or nothing.
    fn write(&mut self) -> Result<(), Error> {
        let octets = self.next.take();
        if let Err(error) = self.file.write_all(&octets) {
            // Half a packet would make a file that nobody can read.
            let _ = self.file.set_len(self.whole);
            return Err(write(&part(&self.path))(error));
        }
        self.whole += octets.len() as u64;
        self.packets += std::mem::take(&mut self.waiting);
        Ok(())
    }
}

fn ask(socket: Option<&Path>, question: &Line) -> Result<BufReader<UnixStream>, Error> {
    let path = socket.ok_or(Error::NoSocket)?;
    let reach = |source| Error::Reach {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).map_err(reach)?;
    let mut line = serde_json::to_vec(question).map_err(|error| Error::Broken(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    Ok(BufReader::new(stream))
}

fn first_line(stream: &mut BufReader<UnixStream>) -> Result<Answer, Error> {
    let mut line = String::new();
    stream.read_line(&mut line).map_err(broken)?;
    if line.is_empty() {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&line).map_err(|error| Error::Broken(error.into()))
}

/// The node ended, was killed, or gave us up.
fn broken(error: io::Error) -> Error {
    Error::Broken(match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it hung up"),
        _ => error,
    })
}

fn unexpected() -> Error {
    Error::Broken(io::Error::other("an answer to another question"))
}

fn write(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Write {
        path: path.clone(),
        source,
    }
}

/// A file for the owner alone, for what is decrypted is nobody else's business.
fn create(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.map_err(write(path))
}

/// What a file is called until it is whole.
fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// `call.rtpdump` becomes `call.in.rtpdump`.
fn named(out: &Path, direction: &str) -> PathBuf {
    let extension = out
        .extension()
        .map(|one| one.to_string_lossy().into_owned());
    let extension = extension.map_or_else(
        || format!("{direction}.rtpdump"),
        |extension| format!("{direction}.{extension}"),
    );
    out.with_extension(extension)
}

fn table(all: &[TransportLine]) -> String {
    let head = ["TRANSPORT", "STATE", "CAUSE", "CONNECTION", "STREAMS"].map(str::to_owned);
    let rows = all.iter().map(|one| {
        let of = [
            &one.transport,
            &one.state,
            &one.cause,
            &one.connection,
            &one.streams,
        ];
        of.map(Clone::clone)
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2, 3, 4].map(|column| width(column).unwrap_or(0));
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths);
        let text: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", text.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_direction() {
        let name = |out: &str| named(Path::new(out), "in").display().to_string();
        assert_eq!(name("/a/call.rtpdump"), "/a/call.in.rtpdump");
        assert_eq!(name("call"), "call.in.rtpdump");
    }
}
