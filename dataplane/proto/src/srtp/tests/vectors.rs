//! Test vectors: RFC 3711 Appendix B, RFC 7714 §16 and §17, and libsrtp's reference packets.

use zeroize::Zeroizing;

use super::super::backend::AesCtr;
use super::super::kdf::{SessionKeys, Use, derive};
use super::super::transform::{RtpParts, Transform, rtcp_word};
use super::super::{Inbound, MasterKey, Outbound, Profile};
use super::{unprotect, unprotect_rtcp};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|octet| !octet.is_ascii_whitespace())
        .map(|octet| (octet as char).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// RFC 3711 B.2.
#[test]
fn aes_counter_mode() {
    let cipher = AesCtr::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let iv = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000");
    let mut stream = vec![0; 0xff02 * 16];
    cipher.apply(iv.first_chunk().unwrap(), &mut stream);
    for (block, expected) in [
        (0x0000, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (0x0001, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (0x0002, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xfeff, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xff00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xff01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(
            stream[block * 16..][..16],
            hex(expected),
            "block {block:#x}"
        );
    }
}

/// RFC 3711 B.3.
#[test]
fn key_derivation() {
    let master = MasterKey::new(
        Profile::Aes128CmHmacSha1_80,
        &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        &hex("0EC675AD498AFEEBB6960B3AABE6"),
    )
    .unwrap();
    let keys = derive(&master, Use::Rtp).unwrap();
    assert_eq!(
        keys.encryption[..16],
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(keys.salt[..14], hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        keys.authentication[..],
        hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    );
}

/// RFC 6188 §7.2: derivation with AES-256, of which GCM takes the first 12 octets of salt.
#[test]
fn key_derivation_with_256_bits() {
    let key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
    let prf_salt = hex("3b04803de51ee7c96423ab5b78d2");
    let cipher = AesCtr::new(&key).unwrap();
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(&prf_salt);
    let mut stream = [0; 32];
    cipher.apply(&iv, &mut stream);
    assert_eq!(
        stream[..],
        hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
    );
    // With the last two octets of salt zero the same function must be what our derivation computes.
    let master = MasterKey::new(Profile::AeadAes256Gcm, &key, &prf_salt[..12]).unwrap();
    iv[12..].fill(0);
    let mut expected = [0; 32];
    cipher.apply(&iv, &mut expected);
    assert_eq!(*derive(&master, Use::Rtp).unwrap().encryption, expected);
}

fn rfc_7714(profile: Profile) -> Transform {
    let mut keys = SessionKeys {
        encryption: Zeroizing::new([0; 32]),
        authentication: Zeroizing::new([0; 20]),
        salt: Zeroizing::new([0; 14]),
    };
    for (value, octet) in keys.encryption.iter_mut().enumerate() {
        *octet = value as u8;
    }
    keys.salt[..12].copy_from_slice(b"Quid pro quo");
    Transform::with_session_keys(profile, &keys).unwrap()
}

/// RFC 7714 §16.1 and §16.2: encryption and, the other way round, decryption.
#[test]
fn aead_rtp_packets() {
    let header = hex("8040f17b 8041f8d3 5501a0b2");
    let payload = b"Gallia est omnis divisa in partes tres";
    for (profile, expected) in [
        (
            Profile::AeadAes128Gcm,
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833
             899d7f27 beb16a91 52cf765e e4390cce",
        ),
        (
            Profile::AeadAes256Gcm,
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b
             7aa3db36 dfffd6b0 f9bb7878 d7a76c13",
        ),
    ] {
        let expected = [header.clone(), hex(expected)].concat();
        let transform = rfc_7714(profile);
        // The same plaintext must come out however it is divided into prefix and payload.
        for at in 0..=16 {
            let parts = RtpParts {
                header: &header,
                prefix: &payload[..at],
                payload: &payload[at..],
                padding: 0,
            };
            let mut out = vec![0; expected.len()];
            transform
                .protect_rtp(0x5501_a0b2, 0xf17b, parts, &mut out)
                .unwrap();
            assert_eq!(out, expected);
        }
        let mut packet = expected;
        transform
            .unprotect_rtp(0x5501_a0b2, 0xf17b, &mut packet, 12)
            .unwrap();
        assert_eq!(&packet[12..12 + payload.len()], payload);
    }
}

const RTCP_PLAIN: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
    deadbeef deadbeef deadbeef deadbeef deadbeef";

/// RFC 7714 §17.1 and §17.2.
#[test]
fn aead_rtcp_packets() {
    for (profile, expected) in [
        (
            Profile::AeadAes128Gcm,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
             730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
             110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let transform = rfc_7714(profile);
        let plain = hex(RTCP_PLAIN);
        let mut out = vec![0; plain.len() + 20];
        transform
            .protect_rtcp(0x4d61_7273, 0x5d4, &plain, &mut out)
            .unwrap();
        assert_eq!(out, hex(expected));
        let word = rtcp_word(profile, &out).unwrap();
        transform
            .unprotect_rtcp(0x4d61_7273, word, &mut out)
            .unwrap();
        assert_eq!(out[..plain.len()], plain);
    }
}

/// RFC 7714 §17.3 and §17.4: E = 0, tagged only.
#[test]
fn aead_rtcp_packets_that_are_only_tagged() {
    for (profile, tag) in [
        (
            Profile::AeadAes128Gcm,
            "841dd968 3dd78ec9 2ae58790 125f62b3",
        ),
        (
            Profile::AeadAes256Gcm,
            "91db4afb feee5a97 8fab4393 ed2615fe",
        ),
    ] {
        let transform = rfc_7714(profile);
        let plain = hex(RTCP_PLAIN);
        let packet = [plain.clone(), hex(tag), hex("000005d4")].concat();
        let word = rtcp_word(profile, &packet).unwrap();
        let mut copy = packet.clone();
        transform
            .unprotect_rtcp(0x4d61_7273, word, &mut copy)
            .unwrap();
        assert_eq!(copy[..plain.len()], plain);
        for at in 0..packet.len() {
            let mut forged = packet.clone();
            forged[at] ^= 1;
            let word = rtcp_word(profile, &forged).unwrap();
            let ssrc = u32::from_be_bytes(*forged[4..].first_chunk().unwrap());
            assert!(
                transform.unprotect_rtcp(ssrc, word, &mut forged).is_err(),
                "octet {at}"
            );
        }
    }
}

/// The reference packets in libsrtp's `srtp_driver.c`, which were made with the keys of RFC 3711 B.3.
#[test]
fn reference_packets_of_libsrtp() {
    let master = MasterKey::new(
        Profile::Aes128CmHmacSha1_80,
        &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        &hex("0EC675AD498AFEEBB6960B3AABE6"),
    )
    .unwrap();
    let mut inbound = Inbound::new(&master).unwrap();
    let mut outbound = Outbound::new(&master).unwrap();

    let header = hex("800f1234 decafbad cafebabe");
    let expected = hex(
        "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402
         b78d6acc 99ea179b 8dbb",
    );
    let mut out = vec![0; expected.len()];
    let sent = outbound.protect_rtp(0x1234, 0xcafe_babe, &header, &[], &[0xab; 16], &mut out);
    assert_eq!(sent, Ok(out.len()));
    assert_eq!(out, expected);
    let (plain, index) = unprotect(&mut inbound, &expected, 12).unwrap();
    assert_eq!(plain, [header, vec![0xab; 16]].concat());
    assert_eq!(index, 0x1234);

    let plain = [hex("81c8000b cafebabe"), vec![0xab; 16]].concat();
    let expected = hex(
        "81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001
         993e08cd 54d6c123 0798",
    );
    assert_eq!(unprotect_rtcp(&mut inbound, &expected).as_ref(), Ok(&plain));
    let mut out = vec![0; expected.len()];
    for _ in 0..2 {
        outbound.protect_rtcp(&plain, &mut out).unwrap();
    }
    assert_eq!(out, expected, "the second packet has index 1");
}
