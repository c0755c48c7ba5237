//! Answers to recorded offers of publishers.

mod common;

use common::{lines, local, recorded, remote, subscribe, text};
use sdp::{
    CodecPreferences, Direction, Encoding, Error, Feedback, Kind, PublishParameters,
    RemoteDescription, Session, VideoCodec, answer_loopback, answer_publisher,
};

const ALL: Feedback = Feedback {
    nack: true,
    pli: true,
    fir: true,
    remb: true,
    transport_cc: true,
};
const TRANSPORT_CC: Feedback = Feedback {
    nack: false,
    pli: false,
    fir: false,
    remb: false,
    transport_cc: true,
};

fn answer(name: &str) -> (String, PublishParameters) {
    let preferences = CodecPreferences::default();
    answer_publisher(&remote(name), &local(), &preferences).expect("answerable")
}

fn ids(extensions: &[sdp::Extension]) -> Vec<u8> {
    extensions.iter().map(|extension| extension.id).collect()
}

#[test]
fn every_recorded_description_parses_and_prints_back() {
    for (name, text) in recorded() {
        let session = Session::parse(&text).expect(&name);
        let again = Session::parse(&session.to_string()).expect(&name);
        assert_eq!(session, again, "{name}");
        let remote = RemoteDescription::parse(&text).expect(&name);
        assert!(!remote.ice_lite, "{name}");
        assert_eq!(remote.bundles.len(), 1, "{name}");
        for media in &remote.media {
            assert!(media.ice.is_some() && media.setup.is_some(), "{name}");
            assert_eq!(media.fingerprints.len(), 1, "{name}");
            assert!(!media.rejected, "{name}");
        }
    }
}

#[test]
fn a_publisher_is_told_how_much_of_a_picture_it_may_send() {
    let limited = sdp::LocalParameters {
        video_receive_max: Some(700_500),
        video_send_max: Some(300_000),
        ..local()
    };
    let offer = remote("chromium-156-offer-simulcast3.sdp");
    let preferences = CodecPreferences::default();
    let (text, agreed) = answer_publisher(&offer, &limited, &preferences).expect("answerable");
    let answer = Session::parse(&text).expect("it is ours");
    for (section, medium) in answer.media.iter().zip(&agreed.media) {
        let (expected, max): (&[&str], _) = match medium.kind {
            Kind::Audio => (&[], None),
            // Once in kbit/s, no less than it is, and once in bit/s.
            Kind::Video => (&["AS:701", "TIAS:700500"], Some(700_500)),
        };
        assert_eq!(section.bandwidth, expected);
        assert_eq!(medium.bandwidth_max, max);
    }
    // RFC 8866 §5: it stands before the attributes.
    assert!(text.contains("\r\nb=TIAS:700500\r\na="));
    assert!(
        !answer_publisher(&offer, &local(), &preferences)
            .expect("answerable")
            .0
            .contains("\r\nb=")
    );
    let media = common::subscribe(Kind::Video, agreed.media[1].codecs.clone(), true);
    let (text, offered) = sdp::offer_subscriber(&limited, &[media]).expect("offerable");
    assert!(!text.contains("\r\nb="), "what we send is our own business");
    assert_eq!(offered.media[0].bandwidth_max, Some(300_000));
}

#[test]
fn every_recorded_offer_that_sends_is_answered() {
    let mut answered = 0;
    for (name, text) in recorded() {
        if !name.contains("offer") || name.contains("recvonly") || name.contains("receiveVideo") {
            continue;
        }
        if name.contains("datachannel") {
            continue;
        }
        let offer = RemoteDescription::parse(&text).expect(&name);
        let (answer, agreed) =
            answer_publisher(&offer, &local(), &CodecPreferences::default()).expect(&name);
        let answer = RemoteDescription::parse(&answer).expect(&name);
        assert!(answer.ice_lite, "{name}");
        assert_eq!(answer.bundles, offer.bundles, "{name}");
        assert_eq!(answer.media.len(), offer.media.len(), "{name}");
        assert_eq!(agreed.media.len(), 2, "{name}");
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            assert_eq!(ours.mid, theirs.mid, "{name}");
            assert_eq!(ours.media_type, theirs.media_type, "{name}");
            assert_eq!(ours.direction, Direction::RecvOnly, "{name}");
            assert_eq!(ours.setup, Some(sdp::Setup::Passive), "{name}");
            assert_eq!(ours.port, 40000, "{name}");
            assert_eq!(ours.candidates.len(), 2, "{name}");
            assert!(ours.rtcp_mux && ours.end_of_candidates, "{name}");
            assert_eq!(ours.rtcp_rsize, theirs.rtcp_rsize, "{name}");
            assert!(ours.extmap_allow_mixed, "{name}");
            assert_eq!(ours.codecs.len(), 1, "{name}");
        }
        answered += 1;
    }
    assert_eq!(answered, 9);
}

#[test]
fn chromium_publishes_opus_and_vp8() {
    let name = "chromium-156-offer-sendonly.sdp";
    let (text, agreed) = answer(name);
    let [audio, video] = agreed.media.as_slice() else {
        panic!("two sections")
    };
    assert_eq!((audio.kind, audio.mid.as_str()), (Kind::Audio, "0"));
    let opus = audio.codecs.first().expect("one");
    assert_eq!((opus.payload_type, opus.name.as_str()), (111, "opus"));
    assert_eq!(opus.fmtp, "minptime=10;useinbandfec=1");
    assert_eq!(opus.feedback, TRANSPORT_CC);
    assert_eq!(ids(&audio.extensions), [1, 2, 3, 4]);

    assert_eq!((video.kind, video.mid.as_str()), (Kind::Video, "1"));
    let vp8 = video.codecs.first().expect("one");
    assert_eq!((vp8.payload_type, vp8.rtx_payload_type), (96, Some(97)));
    assert_eq!((vp8.name.as_str(), vp8.clock_rate), ("VP8", 90_000));
    assert_eq!(vp8.feedback, ALL);
    // Not toffset, video-timing, video-layers-allocation.
    assert_eq!(ids(&video.extensions), [2, 13, 3, 5, 6, 8, 4, 10, 11]);

    let offer = remote(name);
    let group = &offer.media.get(1).expect("video").ssrc_groups;
    let fid = &group.first().expect("a group").ssrcs;
    assert_eq!(
        video.encodings,
        [Encoding {
            rid: None,
            ssrc: fid.first().copied(),
            rtx_ssrc: fid.get(1).copied(),
        }]
    );
    assert_eq!(
        lines(&text, "m="),
        [
            "m=audio 40000 UDP/TLS/RTP/SAVPF 111",
            "m=video 40000 UDP/TLS/RTP/SAVPF 96 97"
        ]
    );
    assert_eq!(
        lines(&text, "a=candidate").get(..2),
        Some(
            [
                "a=candidate:1 1 udp 2130706431 192.0.2.2 40000 typ host",
                "a=candidate:2 1 udp 2130706175 fd00::2 40000 typ host"
            ]
            .as_slice()
        )
    );
    assert_eq!(lines(&text, "a=ice-options"), Vec::<&str>::new());
    assert_eq!(lines(&text, "a=group"), ["a=group:BUNDLE 0 1"]);
    assert_eq!(
        lines(&text, "o="),
        [format!("o=- {} 1 IN IP4 127.0.0.1", i64::MAX)]
    );
}

#[test]
fn chromium_simulcast_is_taken_by_rid() {
    for (name, rids) in [
        ("chromium-156-offer-simulcast3.sdp", ["q", "h", "f"]),
        (
            "openvidu-browser-2.32.2-mediasoup-simulcast-720p.publishVideo.offer.sdp",
            ["rdiv4", "rdiv2", "rdiv1"],
        ),
    ] {
        let (text, agreed) = answer(name);
        let video = agreed.media.get(1).expect("video");
        let got: Vec<_> = video
            .encodings
            .iter()
            .map(|encoding| encoding.rid.as_deref().expect("a rid"))
            .collect();
        assert_eq!(got, rids);
        assert!(video.encodings.iter().all(|one| one.ssrc.is_none()));
        assert_eq!(
            lines(&text, "a=rid:"),
            rids.map(|rid| format!("a=rid:{rid} recv"))
        );
        assert_eq!(
            lines(&text, "a=simulcast:"),
            [format!("a=simulcast:recv {}", rids.join(";"))]
        );
        assert!(
            ids(&video.extensions).contains(&12),
            "dependency descriptor"
        );
        assert!(
            ids(&video.extensions).contains(&9),
            "video layers allocation"
        );
    }
}

#[test]
fn simulcast_by_ssrc_group_is_taken_in_its_order() {
    // As pages have long asked Chromium for it: two more SSRCs with RTX each, and the group.
    let whole = text("chromium-156-offer-sendonly.sdp");
    let munged = whole.replace(
        "a=ssrc-group:FID 3942024656 1309789104\r\n",
        "a=ssrc-group:SIM 3942024656 77 88 77\r\n\
         a=ssrc-group:FID 88 89\r\n\
         a=ssrc-group:FID 3942024656 1309789104\r\n\
         a=ssrc:77 cname:ymI0362AgE7J9QYn\r\n\
         a=ssrc:88 cname:ymI0362AgE7J9QYn\r\n\
         a=ssrc:89 cname:ymI0362AgE7J9QYn\r\n",
    );
    assert_ne!(munged, whole);
    let offer = RemoteDescription::parse(&munged).expect("valid");
    let (answer, agreed) =
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect("answerable");
    let encoding = |ssrc, rtx_ssrc| Encoding {
        rid: None,
        ssrc: Some(ssrc),
        rtx_ssrc,
    };
    assert_eq!(
        agreed.media.get(1).expect("video").encodings,
        [
            encoding(3_942_024_656, Some(1_309_789_104)),
            encoding(77, None),
            encoding(88, Some(89)),
        ]
    );
    assert!(lines(&answer, "a=simulcast:").is_empty());
}

#[test]
fn firefox_gets_its_extension_directions_turned_around() {
    let (text, agreed) = answer("firefox-153-offer-simulcast3.sdp");
    let [audio, video] = agreed.media.as_slice() else {
        panic!("two sections")
    };
    let opus = audio.codecs.first().expect("one");
    assert_eq!(opus.payload_type, 109);
    assert_eq!(opus.fmtp, "maxplaybackrate=48000;stereo=1;useinbandfec=1");
    // csrc-audio-level is only for what Firefox receives.
    assert_eq!(ids(&audio.extensions), [1, 3, 7]);
    let vp8 = video.codecs.first().expect("one");
    assert_eq!((vp8.payload_type, vp8.rtx_payload_type), (120, Some(124)));
    // So is playout-delay.
    assert_eq!(ids(&video.extensions), [3, 4, 7, 8, 9, 10]);
    assert_eq!(
        lines(&text, "a=extmap:9"),
        ["a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"]
    );
    assert_eq!(
        lines(&text, "a=extmap:10"),
        ["a=extmap:10/recvonly urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"]
    );
    assert_eq!(video.encodings.len(), 3);
    assert_eq!(lines(&text, "a=simulcast:"), ["a=simulcast:recv q;h;f"]);
    // The fingerprint stands at session level.
    assert_eq!(agreed.fingerprints.len(), 1);
    assert_eq!(agreed.ice.ufrag, "fe45e489");
}

#[test]
fn a_codec_can_be_forced() {
    let offer = remote("chromium-156-offer-sendonly.sdp");
    for (codec, payload_type, rtx) in [
        (VideoCodec::Vp8, 96, 97),
        (VideoCodec::Vp9, 98, 99),
        (VideoCodec::H264, 108, 109),
        (VideoCodec::Av1, 45, 46),
    ] {
        let (text, agreed) =
            answer_publisher(&offer, &local(), &CodecPreferences::forced(codec)).expect("offered");
        let got = agreed.media.get(1).and_then(|video| video.codecs.first());
        let got = got.expect("video");
        assert_eq!(got.name, codec.name());
        assert_eq!(
            (got.payload_type, got.rtx_payload_type),
            (payload_type, Some(rtx))
        );
        assert!(text.contains(&format!("a=fmtp:{rtx} apt={payload_type}\r\n")));
    }
    let firefox = remote("firefox-153-offer-sendonly.sdp");
    let preferences = CodecPreferences::forced(VideoCodec::H264);
    assert_eq!(
        answer_publisher(&firefox, &local(), &preferences),
        Err(Error::ForcedCodecNotOffered(VideoCodec::H264))
    );
}

#[test]
fn without_vp8_the_next_known_codec_is_taken() {
    let text = text("chromium-156-offer-sendonly.sdp").replace("VP8/90000", "XY8/90000");
    let offer = RemoteDescription::parse(&text).expect("valid");
    let (_, agreed) =
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect("answerable");
    let codec = agreed.media.get(1).and_then(|video| video.codecs.first());
    assert_eq!(codec.map(|codec| codec.payload_type), Some(108));
}

#[test]
fn transport_cc_can_be_kept_out() {
    let mut local = local();
    local.transport_cc = false;
    let offer = remote("chromium-156-offer-sendonly.sdp");
    let (text, agreed) =
        answer_publisher(&offer, &local, &CodecPreferences::default()).expect("answerable");
    assert!(!text.contains("transport-wide-cc") && !text.contains("transport-cc"));
    assert!(text.contains("goog-remb"));
    assert!(agreed.media.iter().all(|media| {
        let mut codecs = media.codecs.iter();
        codecs.all(|codec| !codec.feedback.transport_cc)
    }));
}

#[test]
fn loopback_goes_both_ways() {
    let offer = remote("chromium-156-offer-addTrack-sendrecv.sdp");
    let media = [
        subscribe(Kind::Audio, Vec::new(), false),
        subscribe(Kind::Video, Vec::new(), true),
    ];
    let (text, published, subscribed) =
        answer_loopback(&offer, &local(), &CodecPreferences::default(), &media)
            .expect("answerable");
    assert_eq!(lines(&text, "a=sendrecv").len(), 2);
    assert_eq!(lines(&text, "a=ssrc-group"), ["a=ssrc-group:FID 2000 2001"]);
    assert!(text.contains("a=ssrc:2001 msid:stream video0\r\n"));
    assert!(text.contains("a=msid:stream audio0\r\n"));
    assert_eq!(published.media.len(), 2);
    let video = subscribed.media.get(1).expect("video");
    assert_eq!((video.ssrc, video.rtx_ssrc), (2000, Some(2001)));
    let mapping = video.codecs.first().expect("one");
    assert_eq!(mapping.published_payload_type, 96);
    assert_eq!(mapping.codec.payload_type, 96);
    // What we send needs no RID.
    assert_eq!(ids(&video.extensions), [2, 13, 3, 5, 6, 8, 4]);

    // A client that only sends gets nothing back.
    let offer = remote("chromium-156-offer-sendonly.sdp");
    let (text, _, subscribed) =
        answer_loopback(&offer, &local(), &CodecPreferences::default(), &media)
            .expect("answerable");
    assert!(subscribed.media.is_empty());
    assert!(lines(&text, "a=ssrc").is_empty());
}

#[test]
fn data_channels_are_rejected() {
    let data = remote("chromium-156-offer-datachannel.sdp");
    let preferences = CodecPreferences::default();
    assert_eq!(
        answer_publisher(&data, &local(), &preferences),
        Err(Error::NoUsableMedia)
    );
    let mut mixed = remote("chromium-156-offer-sendonly.sdp");
    let mut channel = data.media.first().expect("one").clone();
    channel.mid = "2".to_owned();
    mixed.media.push(channel);
    mixed.bundles = vec![vec!["0".to_owned(), "1".to_owned(), "2".to_owned()]];
    let (text, agreed) = answer_publisher(&mixed, &local(), &preferences).expect("answerable");
    assert_eq!(agreed.media.len(), 2);
    assert_eq!(
        lines(&text, "m=application"),
        ["m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]
    );
    assert_eq!(lines(&text, "a=group"), ["a=group:BUNDLE 0 1"]);
}

#[test]
fn an_offer_must_suit_one_lite_passive_transport() {
    let whole = text("chromium-156-offer-sendonly.sdp");
    let refuse = |from: &str, to: &str| {
        let text = whole.replace(from, to);
        assert_ne!(text, whole, "{from:?} is there");
        let offer = RemoteDescription::parse(&text).expect("valid");
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect_err("unusable")
    };
    let mid = |mid: &str| mid.to_owned();
    assert_eq!(
        refuse("a=setup:actpass", "a=setup:passive"),
        Error::Setup { mid: mid("0") }
    );
    assert_eq!(
        refuse("a=rtcp-mux\r\n", ""),
        Error::NoRtcpMux { mid: mid("0") }
    );
    assert_eq!(
        refuse("BUNDLE 0 1", "BUNDLE 0"),
        Error::NotBundled { mid: mid("1") }
    );
    assert_eq!(
        refuse("a=ice-pwd", "a=x"),
        Error::NoIceCredentials { mid: mid("0") }
    );
    assert_eq!(
        refuse("a=fingerprint", "a=x"),
        Error::NoFingerprint { mid: mid("0") }
    );
    assert_eq!(refuse("t=0 0", "t=0 0\r\na=ice-lite"), Error::PeerIsLite);
    assert_eq!(refuse("RTP/SAVPF", "RTP/AVP"), Error::NoUsableMedia);
    assert_eq!(refuse("a=sendonly", "a=recvonly"), Error::NoUsableMedia);
}

#[test]
fn only_one_section_of_a_kind_is_taken() {
    let mut offer = remote("chromium-156-offer-sendonly.sdp");
    let mut second = offer.media.get(1).expect("video").clone();
    second.mid = "2".to_owned();
    offer.media.push(second);
    let (text, agreed) =
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect("answerable");
    assert_eq!(agreed.media.len(), 2);
    assert_eq!(lines(&text, "m=video 0 ").len(), 1);
}

#[test]
fn malformed_lines_are_named() {
    let whole = text("chromium-156-offer-sendonly.sdp");
    for (from, to) in [
        ("a=mid:1", "a=mid:a b"),
        ("a=mid:1", "a=mid:0"),
        ("a=mid:1\r\n", ""),
        ("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8"),
        ("a=rtcp-fb:96 nack\r\n", "a=rtcp-fb:x nack\r\n"),
        ("a=extmap:13 ", "a=extmap:13/up "),
        ("a=ssrc-group:FID ", "a=ssrc-group:FID x "),
        ("a=setup:actpass", "a=setup:perhaps"),
        ("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:"),
        ("a=ice-ufrag:", "a=ice-ufrag:x:"),
        ("SAVPF 96 ", "SAVPF 256 "),
    ] {
        let text = whole.replace(from, to);
        assert_ne!(text, whole, "{from:?} is there");
        let got = RemoteDescription::parse(&text);
        let Err(Error::Syntax { line, .. }) = got else {
            panic!("{to:?}: {got:?}")
        };
        let at = usize::try_from(line).expect("small");
        let line = text.lines().nth(at - 1).expect("in the text");
        let section = line.starts_with("m=video");
        assert!(section || line.contains(to.trim_end()), "{to:?}: {line}");
    }
}

#[test]
fn restrictions_of_a_rid_follow_the_codec() {
    let whole = text("chromium-156-offer-simulcast3.sdp");
    let text = whole
        .replace("a=rid:q send", "a=rid:q send pt=96,108;max-width=320")
        .replace("a=rid:h send", "a=rid:h send max-width=640")
        .replace("a=rid:f send", "a=rid:f send pt=108")
        .replace(
            "a=simulcast:send q;h;f",
            "a=simulcast:recv z send ~q;h,f;f;nobody;h",
        );
    let offer = RemoteDescription::parse(&text).expect("valid");
    let (text, agreed) =
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect("answerable");
    assert_eq!(agreed.media.get(1).expect("video").encodings.len(), 2);
    assert_eq!(
        lines(&text, "a=rid:"),
        [
            "a=rid:q recv pt=96;max-width=320",
            "a=rid:h recv max-width=640"
        ]
    );
    assert_eq!(lines(&text, "a=simulcast:"), ["a=simulcast:recv q;h"]);
}

#[test]
fn feedback_for_all_payload_types_counts() {
    let whole = text("chromium-156-offer-sendonly.sdp");
    let text = whole
        .replace("a=rtcp-fb:96 nack\r\n", "a=rtcp-fb:* nack\r\n")
        .replace("a=rtcp-fb:96 transport-cc\r\n", "a=rtcp-fb:96 odd\r\n");
    let offer = RemoteDescription::parse(&text).expect("valid");
    let (text, agreed) =
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect("answerable");
    let vp8 = agreed.media.get(1).and_then(|video| video.codecs.first());
    let expected = Feedback {
        transport_cc: false,
        ..ALL
    };
    assert_eq!(vp8.map(|codec| codec.feedback), Some(expected));
    assert!(!text.contains("odd"));
}

/// As clients that are no browsers write it: LF line ends, credentials and fingerprints at session level, no RTX.
const PLAIN: &str = "\
v=0
o=- 3961246 3961246 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE a v
a=msid-semantic:WMS *
a=ice-ufrag:aBcD
a=ice-pwd:0123456789012345678901
a=fingerprint:SHA-256 00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff
a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33
a=fingerprint:sha-384 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:active
m=video 50000 UDP/TLS/RTP/SAVPF 0 72 97
c=IN IP4 203.0.113.5
a=rtcp-mux
a=mid:v
a=rtpmap:72 VP8/90000
a=rtpmap:97 vp8/90000
a=rtcp-fb:97 nack pli
a=ssrc:7 cname:x
m=audio 50000 UDP/TLS/RTP/SAVPF 96 0
c=IN IP4 203.0.113.5
a=rtcp-mux
a=mid:a
a=rtpmap:96 OPUS/48000/2
";

#[test]
fn a_plain_client_is_answered() {
    let offer = RemoteDescription::parse(PLAIN).expect("valid");
    let (text, agreed) =
        answer_publisher(&offer, &local(), &CodecPreferences::default()).expect("answerable");
    let algorithms: Vec<_> = agreed
        .fingerprints
        .iter()
        .map(|one| one.algorithm.as_str())
        .collect();
    assert_eq!(algorithms, ["sha-256", "sha-384"]);
    let first = agreed.fingerprints.first().expect("one");
    assert!(
        first
            .value
            .starts_with("00:11:22:33:44:55:66:77:88:99:AA:BB")
    );
    assert_eq!(agreed.ice.ufrag, "aBcD");

    // The order is the client's; payload type 72 would look like RTCP.
    let [video, audio] = agreed.media.as_slice() else {
        panic!("two sections")
    };
    assert_eq!((video.mid.as_str(), audio.mid.as_str()), ("v", "a"));
    let vp8 = video.codecs.first().expect("one");
    assert_eq!((vp8.payload_type, vp8.rtx_payload_type), (97, None));
    assert_eq!(vp8.name, "VP8");
    assert!(vp8.feedback.pli && !vp8.feedback.nack);
    assert_eq!(video.encodings.first().and_then(|one| one.ssrc), Some(7));
    assert_eq!(
        audio.codecs.first().map(|one| one.name.as_str()),
        Some("opus")
    );
    assert!(audio.extensions.is_empty());
    // What was not offered is not answered.
    assert!(!text.contains("rtcp-rsize") && !text.contains("extmap-allow-mixed"));
    assert!(!text.contains("rtcp-xr"));
    assert_eq!(lines(&text, "a=group"), ["a=group:BUNDLE v a"]);
}
