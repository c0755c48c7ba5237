//! Loss and reordering around the wrap of the sequence number.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{Profile, Reject};
use super::{pair, payload, protect, unprotect};

const SSRC: u32 = 0xdead_0001;

/// Sends indices in order and delivers them in the order given; returns what the receiver said.
fn deliver(profile: Profile, order: &[u64]) -> Vec<Result<u64, Reject>> {
    let (mut outbound, mut inbound) = pair(profile);
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let packets: std::collections::HashMap<_, _> = sorted
        .iter()
        .map(|index| (*index, protect(&mut outbound, SSRC, *index, &payload(3))))
        .collect();
    order
        .iter()
        .map(|index| unprotect(&mut inbound, &packets[index], 12).map(|(_, index)| index))
        .collect()
}

#[test]
fn a_stream_that_begins_shortly_before_the_wrap() {
    for profile in Profile::ALL {
        for order in [
            // In order; swapped over the wrap; a late packet from before it.
            &[65_530, 65_535, 65_536, 65_537][..],
            &[65_534, 65_536, 65_535, 65_537],
            &[65_535, 65_537, 65_538, 65_530, 65_536],
            // All that was sent before the wrap is late: the first packet to arrive has ROC 1.
            &[65_536, 65_530, 65_535, 65_537],
            &[65_539, 65_538, 65_531, 65_540, 65_535],
            // Or it is lost.
            &[65_536, 65_537, 65_538],
            &[65_541, 65_540, 70_000, 98_000, 130_000, 131_073],
        ] {
            let expected: Vec<_> = order.iter().copied().map(Ok).collect();
            assert_eq!(deliver(profile, order), expected, "{profile} {order:?}");
        }
    }
}

/// At ROC 0 a number far above the highest one can't belong to the turn before, for there was none. From then on the
/// low numbers are the next turn's.
#[test]
fn a_stream_that_begins_at_zero_does_not_look_for_roc_minus_one() {
    for profile in Profile::ALL {
        let told = deliver(profile, &[3, 65_530, 2, 65_531, 65_540]);
        let expected = [
            Ok(3),
            Ok(65_530),
            Err(Reject::Unauthentic),
            Ok(65_531),
            Ok(65_540),
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn duplicates_are_found_over_the_wrap() {
    for profile in Profile::ALL {
        let order = [
            65_534, 65_537, 65_534, 65_535, 65_537, 65_535, 65_536, 65_536,
        ];
        let told = deliver(profile, &order);
        let replayed = |at: usize| told[at] == Err(Reject::Replayed);
        assert!(replayed(2) && replayed(4) && replayed(5) && replayed(7));
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Jitter of less than the window, loss and duplicates, over two wraps: each index gets in exactly once, under its
    /// own number.
    #[test]
    fn each_packet_gets_in_once(
        kind in 0..3usize,
        start in 64_000..66_000u64,
        steps in prop::collection::vec((1..400u64, 0..500u64, 0..4u8), 50..300),
    ) {
        let mut index = start;
        let mut arrivals = Vec::new();
        for (at, (step, delay, copies)) in steps.iter().enumerate() {
            // The very first is not late: its turn is all that tells the ROC.
            let delay = if at == 0 { 0 } else { *delay };
            for copy in 0..u64::from(*copies).max(u64::from(at == 0)) {
                arrivals.push((index + delay + copy * 20, index));
            }
            index += step;
        }
        arrivals.sort_unstable();
        let order: Vec<_> = arrivals.into_iter().map(|(_, index)| index).collect();
        let mut seen = HashSet::new();
        for (index, told) in order.iter().zip(deliver(Profile::ALL[kind], &order)) {
            if seen.insert(*index) {
                prop_assert_eq!(told, Ok(*index));
            } else {
                prop_assert_eq!(told, Err(Reject::Replayed));
            }
        }
    }
}
