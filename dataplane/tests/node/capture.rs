//! `ringcast-node capture` and `transports` against a running node: what is in the files, and what is refused.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use proto::rtp::Header;
use rustix::process::Signal;

use crate::call::{bob_hears_alice, say, say_so};
use crate::harness::{Peer, World};

/// A directory that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ringcast-capture-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The files whose names begin like that, in order.
    fn files(&self, stem: &str) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("there").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(stem)).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn asking(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringcast-node"));
    command.arg("--admin-socket").arg(socket).args(words);
    command
}

fn ask(socket: &Path, words: &[&str]) -> Output {
    asking(socket, words).output().expect("the program starts")
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A record of an rtpdump file: how long the packet was (0 for RTCP), when, and what there is of it.
struct Dumped {
    plen: u16,
    millis: u32,
    octets: Vec<u8>,
}

/// Reads a file as rtptools do.
fn read(path: &Path) -> (String, Vec<Dumped>) {
    let bytes = std::fs::read(path).expect("the file is there");
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a line");
    let line = String::from_utf8(bytes[..end].to_vec()).expect("text");
    let mut rest = &bytes[end + 1 + 16..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let number = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        let (length, plen) = (usize::from(number(0)), number(2));
        let millis = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
        let octets = rest[8..length].to_vec();
        records.push(Dumped {
            plen,
            millis,
            octets,
        });
        rest = &rest[length..];
    }
    (line, records)
}

#[test]
fn a_transport_is_found_and_captured_and_payloads_only_on_request() {
    let folder = Folder::new("call");
    let socket = folder.file("admin.socket");
    let socket_text = socket.display().to_string();
    let log = folder.file("node.log");
    let paper = std::fs::File::create(&log).expect("a file");
    let flags = ["--driver", "mmsg", "--admin-socket", &socket_text];
    let flags = [&flags[..], &["--log-level", "error"]].concat();
    let mut world = World::start_with_log(&flags, paper.into());
    let mode = std::fs::metadata(&socket)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    let (mut alice, _bob) = bob_hears_alice(&mut world);

    let listed = ask(&socket, &["transports"]);
    let table = String::from_utf8(listed.stdout).expect("text");
    let of = |id: &str| {
        table
            .lines()
            .find(|line| line.starts_with(id))
            .map(str::to_owned)
    };
    assert!(
        of("alice").is_some_and(|line| line.contains("publishes alice-stream")),
        "{table}"
    );
    assert!(
        of("bob").is_some_and(|line| line.contains("receives alice-stream")),
        "{table}"
    );

    let mut number = 0;
    for payload in [false, true] {
        let out = folder.file(if payload {
            "whole.rtpdump"
        } else {
            "heads.rtpdump"
        });
        let out_text = out.display().to_string();
        let mut words = vec![
            "capture",
            "--transport",
            "alice",
            "--seconds",
            "2",
            "--out",
            &out_text,
        ];
        words.extend(payload.then_some("--payload"));
        let mut capture = asking(&socket, &words).spawn().expect("the program starts");
        let second = folder.file("second.rtpdump").display().to_string();
        // What there is not is not captured either way, and says whether another one is under way.
        let nobody = ["capture", "--transport", "nobody", "--out", &second];
        world.wait_until("the capture begins", || {
            error(&ask(&socket, &nobody)).contains("another capture is under way")
        });
        // There is one at a time.
        let words = [
            "capture",
            "--transport",
            "bob",
            "--seconds",
            "1",
            "--out",
            &second,
        ];
        let why = error(&ask(&socket, &words));
        assert!(
            why.contains("another capture is under way, of alice"),
            "{why}"
        );
        assert!(
            !folder.file("second.in.rtpdump").exists(),
            "and leaves nothing behind"
        );
        let first = number;
        while capture.try_wait().expect("our child").is_none() {
            say(&mut alice, number);
            number += 1;
            alice.run_for(Duration::from_millis(20));
        }
        assert!(capture.wait().expect("our child").success());
        let name = |direction: &str| out.with_extension(format!("{direction}.rtpdump"));
        let (line, came) = read(&name("in"));
        assert!(line.starts_with("#!rtpplay1.0 127.0.0.1/"), "{line}");
        let mode = std::fs::metadata(name("in"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let media: Vec<_> = came.iter().filter(|one| one.plen > 0).collect();
        assert!(media.len() > 20, "{}", media.len());
        let mut sequence = None;
        for one in &media {
            let header = Header::parse(&one.octets).expect("a whole header");
            let expected = sequence.map_or(header.sequence, |before: u16| before + 1);
            assert_eq!(header.sequence, expected, "none is missing");
            assert!(header.sequence >= first);
            sequence = Some(header.sequence);
            let kept = one.octets.len() - header.len();
            let whole = usize::from(one.plen) - header.len();
            assert!(whole > 0);
            assert_eq!(kept, if payload { whole } else { 0 });
        }
        assert!(media.windows(2).all(|two| two[0].millis <= two[1].millis));
        assert!(media.iter().all(|one| one.millis <= 2_500));
        let (line, left) = read(&name("out"));
        assert!(line.starts_with("#!rtpplay1.0 127.0.0.1/"), "{line}");
        assert!(
            left.iter().all(|one| one.plen == 0) && !left.is_empty(),
            "reports, whole"
        );
        assert!(
            left.iter()
                .all(|one| proto::rtcp::compound(&one.octets).is_ok())
        );
        // What is there is never overwritten.
        let again = ask(
            &socket,
            &["capture", "--transport", "alice", "--out", &out_text],
        );
        assert!(error(&again).contains("File exists"));
    }
    world.wait_for_metric("ringcast_node_captures_total", "payload=\"false\"", |n| {
        n == 1.0
    });
    world.wait_for_metric("ringcast_node_captures_total", "payload=\"true\"", |n| {
        n == 1.0
    });
    // Who looked into what is written at every level, and beside it nothing that is no error.
    let written = std::fs::read_to_string(&log).expect("there");
    let count = |words: &str| written.matches(words).count();
    assert_eq!(count("capture of decrypted packets begins"), 2, "{written}");
    assert_eq!(
        count("capture of decrypted packets is over"),
        2,
        "{written}"
    );
    assert_eq!(count("waiting for the master"), 0, "{written}");
}

#[test]
fn what_cannot_be_captured_is_said() {
    let folder = Folder::new("refused");
    let socket = folder.file("admin.socket");
    let nowhere = folder.file("x.rtpdump").display().to_string();
    let words = ["capture", "--transport", "nobody", "--out", &nowhere];
    let why = error(&ask(&socket, &words));
    assert!(
        why.contains("reach the node") && why.contains("admin.socket"),
        "{why}"
    );
    let socket_text = socket.display().to_string();
    let _world = World::start(&["--driver", "mmsg", "--admin-socket", &socket_text]);
    let why = error(&ask(&socket, &words));
    assert!(why.contains("there is no transport nobody here"), "{why}");
    let missing = folder.file("missing/x.rtpdump").display().to_string();
    let why = error(&ask(
        &socket,
        &["capture", "--transport", "nobody", "--out", &missing],
    ));
    assert!(
        why.contains("missing/x.in.rtpdump") && why.contains("No such file"),
        "{why}"
    );
    let why = error(&ask(
        &socket,
        &[
            "capture",
            "--transport",
            "x",
            "--seconds",
            "601",
            "--out",
            "y",
        ],
    ));
    assert!(why.contains("601"), "{why}");
    // Where one of the two files is there already, the other one is not made.
    std::fs::write(folder.file("half.out.rtpdump"), "mine").expect("ours");
    let half = folder.file("half.rtpdump").display().to_string();
    let words = ["capture", "--transport", "nobody", "--out", &half];
    let why = error(&ask(&socket, &words));
    assert!(
        why.contains("half.out.rtpdump") && why.contains("File exists"),
        "{why}"
    );
    assert!(!folder.file("half.in.rtpdump").exists());
    let kept = std::fs::read_to_string(folder.file("half.out.rtpdump"));
    assert_eq!(kept.expect("there"), "mine");
    // Another node can't take the socket.
    let mut twin = Command::new(env!("CARGO_BIN_EXE_ringcast-node"));
    twin.args(["transports", "--admin-socket", "/nonexistent/admin.socket"]);
    let why = error(&twin.output().expect("the program starts"));
    assert!(why.contains("/nonexistent/admin.socket"), "{why}");
    let none = Command::new(env!("CARGO_BIN_EXE_ringcast-node"))
        .arg("transports")
        .output();
    let why = error(&none.expect("the program starts"));
    assert!(why.contains("no admin.socket"), "{why}");
}

/// A node that hears Alice, its socket, and its log.
fn with_alice(folder: &Folder) -> (World, Peer, PathBuf, PathBuf) {
    let (socket, log) = (folder.file("admin.socket"), folder.file("node.log"));
    let paper = std::fs::File::create(&log).expect("a file");
    let socket_text = socket.display().to_string();
    let flags = ["--driver", "mmsg", "--admin-socket", &socket_text];
    let mut world = World::start_with_log(&flags, paper.into());
    let (alice, _) = bob_hears_alice(&mut world);
    (world, alice, socket, log)
}

/// Waits for the end of a capture while Alice sends long packets.
fn talked_through(child: Child, alice: &mut Peer, number: &mut u16) -> Output {
    let mut child = child;
    while child.try_wait().expect("our child").is_none() {
        say_so(alice, *number, &[7; 1000]);
        *number += 1;
        alice.run_for(Duration::from_millis(2));
    }
    child.wait_with_output().expect("our child")
}

#[test]
fn a_disk_that_takes_no_more_is_named_and_no_half_file_looks_whole() {
    let folder = Folder::new("full");
    let (world, mut alice, socket, _) = with_alice(&folder);
    let mut number = 0;
    // The first piece is 256 KiB; blocks are of 512 octets.
    for (name, blocks) in [("none", "1"), ("half", "700"), ("whole", "unlimited")] {
        let out = folder.file(&format!("{name}.rtpdump"));
        let nobody = ["capture", "--transport", "nobody", "--out", "nowhere"];
        world.wait_until("the one before is over", || {
            error(&ask(&socket, &nobody)).contains("there is no transport nobody")
        });
        let mut capture = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f $0; exec \"$@\"";
        capture.args(["-c", script, blocks, env!("CARGO_BIN_EXE_ringcast-node")]);
        capture.arg("--admin-socket").arg(&socket);
        capture.args(["capture", "--transport", "alice", "--payload", "--out"]);
        capture.arg(&out).args(["--packets", "600"]);
        capture.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = capture.spawn().expect("a shell");
        let output = talked_through(child, &mut alice, &mut number);
        let files = folder.files(name);
        if name == "whole" {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(files, ["whole.in.rtpdump", "whole.out.rtpdump"]);
            continue;
        }
        let why = error(&output);
        let part = format!("{name}.in.rtpdump.part: File too large");
        assert!(why.contains(&part), "{why}");
        if name == "none" {
            assert_eq!(files, [""; 0], "{why}");
            continue;
        }
        assert_eq!(files, ["half.in.rtpdump.part", "half.out.rtpdump.part"]);
        let records = files.iter().map(|file| read(&folder.file(file)).1.len());
        let told = format!("not whole: {} packets", records.sum::<usize>());
        assert!(why.contains(&told), "{why}");
    }
    assert_eq!(world.get("/healthz/live").0, 200);
}

const BEGINS: &str = "capture of decrypted packets begins";

/// A capture of Alice that takes a minute.
fn begins(socket: &Path, out: &Path) -> Child {
    let mut capture = asking(socket, &["capture", "--transport", "alice", "--out"]);
    capture.arg(out).args(["--seconds", "60"]);
    capture.stdout(Stdio::piped()).stderr(Stdio::piped());
    capture.spawn().expect("the program starts")
}

/// The lines of a log with these words.
fn written(log: &Path, words: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).expect("there");
    let lines = text.lines().filter(|line| line.contains(words));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_end_of_a_capture_is_told_however_it_breaks_off() {
    let folder = Folder::new("broken");
    let (world, _alice, socket, log) = with_alice(&folder);
    let begun = |world: &World, count: usize| {
        let so = || written(&log, BEGINS).len() == count;
        world.wait_until("it begins", so);
    };
    let over = |world: &World, count: usize, why: &str| {
        let so = || written(&log, "capture of decrypted packets is over").len() == count;
        world.wait_until("its end is told", so);
        let lines = written(&log, "is over");
        let last = lines.last().expect("one");
        assert!(last.contains(&format!("why=\"{why}\"")), "{last}");
        assert!(
            last.contains("transport=alice") && last.contains("uid="),
            "{last}"
        );
    };
    // Who captures is killed.
    let mut killed = begins(&socket, &folder.file("killed"));
    begun(&world, 1);
    killed.kill().expect("our child");
    killed.wait().expect("our child");
    over(&world, 1, "whoever asked has gone");
    assert_eq!(
        folder.files("killed"),
        ["killed.in.rtpdump.part", "killed.out.rtpdump.part"]
    );
    // The conversation breaks off: the whole of it, or the half by which we hear.
    for (count, half) in [(2, false), (3, true)] {
        let mut stream = UnixStream::connect(&socket).expect("the node listens");
        let line = r#"{"capture":{"transport":"alice","packets":9,"seconds":60,"payload":false}}"#;
        writeln!(stream, "{line}").expect("it hears");
        begun(&world, count);
        match half {
            true => stream.shutdown(std::net::Shutdown::Write).expect("open"),
            false => drop(stream),
        }
        over(&world, count, "whoever asked has gone");
    }
    // The node ends in order.
    let stopped = begins(&socket, &folder.file("stopped"));
    begun(&world, 4);
    world.node.signal(Signal::INT);
    let output = stopped.wait_with_output().expect("our child");
    over(&world, 4, "the node stops");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("it ended: the node stops"),
        "{output:?}"
    );
}

#[test]
fn a_capture_whose_node_is_killed_says_so_and_leaves_no_empty_files() {
    let folder = Folder::new("orphan");
    let (mut world, _alice, socket, log) = with_alice(&folder);
    let orphan = begins(&socket, &folder.file("orphan"));
    world.wait_until("it begins", || written(&log, BEGINS).len() == 1);
    world.node.child.kill().expect("our child");
    let why = error(&orphan.wait_with_output().expect("our child"));
    assert!(why.contains("listen to the node: it hung up"), "{why}");
    assert_eq!(folder.files("orphan"), [""; 0]);
}

#[test]
fn a_node_that_ends_before_it_answers_leaves_no_files() {
    let folder = Folder::new("mute");
    let socket = folder.file("admin.socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let out = folder.file("x.rtpdump").display().to_string();
    for answer in ["", "{\"refused\":\"no\"}\n", "{\"transports\":[]}\n"] {
        let words = ["capture", "--transport", "alice", "--out", &out];
        let mut capture = asking(&socket, &words);
        capture.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = capture.spawn().expect("the program starts");
        let (mut stream, _) = listener.accept().expect("it asks");
        let _ = stream.read(&mut [0; 512]).expect("a question");
        stream.write_all(answer.as_bytes()).expect("it listens");
        drop(stream);
        let why = error(&child.wait_with_output().expect("our child"));
        assert!(why.lines().count() == 1 && !why.contains("EOF"), "{why}");
        assert_eq!(folder.files("x"), [""; 0], "{answer}");
    }
}
