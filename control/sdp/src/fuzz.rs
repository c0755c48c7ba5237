//! The body of the fuzz target.

use crate::{
    CodecPreferences, Fingerprint, IceCredentials, Kind, LocalParameters, MAX_BYTES, MAX_LINES,
    Msid, RemoteDescription, Session, SubscribeMedia, accept_answer, answer_loopback,
    answer_publisher, answer_subscriber, offer_subscriber, parse_candidate,
};

/// Feeds arbitrary bytes to everything that reads text from outside. What we then write, we must be able to read.
///
/// # Panics
///
/// When a promise is broken: that is a finding.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    drop(parse_candidate(&text));
    let session = Session::parse(&text);
    let remote = RemoteDescription::parse(&text);
    // What we write is a little longer than what we read: near the bounds it would pass them.
    if text.len() > MAX_BYTES / 2 || text.matches('\n').count() > MAX_LINES / 2 {
        return;
    }
    if let Ok(session) = session {
        let again = Session::parse(&session.to_string()).expect("what we print parses");
        assert_eq!(session, again);
    }
    let Ok(remote) = remote else {
        return;
    };
    let local = local();
    let preferences = CodecPreferences::default();
    let media = match answer_publisher(&remote, &local, &preferences) {
        Ok((answer, agreed)) => {
            check(&answer, &remote);
            agreed.media.into_iter().map(subscription).collect()
        }
        Err(_) => Vec::new(),
    };
    if let Ok((answer, _, _)) = answer_loopback(&remote, &local, &preferences, &media) {
        check(&answer, &remote);
    }
    if let Ok((answer, _)) = answer_subscriber(&remote, &local, &media) {
        check(&answer, &remote);
    }
    if let Ok((offer, offered)) = offer_subscriber(&local, &media) {
        RemoteDescription::parse(&offer).expect("our offer parses");
        drop(accept_answer(&offered, &remote));
    }
}

fn check(answer: &str, offer: &RemoteDescription) {
    let answer = RemoteDescription::parse(answer).expect("our answer parses");
    // RFC 3264 §6: as many sections as the offer, in its order.
    assert_eq!(answer.media.len(), offer.media.len());
    for (ours, theirs) in answer.media.iter().zip(&offer.media) {
        assert_eq!(ours.mid, theirs.mid);
    }
}

fn subscription(media: crate::PublishedMedia) -> SubscribeMedia {
    SubscribeMedia {
        kind: media.kind,
        codecs: media.codecs,
        ssrc: 1,
        rtx_ssrc: (media.kind == Kind::Video).then_some(2),
        cname: "c".to_owned(),
        msid: Msid {
            stream: "s".to_owned(),
            track: "t".to_owned(),
        },
    }
}

fn local() -> LocalParameters {
    LocalParameters {
        session_id: 1,
        session_version: 1,
        ice: IceCredentials {
            ufrag: "lite".to_owned(),
            pwd: "0123456789abcdef01234567".to_owned(),
        },
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            value: vec!["AB"; 32].join(":"),
        },
        candidates: vec![([192, 0, 2, 2], 40000).into()],
        audio_redundancy: true,
        video_receive_max: None,
        video_send_max: None,
        transport_cc: true,
    }
}
