//! Tests of what is remembered.

use proptest::prelude::{Strategy as _, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::growth::audience;

fn meeting(users: u32) -> Shape {
    audience(users, users)
}

/// One in which calls of two have been, and one of five in each ten.
fn usual() -> History {
    let mut history = History::new(100);
    for session in 0..100 {
        let users = if session % 10 == 0 { 5 } else { 2 };
        learn(
            &mut history,
            Some(&format!("call of {session} and others")),
            meeting(users),
        );
    }
    history
}

/// A session of which nothing was known but by its name, if that was.
fn learn(history: &mut History, name: Option<&str>, peak: Shape) -> Option<Learned> {
    let known = history.expect(name).map(|one| one.known);
    let was_stranger = matches!(known, None | Some(Known::Stranger));
    history.learn(name, peak, was_stranger)
}

fn users(history: &History, name: &str) -> Option<(u32, Known)> {
    let expected = history.expect(Some(name))?;
    Some((expected.peak.connections, expected.known))
}

#[test]
fn nothing_is_expected_before_anything_was() {
    let mut history = History::default();
    assert_eq!(history.expect(Some("class")), None);
    assert_eq!(history.expect(None), None);
    for _ in 0..30 {
        learn(&mut history, None, meeting(0));
    }
    assert_eq!(history.expect(None), None, "nobody came to them");
    assert_eq!(history.names(), 0);
}

#[test]
fn once_is_enough_to_make_room_and_not_to_take_it_away() {
    let mut history = usual();
    learn(&mut history, Some("class"), meeting(30));
    learn(&mut history, Some("pair"), meeting(2));
    assert_eq!(users(&history, "class"), Some((30, Known::Name)));
    assert_eq!(users(&history, "other"), Some((4, Known::Stranger)));
    let (once, _) = users(&history, "pair").expect("known");
    assert!((2..=5).contains(&once), "{once}");
    // A large one among small ones is expected again, until it is long ago.
    for small in 0..PEAKS as u32 {
        let (is, _) = users(&history, "class").expect("known");
        assert_eq!(is, 30, "after {small}");
        learn(&mut history, Some("class"), meeting(2));
    }
    assert_eq!(users(&history, "class"), Some((2, Known::Name)));
}

#[test]
fn names_that_end_otherwise_each_time_are_known_by_their_stem() {
    let mut history = usual();
    for day in 20..23 {
        assert_ne!(
            users(&history, "standup-2026-11-24").map(|of| of.1),
            Some(Known::Stem)
        );
        learn(
            &mut history,
            Some(&format!("standup-2026-11-{day}")),
            meeting(12),
        );
    }
    assert_eq!(
        users(&history, "standup-2026-11-24"),
        Some((12, Known::Stem))
    );
    assert_eq!(
        users(&history, "standup-2026-11-20"),
        Some((12, Known::Name))
    );
    assert_ne!(
        users(&history, "standing").map(|of| of.1),
        Some(Known::Stem)
    );
}

#[test]
fn stems_are_what_stays() {
    for (name, of) in [
        ("standup-2026-11-23", Some("standup")),
        ("room-5f3a", Some("room")),
        ("room_12_", Some("room")),
        ("math101-week7", Some("math101")),
        ("room12", Some("room")),
        ("Übung~7", Some("Übung")),
        // What never changes needs none.
        ("standup", None),
        ("daily-standup", None),
        ("room-cafe", None),
        // Too little stays.
        ("2026-11-23", None),
        ("a-1", None),
        ("7c9e6679-7425-40de-944b-e07fc1f90ae7", None),
        ("2026-standup", None),
        ("", None),
        ("---", None),
    ] {
        assert_eq!(stem(name), of, "{name}");
    }
}

#[test]
fn what_is_usual_here_is_learned() {
    let mut history = History::default();
    for session in 0..STRANGERS_LEAST {
        assert_eq!(history.expect(None), None, "after {session}");
        learn(&mut history, None, meeting(40));
    }
    let all = history.expect(None).expect("known");
    assert_eq!((all.peak, all.known), (meeting(40), Known::Stranger));
    for _ in 0..STRANGERS {
        learn(&mut history, None, meeting(2));
    }
    assert_eq!(history.expect(None).map(|all| all.peak), Some(meeting(2)));
}

#[test]
fn recorders_are_remembered_with_the_rest() {
    let mut history = usual();
    let recorded = Shape {
        taps: 2,
        ..meeting(20)
    };
    learn(&mut history, Some("hearing"), recorded);
    let expected = history.expect(Some("hearing")).expect("known");
    assert_eq!(expected.peak, recorded);
}

#[test]
fn who_was_longest_not_heard_of_goes_first() {
    let mut history = History::new(3);
    let mut hear_of = |name| {
        let learned = learn(&mut history, Some(name), meeting(3)).expect("a name");
        learned.forgotten
    };
    assert_eq!(["a", "b", "c", "a"].map(&mut hear_of), [const { None }; 4]);
    assert_eq!(hear_of("d").as_deref(), Some("b"));
    assert_eq!(hear_of("e").as_deref(), Some("c"));
    assert!(history.names.peaks("a").is_some());
    let long = "x".repeat(NAME_OCTETS + 1);
    assert_eq!(learn(&mut history, Some(&long), meeting(3)), None);
}

#[test]
fn names_that_are_used_once_do_not_push_out_the_others() {
    let mut history = History::new(40);
    for week in ["first", "second"] {
        for class in 0..30 {
            let name = format!("class of teacher {class}, physics");
            if week == "first" || class < 20 {
                learn(&mut history, Some(&name), meeting(30));
            }
        }
    }
    for call in 0..1000 {
        learn(
            &mut history,
            Some(&format!("call {call} or so")),
            meeting(2),
        );
    }
    let is_known = |class: &u32| {
        let name = format!("class of teacher {class}, physics");
        history.names.peaks(&name).is_some()
    };
    let known: Vec<u32> = (0..30).filter(is_known).collect();
    // The control: those that were heard of once are gone.
    assert_eq!(known, (0..20).collect::<Vec<_>>());
    // Whoever is new has room nevertheless.
    assert!(history.names.peaks("call 999 or so").is_some());
    assert!(history.names.peaks("call 985 or so").is_some());
}

#[test]
fn what_was_kept_is_restored_and_what_is_too_much_is_named() {
    let mut history = History::new(4);
    let mut kept = std::collections::BTreeMap::new();
    for session in 0..40_u32 {
        let name = format!("lesson-{}", session % 6);
        let learned = learn(&mut history, Some(&name), meeting(session % 11 + 1));
        let learned = learned.expect("a name");
        kept.insert(name.into_boxed_str(), learned.memory);
        if let Some(name) = learned.forgotten {
            kept.remove(&name);
        }
    }
    assert_eq!(kept.len(), 4);
    let (again, forgotten) = History::restored(4, kept.clone());
    assert!(forgotten.is_empty(), "{forgotten:?}");
    for name in kept.keys() {
        assert_eq!(again.names.peaks(name), history.names.peaks(name));
        let known = |history: &History| history.expect(Some(name)).map(|one| (one.known, one.seen));
        assert_eq!(known(&again), known(&history));
    }
    let known = again.expect(Some("lesson-99")).map(|one| one.known);
    assert_eq!(known, Some(Known::Stem));
    // Less room, a name that can't be one, and one of which nothing is known.
    let oldest = kept.iter().min_by_key(|(_, memory)| memory.turn);
    let oldest = oldest.map(|(name, _)| name.clone()).expect("four");
    let nothing = Memory {
        turn: 5,
        peaks: Vec::new(),
    };
    kept.insert("".into(), kept[&oldest].clone());
    kept.insert("nothing".into(), nothing);
    let (less, mut forgotten) = History::restored(3, kept);
    forgotten.sort();
    let mut wanted = ["".into(), "nothing".into(), oldest];
    wanted.sort();
    assert_eq!((less.names(), forgotten), (3, wanted.to_vec()));
}

fn shape() -> impl proptest::strategy::Strategy<Value = Shape> {
    let number = || proptest::prelude::prop_oneof![0_u32..40, proptest::prelude::any::<u32>()];
    (number(), number(), number(), number(), number()).prop_map(
        |(connections, publishers, subscribers, media_lines, taps)| Shape {
            connections,
            publishers,
            subscribers,
            media_lines,
            taps,
        },
    )
}

proptest! {
    #[test]
    fn memory_is_bounded_and_answers_are_among_what_was(room in 0_usize..6, learned in prop::collection::vec(("[ab7-]{0,5}", shape()), 0..200)) {
        let (mut history, mut again) = (History::new(room), History::new(room));
        for (name, peak) in &learned {
            let changed = learn(&mut history, Some(name), *peak);
            prop_assert_eq!(&changed, &learn(&mut again, Some(name), *peak));
            prop_assert!(changed.is_none_or(|one| one.memory.peaks.len() <= PEAKS));
            prop_assert!(history.names.len() <= room && history.stems.len() <= room.div_ceil(2));
            prop_assert!(history.strangers.sorted.len() <= STRANGERS);
            prop_assert_eq!(history.strangers.sorted.len(), history.strangers.recent.len());
            prop_assert!(history.strangers.sorted.is_sorted_by_key(size));
            let expected = history.expect(Some(name));
            prop_assert_eq!(expected, again.expect(Some(name)));
            if let Some(expected) = expected {
                let was = learned.iter().any(|(_, peak)| *peak == expected.peak);
                prop_assert!(was || USUAL.iter().any(|users| meeting(*users) == expected.peak));
            }
        }
    }

    #[test]
    fn nothing_that_was_kept_is_too_odd(kept in prop::collection::vec((".{0,4}", proptest::prelude::any::<u64>(), prop::collection::vec(shape(), 0..12)), 0..12)) {
        let kept = kept.into_iter().map(|(name, turn, peaks)| (name.into_boxed_str(), Memory { turn, peaks }));
        let (mut history, _) = History::restored(3, kept);
        prop_assert!(history.names() <= 3);
        for name in ["x", "y", "z", "x"] {
            prop_assert!(learn(&mut history, Some(name), meeting(2)).is_some());
        }
        prop_assert_eq!(history.names(), 3);
        prop_assert!(history.names.peaks("x").is_some());
    }
}
