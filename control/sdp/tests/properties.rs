//! No text, however strange, does harm.

mod common;

use common::{local, recorded};
use proptest::prelude::*;
use sdp::{MAX_BYTES, MAX_LINES, MAX_MEDIA, RemoteDescription, Session, fuzz, parse_candidate};

#[derive(Clone, Debug)]
enum Change {
    /// Overwrites one byte.
    Byte(usize, u8),
    /// Leaves out one line.
    Drop(usize),
    /// Repeats one line elsewhere.
    Copy(usize, usize),
    /// Cuts one line short.
    Cut(usize, usize),
    /// Ends the text.
    End(usize),
    /// Puts a number in place of the first digits of a line.
    Number(usize, u64),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<usize>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        place().prop_map(Change::Drop),
        (place(), place()).prop_map(|(from, to)| Change::Copy(from, to)),
        (place(), place()).prop_map(|(line, at)| Change::Cut(line, at)),
        place().prop_map(Change::End),
        (place(), any::<u64>()).prop_map(|(line, number)| Change::Number(line, number)),
    ]
}

fn apply(text: Vec<u8>, change: &Change) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let count = lines.len();
    match *change {
        Change::Byte(at, byte) => {
            let mut text = text;
            let length = text.len().max(1);
            if let Some(place) = text.get_mut(at % length) {
                *place = byte;
            }
            return text;
        }
        Change::Drop(line) => drop(lines.remove(line % count)),
        Change::Copy(from, to) => lines.insert(to % count, lines[from % count].clone()),
        Change::Cut(line, at) => {
            let line = &mut lines[line % count];
            line.truncate(at % (line.len() + 1));
        }
        Change::End(at) => lines.truncate(at % count + 1),
        Change::Number(line, number) => {
            let line = &mut lines[line % count];
            let start = line.iter().position(u8::is_ascii_digit);
            if let Some(start) = start {
                let digits = line[start..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                line.splice(start..start + digits, number.to_string().into_bytes());
            }
        }
    }
    lines.join(&b'\n')
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz(&bytes);
    }

    #[test]
    fn survives_lines_that_look_right(
        lines in prop::collection::vec(
            "(a=(rtpmap|fmtp|rtcp-fb|extmap|ssrc|ssrc-group|rid|simulcast|candidate|fingerprint|setup|mid|group):[ -~]{0,30}|m=(audio|video) [0-9/]{1,6} UDP/TLS/RTP/SAVPF[0-9 ]{0,12}|c=IN IP4 x)",
            0..30,
        )
    ) {
        let text = format!("v=0\r\no=-\r\ns=-\r\n{}\r\n", lines.join("\r\n"));
        fuzz(text.as_bytes());
    }

    #[test]
    fn survives_changed_recordings(
        which in any::<usize>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let all = recorded();
        let text = all[which % all.len()].1.clone().into_bytes();
        fuzz(&changes.iter().fold(text, apply));
    }

    #[test]
    fn candidates_print_back(text in "candidate:[a-z0-9+/]{1,8} [12] (udp|TCP|sctp) [0-9]{1,9} (192\\.0\\.2\\.[0-9]|fd00::[0-9]|[a-f]{8}\\.local) [0-9]{1,4} typ (host|srflx|prflx|relay)( generation 0)?( tcptype active)?( ufrag ab)?") {
        let candidate = parse_candidate(&text).expect("valid").expect("not the end");
        let again = parse_candidate(&format!("candidate:{candidate}"));
        prop_assert_eq!(again, Ok(Some(candidate)));
    }
}

#[test]
fn the_largest_texts_are_quick() {
    let head = "v=0\r\no=-\r\ns=-\r\n";
    let section = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:";
    let sections: String = (0..MAX_MEDIA)
        .map(|mid| format!("{section}{mid}\r\n"))
        .collect();
    let room = MAX_LINES - 3 - 2 * MAX_MEDIA;
    for line in ["a=rtpmap:96 VP8/90000", "a=ssrc:1 x", "a=rtcp-fb:* nack"] {
        let text = format!("{head}{sections}{}", format!("{line}\r\n").repeat(room));
        assert!(text.len() < MAX_BYTES);
        assert_eq!(
            RemoteDescription::parse(&text).map(|remote| remote.media.len()),
            Ok(MAX_MEDIA)
        );
        fuzz(text.as_bytes());
    }
    let wide = format!(
        "{head}m=video 9 UDP/TLS/RTP/SAVPF {}",
        "96 ".repeat(MAX_BYTES / 4)
    );
    assert!(Session::parse(&wide).is_ok());
    fuzz(wide.as_bytes());
    assert_eq!(local().candidates.len(), 2);
}
