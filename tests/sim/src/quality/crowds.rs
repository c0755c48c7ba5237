//! Many who want the same.

use clock::{Duration, Instant};
use proto::rtcp::{self, Pli};

use super::{Case, GOOD, Length, Measure, Promise, millis, ms, seconds};
use crate::encoder::Encoder;
use crate::media::Style;
use crate::simulation::{BrowserId, Settings, Simulation};

pub(super) const CASES: [Case; 1] = [Case {
    name: "key-frames",
    what: "500 viewers ask for key frames at once, and a thousand times a second",
    promise: Promise::Holds,
    run: storm,
    control: None,
}];

/// Few pictures, and small ones whatever the estimate: it is the requests that are many. On a line so narrow that little fits, key
/// frames twice a second would be lost in its queue, and be shown late by jitter buffers that remember that.
const STYLE: Style = Style {
    pictures: 10,
    sound: false,
    announced: false,
    first_sequence: 100,
    encoder: Encoder::Careless,
};

fn storm(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let settings = Settings {
        transports_max: 600,
        ..settings
    };
    let mut simulation = Simulation::new(seed, settings);
    let (publisher, stream) = simulation.publish(GOOD, STYLE);
    let count = match length {
        Length::Short => 100,
        Length::Full => 500,
    };
    let crowd: Vec<_> = (0..count).map(|_| simulation.watch(GOOD, stream)).collect();
    simulation.run(seconds(3));
    let began = simulation.now();
    // One of them was quicker: what was asked of the publisher for it is not asked again so soon.
    ask(&mut simulation, crowd[0]);
    let quicker = simulation.rng.below(500);
    simulation.run(millis(quicker));
    for one in &crowd {
        ask(&mut simulation, *one);
    }
    let at_once = simulation.now();
    for _ in 0..1_000 {
        simulation.run(millis(2));
        for _ in 0..2 {
            let nth = simulation.rng.below(crowd.len() as u64) as usize;
            ask(&mut simulation, crowd[nth]);
        }
    }
    simulation.run(seconds(1));
    let served = crowd
        .iter()
        .map(|one| served_after(&simulation, *one, at_once));
    let served = served.fold(0.0, f64::max);
    let requests = &simulation.source(publisher).key_frame_requests;
    let gaps = requests.windows(2).map(|two| two[1] - two[0]);
    let shortest = gaps.min().unwrap_or(Duration::MAX);
    let many = requests.iter().filter(|at| **at >= began).count();
    vec![
        // Jitter of a turn of the node is no second request.
        Measure::at_least("between two requests", ms(shortest), "ms", 495.0),
        Measure::at_most("the last is served after", served, "ms", 1_000.0),
        Measure::any("requests upstream", many as f64, ""),
    ]
}

/// When a viewer was shown a key frame, in milliseconds.
fn served_after(simulation: &Simulation, viewer: BrowserId, since: Instant) -> f64 {
    let mut shown = simulation.viewer(viewer).shown().iter();
    let key = shown.find(|shown| shown.is_key && shown.at >= since);
    key.map_or(f64::INFINITY, |shown| ms(shown.at - since))
}

fn ask(simulation: &mut Simulation, viewer: BrowserId) {
    let pli = Pli {
        sender: 1,
        media: simulation.viewer(viewer).video_ssrc(),
    };
    let mut plain = [0; 20];
    let mut writer = rtcp::Writer::new(&mut plain);
    pli.write(&mut writer).expect("it fits");
    let len = writer.len();
    assert!(simulation.say(viewer, &plain[..len]), "it has its keys");
}
