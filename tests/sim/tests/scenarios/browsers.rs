//! Publishers and viewers that behave as browsers do.

use clock::Duration;
use sim::{BrowserId, Conditions, Encoder, Loss, Rate, Settings, Simulation, Style, over_seeds};

use crate::{STYLE, good, millis};

/// 960×540 at fifteen pictures a second.
const fn style(encodings: u8, layers: u8) -> Style {
    Style {
        pictures: 15,
        encoder: Encoder::Obedient { encodings, layers },
        announced: false,
        ..STYLE
    }
}

fn set_up(simulation: &mut Simulation, id: BrowserId, up: Conditions) {
    let host = simulation.browser(id).host;
    simulation.network().set_conditions(host, up, good());
}

/// Of the last ten seconds: what the encodings of a publisher were allowed on average, in kbit/s.
fn mean_rates(simulation: &Simulation, publisher: BrowserId) -> [u64; 3] {
    let since = simulation.now().saturating_sub(Duration::from_secs(10));
    let rates = simulation.source(publisher).rates.iter();
    let late: Vec<_> = rates.filter(|(at, ..)| *at >= since).collect();
    [0, 1, 2].map(|nth| late.iter().map(|one| one.2[nth]).sum::<u64>() / late.len() as u64 / 1_000)
}

#[test]
fn on_a_good_path_an_encoder_reaches_its_most_and_all_of_it_is_shown() {
    over_seeds("on_a_good_path_an_encoder_reaches_its_most", |seed| {
        let (encodings, layers) = [(1, 1), (1, 3), (3, 1), (3, 3)][seed as usize % 4];
        let mut simulation = Simulation::new(seed, Settings::default());
        let (publisher, stream) = simulation.publish(good(), style(encodings, layers));
        let viewer = simulation.watch(good(), stream);
        simulation.run(Duration::from_secs(20));
        let from = simulation.now();
        simulation.run(Duration::from_secs(5));
        let until = simulation.now();
        simulation.run(millis(500));
        let report = simulation.report(publisher, viewer, from, until);
        assert_eq!((report.taken, report.shown), (75, 75), "{report:?}");
        assert_eq!((report.freezes, report.errors), (0, 0), "{report:?}");
        assert_eq!(report.concealed, 0.0);
        assert!(report.delay < millis(80), "{report:?}");
        let most = if encodings == 3 {
            [150, 350, 1_200]
        } else {
            [2_000, 0, 0]
        };
        let rates = simulation.source(publisher).rates.last();
        let rates = rates.expect("it thinks").2.map(|rate| rate / 1_000);
        assert_eq!(rates, most);
        simulation.finish();
    });
}

#[test]
fn an_encoder_makes_what_its_path_carries_and_rises_again() {
    over_seeds(
        "an_encoder_makes_what_its_path_carries_and_rises_again",
        |seed| {
            let mut simulation = Simulation::new(seed, Settings::default());
            let (publisher, stream) = simulation.publish(good(), style(3, 1));
            simulation.watch(good(), stream);
            simulation.run(Duration::from_secs(15));
            let limit = good().limited(Rate::kbit(500));
            set_up(&mut simulation, publisher, limit);
            simulation.run(Duration::from_secs(20));
            let limited = mean_rates(&simulation, publisher);
            let all: u64 = limited.iter().sum();
            assert!(
                (200..500).contains(&all),
                "{limited:?} where 500 kbit/s fit"
            );
            assert_eq!(limited[2], 0, "the highest encoding is off");
            set_up(&mut simulation, publisher, good());
            simulation.run(Duration::from_secs(30));
            let lifted = mean_rates(&simulation, publisher);
            assert!(lifted[2] > 600, "{lifted:?} where everything fits again");
            simulation.finish();
        },
    );
}

#[test]
fn a_shared_bottleneck_lets_through_no_more_than_it_should() {
    over_seeds("a_shared_bottleneck_lets_through_no_more", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let (publisher, stream) = simulation.publish(good(), style(1, 1));
        let viewers = [0, 1].map(|_| simulation.watch(good(), stream));
        simulation.run(Duration::from_secs(5));
        let bottleneck = simulation.network().add_bottleneck(Rate::kbit(1_000));
        for viewer in viewers {
            let host = simulation.browser(viewer).host;
            simulation
                .network()
                .put_behind(host, None, Some(bottleneck));
        }
        let from = simulation.now();
        simulation.run(Duration::from_secs(5));
        let until = simulation.now();
        let reports = viewers.map(|viewer| simulation.report(publisher, viewer, from, until));
        let rate: u64 = reports.iter().map(|report| report.rate).sum();
        // Without the headers of UDP and IP, and with what was on its way.
        assert!(rate < 1_010_000, "{rate} bit/s through 1 Mbit/s");
        simulation.finish();
    });
}

#[test]
fn a_path_changes_when_it_was_told_to() {
    over_seeds("a_path_changes_when_it_was_told_to", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let (_, stream) = simulation.publish(good(), style(1, 1));
        let viewer = simulation.watch(good(), stream);
        simulation.run(Duration::from_secs(3));
        let began = simulation.now();
        let cut = good().losing(Loss::All);
        simulation.change_after(millis(1_000), viewer, cut, cut);
        simulation.change_after(millis(2_000), viewer, good(), good());
        simulation.run(Duration::from_secs(4));
        let came = |from: u64, until: u64| {
            let range = began + millis(from)..began + millis(until);
            let received = &simulation.viewer(viewer).received;
            received.iter().filter(|one| range.contains(&one.0)).count()
        };
        assert!(came(0, 1_000) > 50);
        assert_eq!(came(1_050, 2_000), 0, "a cut is a cut");
        assert!(came(2_100, 4_000) > 50);
        simulation.finish();
    });
}
