//! `ringcast-bench` as people call it: what it prints and writes, and how it ends.

use std::path::PathBuf;
use std::process::{Command, Output};

use bench::report::{RampRecord, Report};
use bench::scenario::Judgement;

fn bench(words: &str, files: &[(&str, &PathBuf)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringcast-bench"));
    command.args(words.split(' '));
    for (option, path) in files {
        command.arg(option).arg(path);
    }
    command.output().expect("it was built")
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ringcast-bench-{}-{name}", std::process::id()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SMALL: &str =
    "fanout --viewers 3 --bitrate 200k --duration 1s --warm-up 500ms --check-every 1";

#[test]
fn a_comparison_ends_in_tables_json_and_a_page() {
    let (json, html) = (file("compare.json"), file("compare.html"));
    let output = bench(
        &format!("compare conventional naive {SMALL} --rounds 1"),
        &[("--json", &json), ("--html", &html)],
    );
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}{printed}");
    assert!(
        printed.contains("Cost per delivered packet, compared"),
        "{printed}"
    );
    assert!(told.contains("[2/2] naive"), "{told}");

    let again = bench("table --markdown", &[("--", &json)]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("| ---"));

    let report = Report::read(&json).expect("a report");
    let page = std::fs::read_to_string(&html).expect("a page");
    std::fs::remove_file(&json).expect("it was written");
    std::fs::remove_file(&html).expect("it was written");
    assert!(page.contains("<svg"));
    let [comparison] = report.comparisons.as_slice() else {
        panic!("one comparison: {}", report.comparisons.len());
    };
    let summary = comparison.summaries().remove(0);
    assert_eq!((summary.left.results, summary.right.results), (1, 1));
    assert!(summary.ratio.is_some());
}

#[test]
fn forwarders_that_make_mistakes_have_no_result() {
    for (mistake, reason) in [("skip=20", "lost"), ("spoil=20", "checked")] {
        let words = format!("--subject conventional+{mistake} {SMALL}");
        let output = bench(&words, &[]);
        assert_eq!(output.status.code(), Some(1), "{mistake}");
        let printed = text(&output.stdout);
        let is_said = printed.contains("no result") && printed.contains(reason);
        assert!(is_said, "{mistake}: {printed}");
    }
}

/// A ramp through a forwarder that leaves out every tenth packet beyond 6 subscribers.
fn ramp_to_six() -> (RampRecord, String) {
    let json = file("ramp.json");
    let words = "ramp --from 2 --to 40 fanout --subject conventional+carries=6 --bitrate 200k \
                 --duration 700ms --warm-up 300ms --check-every 1";
    let output = bench(words, &[("--json", &json)]);
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}{printed}");
    let mut report = Report::read(&json).expect("a report");
    std::fs::remove_file(&json).expect("it was written");
    assert_eq!(report.ramps.len(), 1);
    (report.ramps.remove(0), printed)
}

#[test]
fn a_ramp_ends_where_the_forwarder_does() {
    // Where others use the machine as well, publishers may be late with a load that is none; that is no fault of the ramp.
    let is_undisturbed = |ramp: &RampRecord| {
        let mut small = ramp.steps.iter().filter(|step| step.size <= 6);
        small.all(|step| !matches!(step.judgement, Judgement::GeneratorFull(_)))
    };
    let mut tries = std::iter::repeat_with(ramp_to_six).take(4);
    let found = tries.find(|(ramp, _)| is_undisturbed(ramp));
    let (ramp, printed) = found.expect("publishers are in time at last");
    let sizes: Vec<usize> = ramp.steps.iter().map(|step| step.size).collect();
    assert_eq!(sizes, [2, 3, 5, 8, 6, 7], "{printed}");
    let mut was_full = false;
    for step in &ramp.steps {
        let packets = &step.outcome.packets;
        assert!(packets.expected > 0 && packets.checked > 0, "{packets:?}");
        assert_eq!(step.streams_out, step.size);
        if step.size <= 6 {
            assert_eq!(step.judgement, Judgement::Carried, "{packets:?}");
            assert!(packets.loss() < 0.01, "{packets:?}");
            continue;
        }
        assert!((0.05..0.15).contains(&packets.loss()), "{packets:?}");
        match &step.judgement {
            Judgement::Broke(why) => assert!(why.contains("lost"), "{why}"),
            Judgement::GeneratorFull(why) => {
                assert!(
                    why.contains("machine full") || packets.left_out > 0,
                    "{why}"
                );
                was_full = true;
            }
            other => panic!("{other:?} {packets:?}"),
        }
    }
    assert_eq!(ramp.carried, Some(6));
    assert!(was_full || !ramp.at_least, "{printed}");
    assert!(printed.contains("6 streams"), "{printed}");
}

#[test]
fn a_subject_that_is_not_there_says_so() {
    let output = bench(&format!("--subject ringcast@/nowhere {SMALL}"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stdout);
    assert!(
        printed.contains("No result of ringcast@/nowhere"),
        "{printed}"
    );
    assert_eq!(bench("fanout --subject nobody", &[]).status.code(), Some(2));
}
