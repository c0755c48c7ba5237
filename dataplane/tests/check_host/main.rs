//! `--check-host` on hosts that are made up, and on this one.
//!
//! A `.host` file is a tree of files: `== PATH` begins one, `== PATH -> TARGET` is a link, and below `/probe` lies what the
//! probes answer. What is said of each host lies beside it; `RINGCAST_BLESS=1` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use dataplane::check_host::{Grade, Host, Probes, Report, inspect};
use dataplane::config::{Config, Driver};

struct TreeProbes(PathBuf);

impl Probes for TreeProbes {
    fn io_uring(&self) -> Result<String, String> {
        let answer = fs::read_to_string(self.0.join("probe/io_uring")).unwrap_or_default();
        match answer.trim().split_once(' ') {
            Some(("ok", features)) => Ok(features.to_owned()),
            Some((_, reason)) => Err(reason.to_owned()),
            None => Err("no answer".to_owned()),
        }
    }

    fn offloads(&self, interface: &str) -> Result<String, String> {
        let path = self.0.join("probe/ethtool").join(interface);
        fs::read_to_string(path).map_err(|_| "ethtool is not installed".to_owned())
    }
}

/// A tree on disk for as long as it is needed.
struct Tree(PathBuf);

impl Tree {
    fn plant(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("ringcast-host-{}-{number}", std::process::id()));
        let text = fs::read_to_string(folder().join(format!("{name}.host"))).expect("kept");
        let text = format!("\n{}", text.trim_end());
        for entry in text.split("\n== ").skip(1) {
            let (head, content) = entry.split_once('\n').unwrap_or((entry, ""));
            let (path, target) = match head.split_once(" -> ") {
                Some((path, target)) => (path, Some(target)),
                None => (head, None),
            };
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            match target {
                Some(target) => std::os::unix::fs::symlink(target, path).expect("made"),
                None => fs::write(path, content).expect("written"),
            }
        }
        Self(root)
    }

    fn inspect(&self, config: &Config) -> Report {
        inspect(&Host::new(&self.0, &TreeProbes(self.0.clone())), config)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_host")
}

fn workers(workers: u16) -> Config {
    let mut config = Config::default();
    config.media.workers = workers;
    config
}

fn compare(name: &str, said: &str) {
    let path = folder().join(name);
    if std::env::var_os("RINGCAST_BLESS").is_some() {
        fs::write(&path, said).expect("written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        said == expected,
        "{name} should be as before, and is now:\n{said}"
    );
}

/// Grades by subject.
fn grade(report: &Report, subject: &str) -> Grade {
    let mut findings = report.findings.iter();
    let found = findings.find(|finding| finding.subject == subject);
    found
        .unwrap_or_else(|| panic!("nothing is said of {subject}"))
        .grade
}

#[test]
fn a_good_host_has_nothing_to_mend() {
    let report = Tree::plant("good").inspect(&workers(4));
    for finding in &report.findings {
        assert_eq!(finding.grade, Grade::Ok, "{finding:?}");
        assert_eq!(finding.mend, None);
    }
    compare("good.txt", &report.to_table());
}

#[test]
fn a_bad_host_is_told_how_to_mend_everything() {
    let mut config = workers(6);
    config.media.driver = Driver::Uring;
    let report = Tree::plant("bad").inspect(&config);
    for finding in &report.findings {
        assert!(finding.grade >= Grade::Advice, "{finding:?}");
        assert!(finding.mend.is_some(), "{finding:?}");
    }
    assert_eq!(report.worst(), Grade::Bad);
    compare("bad.txt", &report.to_table());
    compare("bad.json", &report.to_json());
}

#[test]
fn a_container_is_told_what_its_host_has_to_allow() {
    let report = Tree::plant("container").inspect(&workers(4));
    assert_eq!(grade(&report, "io_uring"), Grade::Warning);
    assert_eq!(grade(&report, "media ports"), Grade::Ok);
    assert_eq!(grade(&report, "receive buffer"), Grade::Unknown);
    assert_eq!(report.worst(), Grade::Warning);
    compare("container.txt", &report.to_table());
}

#[test]
fn what_cannot_be_read_is_neither_praised_nor_blamed() {
    let report = Tree::plant("missing").inspect(&workers(1));
    let praised = report
        .findings
        .iter()
        .filter(|finding| finding.grade == Grade::Ok);
    let praised: Vec<&str> = praised.map(|finding| finding.subject).collect();
    // Where the kernel shows a thing only if it has it.
    assert_eq!(praised, ["governor", "connection tracking"]);
    compare("missing.txt", &report.to_table());
}

#[test]
fn the_plan_decides_what_is_enough() {
    let good = Tree::plant("good");
    assert_eq!(grade(&good.inspect(&workers(5)), "cores"), Grade::Warning);
    let mut config = workers(4);
    config.media.base_port = 40_000;
    assert_eq!(grade(&good.inspect(&config), "media ports"), Grade::Warning);
    config.media.receive_buffer.0 = 64 << 20;
    assert_eq!(
        grade(&good.inspect(&config), "receive buffer"),
        Grade::Warning
    );
    config.media.driver = Driver::Mmsg;
    assert_eq!(grade(&good.inspect(&config), "io_uring"), Grade::Advice);
    // An address of the other network leads to the other interface.
    config.media.bind = vec!["10.1.2.3".parse().expect("an address")];
    let report = good.inspect(&config);
    let interface = report
        .findings
        .iter()
        .find(|finding| finding.subject == "interface");
    assert!(interface.expect("looked at").found.contains("eth1"));
}

#[test]
fn the_program_reports_on_this_host() {
    let output = Command::new(env!("CARGO_BIN_EXE_ringcast-node"))
        .args(["--check-host", "--json", "--bind", "127.0.0.1"])
        .output()
        .expect("it starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = if report["worst"] == "bad" { 3 } else { 0 };
    assert_eq!(output.status.code(), Some(expected));
    let findings = report["findings"].as_array().expect("a list");
    let of = |subject: &str| {
        findings
            .iter()
            .find(|finding| finding["subject"] == subject)
    };
    assert!(
        of("kernel").expect("looked at")["found"]
            .as_str()
            .expect("text")
            .starts_with("Linux ")
    );
    assert!(
        of("interface").expect("looked at")["found"]
            .as_str()
            .expect("text")
            .starts_with("lo:")
    );
}
