//! Sound that its publisher repeats (RFC 2198): who is asked to, and who gets it.

mod common;

use common::{lines, local, remote, subscription};
use sdp::{
    CodecPreferences, LocalParameters, RemoteDescription, SubscribeMedia, accept_answer,
    answer_publisher, answer_subscriber, offer_subscriber,
};

const CHROMIUM: &str = "chromium-156-offer-sendonly.sdp";
const FIREFOX: &str = "firefox-153-offer-sendonly.sdp";

fn repeating() -> LocalParameters {
    LocalParameters {
        audio_redundancy: true,
        ..local()
    }
}

fn answer(offer: &RemoteDescription, local: &LocalParameters) -> (String, Vec<SubscribeMedia>) {
    let preferences = CodecPreferences::default();
    let (text, agreed) = answer_publisher(offer, local, &preferences).expect("answerable");
    (text, agreed.media.iter().map(subscription).collect())
}

fn names(codecs: &[sdp::CodecMapping]) -> Vec<(u8, u8, &str)> {
    let name = |one: &sdp::CodecMapping| one.codec.name.clone().leak() as &str;
    let mapped = codecs.iter();
    mapped
        .map(|one| {
            (
                one.published_payload_type,
                one.codec.payload_type,
                name(one),
            )
        })
        .collect()
}

#[test]
fn a_publisher_is_asked_by_naming_it_first() {
    let (text, media) = answer(&remote(CHROMIUM), &repeating());
    let sections = lines(&text, "m=");
    assert_eq!(
        sections.first(),
        Some(&"m=audio 40000 UDP/TLS/RTP/SAVPF 63 111")
    );
    assert_eq!(lines(&text, "a=fmtp:63"), ["a=fmtp:63 111/111"]);
    assert_eq!(
        lines(&text, "a=fmtp:111"),
        ["a=fmtp:111 minptime=10;useinbandfec=1"]
    );
    assert_eq!(media.first().map(|audio| audio.codecs.len()), Some(2));

    // Nobody is asked who can't, who would repeat something else, or if we do not want it.
    let (text, _) = answer(&remote(FIREFOX), &repeating());
    assert_eq!(
        lines(&text, "m=").first(),
        Some(&"m=audio 40000 UDP/TLS/RTP/SAVPF 109")
    );
    let strange = common::text(CHROMIUM).replace("a=fmtp:63 111/111", "a=fmtp:63 111/9");
    let strange = RemoteDescription::parse(&strange).expect("valid");
    for (offer, local) in [(strange, repeating()), (remote(CHROMIUM), local())] {
        let (text, _) = answer(&offer, &local);
        assert_eq!(
            lines(&text, "m=").first(),
            Some(&"m=audio 40000 UDP/TLS/RTP/SAVPF 111")
        );
    }
}

#[test]
fn a_subscriber_may_do_without() {
    let (_, media) = answer(&remote(CHROMIUM), &repeating());
    let (text, offered) = offer_subscriber(&repeating(), &media).expect("something to send");
    assert_eq!(
        lines(&text, "m=").first(),
        Some(&"m=audio 40000 UDP/TLS/RTP/SAVPF 111 63")
    );
    assert_eq!(lines(&text, "a=fmtp:63"), ["a=fmtp:63 111/111"]);
    let answered = common::text("chromium-156-answer-recvonly.sdp");
    let agree = |answer: &str| {
        let answer = RemoteDescription::parse(answer).expect("valid");
        accept_answer(&offered, &answer).expect("it fits")
    };
    let agreed = agree(&answered);
    let audio = agreed.media.first().expect("audio");
    assert_eq!(names(&audio.codecs), [(111, 111, "opus"), (63, 63, "red")]);
    let without = answered.replace("SAVPF 111 63 ", "SAVPF 111 ");
    assert_ne!(without, answered);
    let agreed = agree(&without);
    let audio = agreed.media.first().expect("audio");
    assert_eq!(names(&audio.codecs), [(111, 111, "opus")]);
    // What repeats nothing is nothing.
    let alone = answered.replace("SAVPF 111 63 ", "SAVPF 63 ");
    let agreed = agree(&alone);
    assert!(agreed.media.iter().all(|one| one.kind != sdp::Kind::Audio));
}

#[test]
fn a_subscriber_that_offers_has_its_own_numbers() {
    let (_, media) = answer(&remote(CHROMIUM), &repeating());
    let recvonly = common::text("chromium-156-offer-recvonly.sdp");
    let other = recvonly
        .replace("SAVPF 111 63 ", "SAVPF 109 64 ")
        .replace(":111", ":109")
        .replace(":63", ":35")
        .replace("SAVPF 109 64 ", "SAVPF 109 35 ")
        .replace("111/111", "109/109");
    for (offer, expected) in [
        (&recvonly, vec![(63, 63, "red"), (111, 111, "opus")]),
        (&other, vec![(63, 35, "red"), (111, 109, "opus")]),
    ] {
        let offer = RemoteDescription::parse(offer).expect("valid");
        let (_, agreed) = answer_subscriber(&offer, &repeating(), &media).expect("answerable");
        let audio = agreed.media.first().expect("audio");
        assert_eq!(names(&audio.codecs), expected);
    }
    let firefox = remote("firefox-153-offer-recvonly.sdp");
    let (text, agreed) = answer_subscriber(&firefox, &repeating(), &media).expect("answerable");
    let audio = agreed.media.first().expect("audio");
    assert_eq!(names(&audio.codecs), [(111, 109, "opus")]);
    assert!(!text.contains("red/"));
}
