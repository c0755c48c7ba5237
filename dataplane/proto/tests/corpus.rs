//! Every input that fuzzing found worth keeping, as an ordinary test: no fuzzer is needed to see that an old finding
//! stays away.

use std::path::{Path, PathBuf};

use proto::srtp::{Inbound, MasterKey, Outbound, Profile};

#[test]
fn stun() {
    replay("stun", proto::stun::fuzz_stun);
}

#[test]
fn ice() {
    replay("ice", proto::ice::fuzz_ice);
}

#[test]
fn demux() {
    replay("demux", proto::demux::fuzz_demux);
}

#[test]
fn dtls() {
    let epoch = std::time::Instant::now();
    replay("dtls", |input| proto::dtls::fuzz_dtls(epoch, input));
}

#[test]
fn rtp() {
    replay("rtp", proto::rtp::fuzz);
}

#[test]
fn rtcp() {
    replay("rtcp", proto::rtcp::fuzz);
}

#[test]
fn codec() {
    replay("codec", proto::codec::fuzz);
}

#[test]
fn srtp_unprotect() {
    replay("srtp_unprotect", proto::srtp::fuzz::fuzz_unprotect);
}

/// No fuzzer guesses an authentication tag, so these inputs are made: packets that the fuzz body's own key protects.
/// `RINGCAST_BLESS=1 cargo test -p proto --test corpus` writes them anew.
#[test]
fn srtp_inputs_hold_authentic_packets() {
    for (choice, profile) in (0_u8..).zip(Profile::ALL) {
        let path = folder("srtp_unprotect").join(format!("authentic-{choice}"));
        let made = authentic(choice, profile);
        if std::env::var_os("RINGCAST_BLESS").is_some() {
            std::fs::write(&path, &made).expect("the input can be written");
        }
        let kept = std::fs::read(&path).expect("the input is in the repository");
        assert!(kept == made, "{} is not what is made now", path.display());
    }
}

fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = folder(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = entry.expect("the folder can be listed").path();
        println!("{}", path.display());
        body(&std::fs::read(&path).expect("an input can be read"));
        inputs += 1;
    }
    assert!(inputs > 0, "{} has no inputs", folder.display());
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/corpus")
        .join(target)
}

/// An input in the form of the fuzz body: the profile's number, then packets, each after its kind and its length. RTP
/// in and out of order, again, across the wrap of the sequence number, from another source; RTCP twice.
fn authentic(choice: u8, profile: Profile) -> Vec<u8> {
    let (key, salt) = (
        vec![0x5a; profile.key_len()],
        vec![0xa5; profile.salt_len()],
    );
    let master = MasterKey::new(profile, &key, &salt).expect("lengths are the profile's");
    let mut outbound = Outbound::new(&master).expect("the key is good");
    let mut inbound = Inbound::new(&master).expect("the key is good");
    let mut input = vec![choice];
    let mut packet = [0; 255];
    for (index, ssrc) in [
        (0x7ffe_u64, 1_u32),
        (0x8001, 1),
        (0x7fff, 1),
        (0xffff, 1),
        (0x1_0001, 1),
        (5, 2),
    ] {
        let sequence = (index & 0xffff) as u16;
        let mut header = vec![0x80, 96];
        header.extend(sequence.to_be_bytes());
        header.extend(90_000_u32.to_be_bytes());
        header.extend(ssrc.to_be_bytes());
        let length = outbound
            .protect_rtp(index, ssrc, &header, &[], b"a payload", &mut packet)
            .expect("the index is new");
        // Twice: the second is a replay.
        for _ in 0..2 {
            input.extend([1, length as u8]);
            input.extend(&packet[..length]);
        }
        let opened = inbound.unprotect_rtp(&mut packet[..length], header.len(), ssrc, sequence);
        assert!(opened.is_ok(), "{profile:?} {index}: {opened:?}");
    }
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    for _ in 0..2 {
        let length = outbound
            .protect_rtcp(&report, &mut packet)
            .expect("indices are left");
        input.extend([0, length as u8]);
        input.extend(&packet[..length]);
        let opened = inbound.unprotect_rtcp(&mut packet[..length]);
        assert!(opened.is_ok(), "{profile:?}: {opened:?}");
    }
    input
}
