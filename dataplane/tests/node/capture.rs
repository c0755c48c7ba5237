//! `ringcast-node capture` and `transports` against a running node: what is in the files, and what is refused.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use proto::rtp::Header;

use crate::call::{bob_hears_alice, say};
use crate::harness::World;

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
