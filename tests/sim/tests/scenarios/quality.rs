//! What the engine promises about bad paths, in short: every case that holds, and that its control breaks it.

use sim::quality::{Case, Length, Measure, Promise, cases};
use sim::{Settings, over_few_seeds};

/// Runs the cases whose names begin so; there must be some.
fn check(test: &'static str, names: &str) {
    let all = cases();
    let named = all.iter().filter(|case| case.name.starts_with(names));
    let promised: Vec<_> = named
        .filter(|case| case.promise == Promise::Holds)
        .collect();
    assert!(!promised.is_empty(), "no promise begins with {names}");
    over_few_seeds(test, 1, |seed| {
        for case in &promised {
            check_case(seed, case);
        }
    });
}

fn check_case(seed: u64, case: &Case) {
    let name = case.name;
    for measure in (case.run)(seed, Length::Short, Settings::default()) {
        println!("seed {seed}: {name}: {measure:?}");
        assert!(!measure.is_broken(), "{name}: {measure:?}");
    }
    if let Some((what, switch)) = case.control {
        let mut settings = Settings::default();
        switch(&mut settings);
        let measures = (case.run)(seed, Length::Short, settings);
        let is_noticed = measures.iter().any(Measure::is_broken);
        assert!(is_noticed, "{name} with {what}: {measures:?}");
    }
}

#[test]
fn loss_is_repaired() {
    check("loss_is_repaired", "loss");
}

#[test]
fn after_a_blackout_the_picture_comes_back() {
    check("after_a_blackout_the_picture_comes_back", "blackout");
}

#[test]
fn a_crowd_that_wants_key_frames_gets_few() {
    check("a_crowd_that_wants_key_frames_gets_few", "key-frames");
}

#[test]
fn when_a_limit_is_lifted_the_top_comes_back() {
    check("when_a_limit_is_lifted_the_top_comes_back", "limit-lifted");
}

#[test]
fn the_streams_of_one_browser_share_its_line() {
    check(
        "the_streams_of_one_browser_share_its_line",
        "six-behind-one",
    );
}

#[test]
fn lies_hurt_nobody_else() {
    check("lies_hurt_nobody_else", "lies");
}

#[test]
fn switches_of_layers_leave_no_trace() {
    check("switches_of_layers_leave_no_trace", "switches");
}

#[test]
fn ceilings_hold() {
    check("ceilings_hold", "ceiling");
}

#[test]
fn on_a_narrow_way_to_the_node_the_base_flows() {
    check("on_a_narrow_way_to_the_node_the_base_flows", "uplink-300");
}

#[test]
fn on_250_kbit_a_viewer_gets_what_fits_and_the_others_notice_nothing() {
    check(
        "on_250_kbit_a_viewer_gets_what_fits_and_the_others_notice_nothing",
        "limit-250",
    );
}

#[test]
fn on_500_kbit_a_viewer_gets_what_fits_and_the_others_notice_nothing() {
    check(
        "on_500_kbit_a_viewer_gets_what_fits_and_the_others_notice_nothing",
        "limit-500",
    );
}

#[test]
fn on_1000_kbit_a_viewer_gets_what_fits_and_the_others_notice_nothing() {
    check(
        "on_1000_kbit_a_viewer_gets_what_fits_and_the_others_notice_nothing",
        "limit-1000",
    );
}

#[test]
fn sound_goes_on_where_no_picture_fits() {
    check("sound_goes_on_where_no_picture_fits", "narrow");
}
