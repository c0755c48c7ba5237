//! Many at once.

use clock::Duration;
use sfu::api::LayerLimit;
use sim::{BrowserId, Conditions, Encoder, Loss, Rate, Settings, Simulation, Style, over_seeds};

use crate::{STYLE, good, millis, style_of};

#[test]
fn a_storm_of_joins_asks_for_few_key_frames() {
    over_seeds("a_storm_of_joins_asks_for_few_key_frames", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = Style {
            pictures: 10,
            sound: false,
            ..STYLE
        };
        let (publisher, stream) = simulation.publish(good(), style);
        simulation.run(millis(500));
        let mut crowd = Vec::new();
        for _ in 0..50 {
            crowd.push(simulation.subscribe(good(), stream));
            let pause = simulation.rng.below(30);
            simulation.run(millis(pause));
        }
        simulation.run(millis(1_500));
        let requests = &simulation.source(publisher).key_frame_requests;
        assert!(!requests.is_empty());
        for (earlier, later) in requests.iter().zip(&requests[1..]) {
            assert!(
                *later - *earlier >= millis(495),
                "two requests within {:?}",
                *later - *earlier
            );
        }
        for one in &crowd {
            let sink = simulation.sink(*one);
            let newest = simulation.source(publisher).taken.len() as u32;
            let shown = sink.newest().expect("everyone sees something");
            assert!(shown + 3 > newest, "{shown} of {newest}");
            sink.check_order();
        }
        let driver = simulation.node.driver_stats();
        assert!(driver.segmented_bursts > 0, "frames leave as runs");
        simulation.finish();
    });
}

/// Everything at once, drawn by lot. What holds is what holds always: the node asserts it after each of its turns.
#[test]
fn a_day_of_anything() {
    over_seeds("a_day_of_anything", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let mut streams = Vec::new();
        let mut crowd: Vec<BrowserId> = Vec::new();
        for _ in 0..40 {
            let line = any_line(&mut simulation);
            match simulation.rng.below(12) {
                0 | 1 if streams.len() < 4 => {
                    let style = Style {
                        pictures: 15,
                        ..style_of(&mut simulation)
                    };
                    let (publisher, stream) = simulation.publish(line, style);
                    streams.push(stream);
                    crowd.push(publisher);
                }
                0..=5 if !streams.is_empty() && crowd.len() < 14 => {
                    let nth = simulation.rng.below(streams.len() as u64) as usize;
                    crowd.push(simulation.subscribe(line, streams[nth]));
                }
                6 if crowd.len() > 4 => {
                    let gone = pick(&mut simulation, &crowd);
                    simulation.leave(gone);
                }
                7 if crowd.len() > 4 => {
                    let gone = pick(&mut simulation, &crowd);
                    simulation.vanish(gone);
                }
                8 if !crowd.is_empty() => {
                    let moved = pick(&mut simulation, &crowd);
                    simulation.move_browser(moved);
                }
                9 if !crowd.is_empty() => {
                    let worse = pick(&mut simulation, &crowd);
                    let host = simulation.browser(worse).host;
                    simulation.network().set_conditions(host, line, line);
                }
                _ => {}
            }
            let pause = simulation.rng.below(200);
            simulation.run(millis(pause));
        }
        for one in &crowd {
            if simulation.browser(*one).sink.is_some() {
                simulation.sink(*one).check_order();
            }
        }
        // Whoever left without a word is found out.
        for one in crowd {
            simulation.vanish(one);
        }
        simulation.run(Duration::from_secs(45));
        simulation.node.check_empty();
        simulation.finish();
    });
}

/// The same where people have a choice among encodings on ways that carry little: what is sent to them is numbered, paced and
/// probed, and some say of it what they like.
#[test]
fn a_day_of_anything_on_narrow_ways() {
    over_seeds("a_day_of_anything_on_narrow_ways", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = Style {
            encoder: Encoder::Obedient {
                encodings: 3,
                layers: 3,
            },
            pictures: 15,
            ..style_of(&mut simulation)
        };
        let (publisher, stream) = simulation.publish(good(), style);
        let mut crowd: Vec<BrowserId> = Vec::new();
        let mut stream_is_there = true;
        for _ in 0..30 {
            let line = Conditions {
                rate: any_rate(&mut simulation),
                ..any_line(&mut simulation)
            };
            match simulation.rng.below(12) {
                0..=4 if crowd.len() < 6 => crowd.push(simulation.watch(line, stream)),
                5 if crowd.len() > 2 => {
                    let gone = pick(&mut simulation, &crowd);
                    simulation.leave(gone);
                    crowd.retain(|one| *one != gone);
                }
                6 if crowd.len() > 2 => {
                    let gone = pick(&mut simulation, &crowd);
                    simulation.vanish(gone);
                    crowd.retain(|one| *one != gone);
                }
                7 if !crowd.is_empty() => {
                    let limited = pick(&mut simulation, &crowd);
                    let limit = LayerLimit {
                        encoding: Some(simulation.rng.below(4) as u8).filter(|nth| *nth < 3),
                        temporal: simulation.rng.below(4) as u8,
                    };
                    simulation.limit(limited, limit);
                }
                8 | 9 if !crowd.is_empty() => {
                    let liar = pick(&mut simulation, &crowd);
                    lie(&mut simulation, liar);
                }
                10 if !crowd.is_empty() => {
                    let worse = pick(&mut simulation, &crowd);
                    let host = simulation.browser(worse).host;
                    simulation.network().set_conditions(host, line, line);
                }
                11 if stream_is_there && simulation.rng.below(8) == 0 => {
                    simulation.leave(publisher);
                    stream_is_there = false;
                }
                _ => {}
            }
            let pause = simulation.rng.below(500);
            simulation.run(millis(pause));
        }
        for one in crowd.into_iter().chain([publisher]) {
            simulation.vanish(one);
        }
        simulation.run(Duration::from_secs(45));
        simulation.node.check_empty();
        simulation.finish();
    });
}

/// Feedback with chunks and times by the dice, about anything.
fn lie(simulation: &mut Simulation, liar: BrowserId) {
    let rng = &mut simulation.rng;
    let words = 5 + rng.below(20) as usize;
    let mut plain = vec![0; 4 + 4 * words];
    rng.fill(&mut plain[4..]);
    plain[..4].copy_from_slice(&[0x8f, 205, 0, words as u8]);
    // Mostly few packets, for most claims of many are no feedback at all.
    if rng.below(4) > 0 {
        plain[14] = 0;
    }
    simulation.say(liar, &plain);
}

fn any_rate(simulation: &mut Simulation) -> Option<Rate> {
    let rng = &mut simulation.rng;
    (rng.below(4) > 0).then(|| Rate {
        bits_per_second: 100_000 + rng.below(2_000_000),
        queue: millis(50 + rng.below(400)),
    })
}

fn pick(simulation: &mut Simulation, crowd: &[BrowserId]) -> BrowserId {
    crowd[simulation.rng.below(crowd.len() as u64) as usize]
}

fn any_line(simulation: &mut Simulation) -> Conditions {
    let rng = &mut simulation.rng;
    let loss = match rng.below(3) {
        0 => Loss::None,
        1 => Loss::Independent(rng.below(200)),
        _ => Loss::Bursts {
            good: millis(rng.below(2_000)),
            bad: millis(rng.below(300)),
            lost: 500 + rng.below(500),
        },
    };
    Conditions {
        loss,
        delay: millis(1 + rng.below(150)),
        jitter: millis(rng.below(40)),
        reordered: rng.below(100),
        held_back: millis(rng.below(100)),
        duplicated: rng.below(50),
        rate: None,
    }
}
