//! The recorded descriptions, and parameters of our own to answer them with.

#![allow(
    dead_code,
    reason = "each test program uses its own part of this module"
)]

use std::fs;
use std::path::PathBuf;

use sdp::{
    Codec, Fingerprint, IceCredentials, Kind, LocalParameters, Msid, PublishedMedia,
    RemoteDescription, SubscribeMedia,
};

/// Every recorded description, by file name.
pub fn recorded() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/sdp");
    let mut all: Vec<_> = fs::read_dir(folder)
        .expect("the recorded descriptions are there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "sdp"))
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            let text = fs::read_to_string(&path).expect("readable");
            (name.into_owned(), text)
        })
        .collect();
    all.sort();
    assert!(all.len() >= 16);
    all
}

/// One recorded description.
pub fn text(name: &str) -> String {
    let mut all = recorded().into_iter();
    all.find(|(file, _)| file == name)
        .unwrap_or_else(|| panic!("no {name}"))
        .1
}

/// One recorded description, read.
pub fn remote(name: &str) -> RemoteDescription {
    RemoteDescription::parse(&text(name)).expect("valid")
}

/// Our side.
pub fn local() -> LocalParameters {
    LocalParameters {
        session_id: u64::MAX,
        session_version: 1,
        ice: IceCredentials {
            ufrag: "lite".to_owned(),
            pwd: "0123456789abcdef01234567".to_owned(),
        },
        fingerprint: Fingerprint {
            algorithm: "sha-256".to_owned(),
            value: vec!["AB"; 32].join(":"),
        },
        candidates: vec![
            "192.0.2.2:40000".parse().expect("valid"),
            "[fd00::2]:40000".parse().expect("valid"),
        ],
        audio_redundancy: false,
        video_receive_max: None,
        video_send_max: None,
        transport_cc: true,
    }
}

/// A subscription to what is published.
pub fn subscription(media: &PublishedMedia) -> SubscribeMedia {
    let video = media.kind == Kind::Video;
    subscribe(media.kind, media.codecs.clone(), video)
}

/// A subscription to `codecs`.
pub fn subscribe(kind: Kind, codecs: Vec<Codec>, rtx: bool) -> SubscribeMedia {
    let ssrc = match kind {
        Kind::Audio => 1000,
        Kind::Video => 2000,
    };
    SubscribeMedia {
        kind,
        codecs,
        ssrc,
        rtx_ssrc: rtx.then_some(ssrc + 1),
        cname: "cname".to_owned(),
        msid: Msid {
            stream: "stream".to_owned(),
            track: format!("{}0", kind.as_str()),
        },
    }
}

/// The lines of `text` that start with `start`.
pub fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.split("\r\n")
        .filter(|line| line.starts_with(start))
        .collect()
}
