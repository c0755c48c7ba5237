//! Offers to subscribers, their answers, and answers to subscribers that offer.

mod common;

use common::{lines, local, recorded, remote, subscribe, subscription, text};
use sdp::{
    Codec, CodecPreferences, Direction, Error, Feedback, Kind, RemoteDescription, SubscribeMedia,
    VideoCodec, accept_answer, answer_publisher, answer_subscriber, offer_subscriber,
};

/// Subscriptions to what a recorded publisher sends.
fn published(name: &str, preferences: &CodecPreferences) -> Vec<SubscribeMedia> {
    let (_, agreed) = answer_publisher(&remote(name), &local(), preferences).expect("answerable");
    agreed.media.iter().map(subscription).collect()
}

fn ids(extensions: &[sdp::Extension]) -> Vec<u8> {
    extensions.iter().map(|extension| extension.id).collect()
}

#[test]
fn our_offer_uses_our_own_numbers() {
    let media = published(
        "firefox-153-offer-sendonly.sdp",
        &CodecPreferences::default(),
    );
    let (text, offered) = offer_subscriber(&local(), &media).expect("something to send");
    assert_eq!(
        lines(&text, "m="),
        [
            "m=audio 40000 UDP/TLS/RTP/SAVPF 111",
            "m=video 40000 UDP/TLS/RTP/SAVPF 96 97"
        ]
    );
    assert_eq!(lines(&text, "a=mid:"), ["a=mid:0", "a=mid:1"]);
    assert_eq!(lines(&text, "a=sendonly").len(), 2);
    assert_eq!(lines(&text, "a=setup:"), ["a=setup:actpass"; 2]);
    assert_eq!(lines(&text, "a=ice-lite").len(), 1);
    assert_eq!(
        lines(&text, "a=fmtp:111"),
        ["a=fmtp:111 maxplaybackrate=48000;stereo=1;useinbandfec=1"]
    );
    assert_eq!(lines(&text, "a=fmtp:97"), ["a=fmtp:97 apt=96"]);
    // Of each section, so that a browser that only receives learns its round trip.
    assert_eq!(lines(&text, "a=rtcp-xr"), ["a=rtcp-xr:rcvr-rtt=all"; 2]);
    assert_eq!(
        lines(&text, "a=rtcp-fb:"),
        [
            "a=rtcp-fb:111 transport-cc",
            "a=rtcp-fb:96 goog-remb",
            "a=rtcp-fb:96 transport-cc",
            "a=rtcp-fb:96 ccm fir",
            "a=rtcp-fb:96 nack",
            "a=rtcp-fb:96 nack pli"
        ]
    );
    assert_eq!(
        lines(&text, "a=ssrc"),
        [
            "a=ssrc:1000 cname:cname",
            "a=ssrc:1000 msid:stream audio0",
            "a=ssrc-group:FID 2000 2001",
            "a=ssrc:2000 cname:cname",
            "a=ssrc:2000 msid:stream video0",
            "a=ssrc:2001 cname:cname",
            "a=ssrc:2001 msid:stream video0"
        ]
    );
    let [audio, video] = offered.media.as_slice() else {
        panic!("two sections")
    };
    assert_eq!(ids(&audio.extensions), [1, 2, 3, 4]);
    assert_eq!(ids(&video.extensions), [2, 3, 4, 5, 6, 8, 13]);
    let mapping = video.codecs.first().expect("one");
    assert_eq!(mapping.published_payload_type, 120);
    assert_eq!(mapping.codec.payload_type, 96);
}

#[test]
fn each_codec_has_its_number_in_our_offer() {
    for (codec, payload_type) in [
        (VideoCodec::Vp8, 96),
        (VideoCodec::Vp9, 98),
        (VideoCodec::H264, 102),
        (VideoCodec::Av1, 45),
    ] {
        let media = published(
            "chromium-156-offer-sendonly.sdp",
            &CodecPreferences::forced(codec),
        );
        let (text, offered) = offer_subscriber(&local(), &media).expect("something to send");
        let video = offered.media.get(1).expect("video");
        let mapping = video.codecs.first().expect("one");
        assert_eq!(mapping.codec.payload_type, payload_type);
        assert_eq!(mapping.codec.rtx_payload_type, Some(payload_type + 1));
        let av1 = codec == VideoCodec::Av1;
        assert_eq!(text.contains("dependency-descriptor"), av1);
        if codec == VideoCodec::H264 {
            let fmtp =
                "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
            assert_eq!(lines(&text, "a=fmtp:102"), [fmtp]);
        }
    }
}

#[test]
fn several_variants_of_a_codec_get_distinct_numbers() {
    let offer = remote("chromium-156-offer-recvonly.sdp");
    let codecs = offer.media.get(1).expect("video").codecs.clone();
    let many = codecs.len();
    let media = [subscribe(Kind::Video, codecs, true)];
    let (text, offered) = offer_subscriber(&local(), &media).expect("something to send");
    let mappings = &offered.media.first().expect("video").codecs;
    assert_eq!(mappings.len(), many);
    let mut numbers: Vec<u8> = mappings
        .iter()
        .flat_map(|mapping| {
            [
                Some(mapping.codec.payload_type),
                mapping.codec.rtx_payload_type,
            ]
        })
        .flatten()
        .collect();
    numbers.sort_unstable();
    let all = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
    assert!(numbers.iter().all(|number| !(64..=95).contains(number)));
    RemoteDescription::parse(&text).expect("our offer parses");
}

#[test]
fn a_recorded_answer_of_the_client_is_accepted() {
    for name in [
        "openvidu-browser-2.32.2-mediasoup-static.receiveVideoFrom.answer.sdp",
        "chromium-156-answer-recvonly.sdp",
    ] {
        let media = published(
            "chromium-156-offer-sendonly.sdp",
            &CodecPreferences::default(),
        );
        let (_, offered) = offer_subscriber(&local(), &media).expect("something to send");
        let agreed = accept_answer(&offered, &remote(name)).expect("usable");
        assert_eq!(agreed.media, offered.media, "{name}: it takes everything");
        assert_eq!(agreed.fingerprints.len(), 1);
        assert_eq!(agreed.ice.pwd.len(), 24);
    }
}

/// An answer as a browser would write it, from our own offer.
fn answer_to(offer: &str) -> String {
    offer
        .replace("a=sendonly", "a=recvonly")
        .replace("a=setup:actpass", "a=setup:active")
        .replace("a=ice-lite\r\n", "")
}

#[test]
fn an_answer_narrows_the_offer() {
    let media = published(
        "chromium-156-offer-sendonly.sdp",
        &CodecPreferences::default(),
    );
    let (offer, offered) = offer_subscriber(&local(), &media).expect("something to send");
    let accept = |answer: &str| {
        let answer = RemoteDescription::parse(answer).expect("valid");
        accept_answer(&offered, &answer)
    };
    let whole = answer_to(&offer);
    assert_eq!(accept(&whole).expect("usable").media, offered.media);

    // Rejected or idle sections are left out.
    let no_video = whole.replace("m=video 40000", "m=video 0");
    assert_eq!(accept(&no_video).expect("usable").media.len(), 1);
    let idle = whole.replacen("a=recvonly", "a=inactive", 1);
    let agreed = accept(&idle).expect("usable");
    assert_eq!(agreed.media.first().map(|one| one.kind), Some(Kind::Video));

    // Neither RTX nor FIR nor the orientation.
    let less = whole
        .replace("a=fmtp:97 apt=96\r\n", "")
        .replace("a=rtcp-fb:96 ccm fir\r\n", "")
        .replace("a=extmap:13 urn:3gpp:video-orientation\r\n", "")
        .replace("a=extmap:5 ", "a=extmap:5/sendonly ");
    let agreed = accept(&less).expect("usable");
    let video = agreed.media.get(1).expect("video");
    assert_eq!(video.rtx_ssrc, None);
    let codec = &video.codecs.first().expect("one").codec;
    assert_eq!(codec.rtx_payload_type, None);
    assert!(!codec.feedback.fir && codec.feedback.pli);
    assert_eq!(ids(&video.extensions), [2, 3, 4, 6, 8]);

    // Renumbered.
    let other = whole
        .replace("SAVPF 96 97", "SAVPF 120 124")
        .replace(":96 ", ":120 ")
        .replace(":97 ", ":124 ")
        .replace("apt=96", "apt=120");
    let agreed = accept(&other).expect("usable");
    let mapping = agreed.media.get(1).and_then(|video| video.codecs.first());
    let mapping = mapping.expect("one");
    assert_eq!(mapping.published_payload_type, 96);
    assert_eq!(mapping.codec.payload_type, 120);
    assert_eq!(mapping.codec.rtx_payload_type, Some(124));

    let passive = whole.replace("a=setup:active", "a=setup:passive");
    assert_eq!(
        accept(&passive),
        Err(Error::Setup {
            mid: "0".to_owned()
        })
    );
    let nothing = whole.replace("a=recvonly", "a=inactive");
    assert_eq!(accept(&nothing), Err(Error::NoUsableMedia));
}

#[test]
fn a_client_that_offers_gets_its_own_numbers() {
    let preferences = CodecPreferences::default();
    for (publisher, subscriber, expected) in [
        // Published audio and video, then the numbers for the subscriber: audio, video, its retransmissions.
        (
            "firefox-153-offer-sendonly.sdp",
            "openvidu-browser-2.32.2-kurento.receiveVideoFrom.offer.sdp",
            (109, 111, 120, 96, 97),
        ),
        (
            "chromium-156-offer-sendonly.sdp",
            "firefox-153-offer-recvonly.sdp",
            (111, 109, 96, 120, 124),
        ),
        (
            "chromium-156-offer-simulcast3.sdp",
            "chromium-156-offer-recvonly.sdp",
            (111, 111, 96, 96, 97),
        ),
    ] {
        let media = published(publisher, &preferences);
        let offer = remote(subscriber);
        let (text, agreed) = answer_subscriber(&offer, &local(), &media).expect("answerable");
        let [audio, video] = agreed.media.as_slice() else {
            panic!("two sections")
        };
        let opus = audio.codecs.first().expect("one");
        let vp8 = video.codecs.first().expect("one");
        assert_eq!(
            (
                opus.published_payload_type,
                opus.codec.payload_type,
                vp8.published_payload_type,
                vp8.codec.payload_type,
                vp8.codec.rtx_payload_type.expect("retransmissions")
            ),
            expected,
            "{subscriber}"
        );
        assert!(vp8.codec.feedback.nack && vp8.codec.feedback.remb);
        let answer = RemoteDescription::parse(&text).expect("our answer parses");
        assert_eq!(answer.bundles, offer.bundles);
        for section in &answer.media {
            assert_eq!(section.direction, Direction::SendOnly);
            assert_eq!(section.setup, Some(sdp::Setup::Passive));
        }
        assert_eq!(lines(&text, "a=ssrc-group"), ["a=ssrc-group:FID 2000 2001"]);
        assert!(!text.contains("rtp-stream-id"));
    }
}

#[test]
fn firefox_is_told_that_we_send_what_it_only_receives() {
    let media = published(
        "chromium-156-offer-sendonly.sdp",
        &CodecPreferences::default(),
    );
    let offer = remote("firefox-153-offer-recvonly.sdp");
    let (text, agreed) = answer_subscriber(&offer, &local(), &media).expect("answerable");
    assert_eq!(
        lines(&text, "a=extmap:6"),
        ["a=extmap:6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"]
    );
    let video = agreed.media.get(1).expect("video");
    assert_eq!(ids(&video.extensions), [3, 4, 6, 7]);
}

#[test]
fn profiles_are_matched() {
    for (codec, payload_type) in [
        (VideoCodec::H264, 108),
        (VideoCodec::Vp9, 98),
        (VideoCodec::Av1, 45),
    ] {
        let media = published(
            "chromium-156-offer-sendonly.sdp",
            &CodecPreferences::forced(codec),
        );
        let offer = remote("openvidu-browser-2.32.2-kurento.receiveVideoFrom.offer.sdp");
        let (_, agreed) = answer_subscriber(&offer, &local(), &media).expect("answerable");
        let mapping = agreed.media.get(1).and_then(|video| video.codecs.first());
        let got = mapping.map(|mapping| mapping.codec.payload_type);
        assert_eq!(got, Some(payload_type));
    }
}

#[test]
fn what_a_client_cannot_decode_is_left_out() {
    let media = published(
        "chromium-156-offer-sendonly.sdp",
        &CodecPreferences::forced(VideoCodec::H264),
    );
    let offer = remote("firefox-153-offer-recvonly.sdp");
    let (text, agreed) = answer_subscriber(&offer, &local(), &media).expect("answerable");
    assert_eq!(agreed.media.len(), 1);
    assert_eq!(lines(&text, "a=inactive").len(), 1);
    assert_eq!(
        lines(&text, "m=video 40000").len(),
        1,
        "it stays in the bundle"
    );

    // A stream without audio leaves the client's audio section idle.
    let video: Vec<_> = published(
        "chromium-156-offer-sendonly.sdp",
        &CodecPreferences::default(),
    )
    .into_iter()
    .filter(|one| one.kind == Kind::Video)
    .collect();
    let (text, agreed) = answer_subscriber(&offer, &local(), &video).expect("answerable");
    assert_eq!(agreed.media.len(), 1);
    assert_eq!(agreed.media.first().map(|one| one.mid.as_str()), Some("1"));
    let answer = RemoteDescription::parse(&text).expect("our answer parses");
    let idle = answer.media.first().map(|section| section.direction);
    assert_eq!(idle, Some(Direction::Inactive));

    assert_eq!(
        answer_subscriber(&offer, &local(), &[]),
        Err(Error::NoUsableMedia)
    );
    assert_eq!(offer_subscriber(&local(), &[]), Err(Error::NoUsableMedia));
}

#[test]
fn without_a_retransmission_ssrc_there_is_no_rtx() {
    let codec = Codec {
        payload_type: 100,
        name: "VP8".to_owned(),
        clock_rate: 90_000,
        channels: None,
        fmtp: String::new(),
        rtx_payload_type: Some(101),
        feedback: Feedback::default(),
    };
    let media = [subscribe(Kind::Video, vec![codec], false)];
    let (text, _) = offer_subscriber(&local(), &media).expect("something to send");
    assert!(!text.contains("rtx/90000") && !text.contains("ssrc-group"));
    let offer = remote("chromium-156-offer-recvonly.sdp");
    let (text, agreed) = answer_subscriber(&offer, &local(), &media).expect("answerable");
    assert!(!text.contains("rtx/90000") && !text.contains("ssrc-group"));
    assert_eq!(agreed.media.first().and_then(|video| video.rtx_ssrc), None);
}

#[test]
fn an_address_of_version_six_is_written_as_such() {
    let mut local = local();
    local.candidates.reverse();
    let media = published(
        "chromium-156-offer-sendonly.sdp",
        &CodecPreferences::default(),
    );
    let (offer, _) = offer_subscriber(&local, &media).expect("something to send");
    assert_eq!(lines(&offer, "c="), ["c=IN IP6 fd00::2"; 2]);
    local.candidates.clear();
    let (offer, _) = offer_subscriber(&local, &media).expect("something to send");
    assert_eq!(lines(&offer, "c="), ["c=IN IP4 0.0.0.0"; 2]);
    assert_eq!(lines(&offer, "m=audio 9 ").len(), 1);
}

#[test]
fn every_pair_of_recorded_publisher_and_subscriber_gets_audio_and_video() {
    let mut pairs = 0;
    for (publisher, _) in recorded() {
        if !publisher.contains("offer-s") && !publisher.contains("publishVideo") {
            continue;
        }
        let media = published(&publisher, &CodecPreferences::default());
        for (subscriber, text) in recorded() {
            if !subscriber.contains("offer-recvonly") && !subscriber.contains("kurento") {
                continue;
            }
            let offer = RemoteDescription::parse(&text).expect("valid");
            let (_, agreed) = answer_subscriber(&offer, &local(), &media).expect("answerable");
            assert_eq!(agreed.media.len(), 2, "{publisher} to {subscriber}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 24);
    assert!(text("chromium-156-offer-recvonly.sdp").contains("a=recvonly"));
}
