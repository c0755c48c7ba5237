//! `ringcast-bench placement` as people call it: what it refuses, prints and writes, and how it ends.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench::report::placement::Simulated;

/// A world of a moment.
const SMALL: &str =
    "placement --nodes 10 --sessions 300 --span 10min --policies random,ours --threads 1";

fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringcast-bench"));
    command.args(words.split_whitespace());
    command
}

fn bench(words: &str) -> (Output, String, String) {
    let output = command(words).output().expect("it was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    (output, printed, told)
}

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let name = format!("ringcast-placement-{}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("it can be made");
    folder
}

#[test]
fn what_means_nothing_is_refused_and_not_in_the_help() {
    let (_, help, _) = bench("placement --help");
    for option in [
        "--exit",
        "--suite",
        "--duration",
        "--rounds",
        "--check-every",
    ] {
        assert!(!help.contains(option), "{option} is in\n{help}");
    }
    assert!(
        help.contains("--seeds") && help.contains("--html"),
        "{help}"
    );
    let (_, help, _) = bench("fanout --help");
    assert!(help.contains("--exit") && help.contains("--check-every"));
    for words in [
        "--exit drop --rounds 3 --incidents",
        "--strangers 5",
        "--warm-up 1s",
    ] {
        let (output, _, told) = bench(&format!("placement {words}"));
        assert_eq!(output.status.code(), Some(2), "{words}");
        let first = words.split(' ').next().expect("one");
        assert!(
            told.contains("no use for") && told.contains(first),
            "{told}"
        );
    }
}

#[test]
fn files_that_cant_be_written_are_named_before_anything_runs() {
    let folder = folder("unwritable");
    let kept = folder.join("kept.json");
    fs::write(&kept, "of yesterday").expect("it can");
    let (kept, gone) = (kept.display(), folder.join("no/page.html"));
    let (gone, twice) = (gone.display(), folder.join("./kept.json"));
    let twice = twice.display();
    for (files, why) in [
        (format!("--json {kept} --html {gone}"), "can't be written"),
        (format!("--json {kept} --html {twice}"), "written twice"),
        (format!("--json {kept} --timings {twice}"), "written twice"),
    ] {
        let began = Instant::now();
        let (output, printed, told) = bench(&format!("placement --full {files}"));
        assert_eq!(output.status.code(), Some(2), "{files}");
        assert!(told.contains(why) && printed.is_empty(), "{told}{printed}");
        assert!(began.elapsed() < Duration::from_secs(20), "it ran");
    }
    let text = fs::read_to_string(folder.join("kept.json"));
    assert_eq!(text.expect("it is there"), "of yesterday");
    fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn seeds_are_compared_and_the_same_again() {
    let folder = folder("seeds");
    let [one, two, html] = ["1.json", "2.json", "x.html"].map(|name| folder.join(name));
    let words = format!("{SMALL} --seeds 2");
    let (output, printed, told) = bench(&format!(
        "{words} --json {} --html {}",
        one.display(),
        html.display()
    ));
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in [
        "Seeds: 1 to 2.",
        "Times as many as by random",
        "[1.00–1.00]",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
    assert!(told.contains("of 2 policies"), "{told}");
    bench(&format!("{words} --threads 2 --json {}", two.display()).replacen(" --threads 1", "", 1));
    let read = |path: &PathBuf| fs::read_to_string(path).expect("it was written");
    assert_eq!(read(&one), read(&two), "threads decide nothing");
    let page = read(&html);
    assert!(page.contains("class=\"whisker\"") && page.contains("<dt>Seeds</dt>"));
    let (_, again, _) = bench(&format!("table {}", one.display()));
    let until = printed.find("\nDecisions").expect("times are printed");
    assert_eq!(again, printed[..until], "the file says the same");
    fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn accidents_have_a_page() {
    let folder = folder("incidents");
    let page = folder.join("x.html");
    let json = folder.join("x.json");
    let files = format!("--html {} --json {}", page.display(), json.display());
    let words = format!("placement --incidents --policies jitsi,ours {files}");
    let (output, printed, told) = bench(&words);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let text = fs::read_to_string(&page).expect("it was written");
    for part in ["Accidents of the field", "* 1.74", "92 people join one"] {
        assert!(text.contains(part) && printed.contains(part), "{printed}");
    }
    let (_, again, told) = bench(&format!("table {}", json.display()));
    assert_eq!(again, printed, "{told}");
    fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn files_are_written_for_whom_tables_are_too_long() {
    let folder = folder("pipe");
    let json = folder.join("x.json");
    let mut command = command(&format!("{SMALL} --json {}", json.display()));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("it was built");
    // As `head` does, but before the first line.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let text = fs::read_to_string(&json).expect("it was written");
    assert!(Simulated::read(&text).is_some(), "{text}");
    fs::remove_dir_all(&folder).expect("it is there");
}

/// Interrupts a command after a second.
fn interrupted(words: &str) -> (Option<i32>, String) {
    let mut command = command(words);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().expect("it was built");
    thread::sleep(Duration::from_secs(1));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), told)
}

#[test]
fn interrupted_it_shows_what_is_through() {
    let folder = folder("interrupted");
    let json = folder.join("x.json");
    let (code, told) = interrupted(&format!("{SMALL} --seeds 1000 --json {}", json.display()));
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("this is what was through"), "{told}");
    let text = fs::read_to_string(&json).expect("it was written");
    let found = Simulated::read(&text).expect("it is of a simulation");
    let worlds = found.worlds.len();
    assert!(found.partial && (1..1000).contains(&worlds), "{worlds}");
    let (_, again, _) = bench(&format!("table {}", json.display()));
    assert!(again.contains("Partial: "), "{again}");
    fs::remove_dir_all(&folder).expect("it is there");
}

#[test]
fn interrupted_before_anything_is_through_it_leaves_no_file() {
    let folder = folder("nothing");
    let json = folder.join("x.json");
    let (code, told) = interrupted(&format!("placement --full --json {}", json.display()));
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("that takes about"), "{told}");
    assert!(told.contains("before anything was through"), "{told}");
    assert!(!json.exists());
    fs::remove_dir_all(&folder).expect("it is there");
}
