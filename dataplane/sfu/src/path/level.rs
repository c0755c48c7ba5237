//! Making the packets of a picture equal, so that they leave as one run.
//!
//! Segmentation offload takes packets of one size, of which the last may be shorter. Browsers cut a picture into packets that
//! differ by a byte, which would end the run at nearly every packet; a byte of RTP padding (RFC 3550 §5.1) keeps it together.

use packet::MAX_SEGMENTS;

use super::rewritten::Rewritten;

/// The P bit in the first octet of the header (RFC 3550 §5.1).
pub(super) const PADDING_BIT: u8 = 0x20;

/// Pads packets of `list`, which go to one peer in this order and whose headers lie end to end in `headers`, by at most `most`
/// bytes each wherever that makes a run longer. Returns how many bytes were added.
pub(crate) fn level(list: &mut [Rewritten], headers: &mut [u8], most: u16) -> u64 {
    let (mut start, mut header, mut added) = (0, 0, 0);
    while start < list.len() {
        let (end, size) = run(&list[start..], most);
        let (all_but_last, last) = list[start..start + end].split_at_mut(end - 1);
        for one in all_but_last {
            let padding = size - one.len;
            if padding > 0 {
                // The run was chosen so that `most`, which fits into an octet, is enough.
                one.padding = padding as u8;
                one.len = size;
                headers[header] |= PADDING_BIT;
                added += u64::from(padding);
            }
            header += one.written_len();
        }
        header += last.iter().map(Rewritten::written_len).sum::<usize>();
        start += end;
    }
    added
}

/// How many packets from the first on can become one run, and the size of all but the last.
fn run(list: &[Rewritten], most: u16) -> (usize, u16) {
    // Of those that are certainly not the last; the last so far is only judged when another follows it.
    let mut size = list[0].len;
    let mut shortest = list[0].len;
    let mut rigid = !list[0].may_pad;
    for (nth, one) in list.iter().enumerate().skip(1).take(MAX_SEGMENTS - 1) {
        let before = &list[nth - 1];
        let longest = size.max(before.len);
        let least = shortest.min(before.len);
        let stiff = rigid || !before.may_pad;
        // What goes before this packet must be made equal, and not shorter than this one.
        let wanted = longest.max(one.len);
        let fits = wanted - least <= if stiff { 0 } else { most };
        if !fits {
            // Without this packet the one before it ends the run as it is.
            return (nth, size);
        }
        (size, shortest, rigid) = (wanted, least, stiff);
    }
    let whole = list.len().min(MAX_SEGMENTS);
    (whole, size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lengths, and whether they may change, into runs as bursts make them: lengths of their packets.
    fn runs(packets: &[(u16, bool)], most: u16) -> (Vec<Vec<u16>>, u64) {
        let mut list: Vec<Rewritten> = packets
            .iter()
            .map(|(len, may_pad)| Rewritten::of_length(*len, *may_pad))
            .collect();
        let mut headers = vec![0x80; 12 * list.len()];
        let added = level(&mut list, &mut headers, most);
        let mut runs: Vec<Vec<u16>> = Vec::new();
        for (nth, one) in list.iter().enumerate() {
            let (len, may_pad) = packets[nth];
            assert_eq!(one.len - u16::from(one.padding), len);
            assert!(one.padding == 0 || may_pad && u16::from(one.padding) <= most);
            assert_eq!(headers[12 * nth] & PADDING_BIT != 0, one.padding > 0);
            let open = runs.last_mut().filter(|run| {
                let size = run[0];
                run.last() == Some(&size) && one.len <= size && run.len() < MAX_SEGMENTS
            });
            match open {
                Some(run) => run.push(one.len),
                None => runs.push(vec![one.len]),
            }
        }
        (runs, added)
    }

    fn video(lens: &[u16]) -> Vec<(u16, bool)> {
        lens.iter().map(|len| (*len, true)).collect()
    }

    #[test]
    fn a_byte_keeps_a_picture_together() {
        let picture = video(&[1100, 1101, 1101, 1100, 1101, 1100]);
        assert_eq!(runs(&picture, 0).0.len(), 3);
        let (levelled, added) = runs(&picture, 1);
        assert_eq!(levelled, [[1101, 1101, 1101, 1101, 1101, 1100]]);
        assert_eq!(added, 2);
    }

    #[test]
    fn a_short_end_stays_short() {
        let (levelled, added) = runs(&video(&[1100, 1101, 300]), 1);
        assert_eq!((levelled, added), (vec![vec![1101, 1101, 300]], 1));
        let (levelled, added) = runs(&video(&[1100, 300, 1100]), 1);
        assert_eq!((levelled, added), (vec![vec![1100, 300], vec![1100]], 0));
    }

    #[test]
    fn what_must_not_change_does_not() {
        let sound = [
            (99, false),
            (100, false),
            (100, true),
            (101, true),
            (101, true),
        ];
        let (levelled, added) = runs(&sound, 4);
        assert_eq!(levelled, [vec![99], vec![100, 100], vec![101, 101]]);
        assert_eq!(added, 0);
        let same = [(100, false), (100, true), (100, false), (99, true)];
        assert_eq!(runs(&same, 4).0, [[100, 100, 100, 99]]);
    }

    #[test]
    fn runs_stay_as_long_as_a_send_may_be() {
        let many: Vec<u16> = (0..40).map(|nth| 1000 + nth % 2).collect();
        let (levelled, _) = runs(&video(&many), 1);
        let lens: Vec<usize> = levelled.iter().map(Vec::len).collect();
        assert_eq!(lens, [16, 16, 8]);
    }

    proptest! {
        #[test]
        fn never_makes_more_runs(
            packets in prop::collection::vec((90u16..110, prop::bool::weighted(0.8)), 1..60),
            most in 0u16..8,
        ) {
            let (before, _) = runs(&packets, 0);
            let (after, _) = runs(&packets, most);
            prop_assert!(after.len() <= before.len(), "{before:?} {after:?}");
        }
    }
}
