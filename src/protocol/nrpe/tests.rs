//! Packets whole, cut, damaged, and as `check_nrpe` was seen to send them.

use super::*;

fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&packet).to_be_bytes();
    packet[4..8].copy_from_slice(&sum);
    packet
}

#[test]
fn a_query_means_the_same_in_every_form() {
    for version in Version::ALL {
        let packet = query(version, "orders-drop!region=eu").expect("room");
        let (text, consumed) = ("orders-drop!region=eu", packet.len());
        assert_eq!(parse(&packet), Ok(Step::Query { version, text, consumed }));
        let followed = [&*packet, b"more"].concat();
        assert_eq!(parse(&followed), Ok(Step::Query { version, text, consumed }));
    }
    let lengths = Version::ALL.map(|version| query(version, "x").expect("room").len());
    assert_eq!(lengths, [1036, 16 + 2 + 3, 16 + 2]);
    assert_eq!(query(Version::V2, &"x".repeat(1024)), None);
    assert_eq!(query(Version::V4, &"x".repeat(limits::NRPE_QUERY_BYTES)), None);
}

#[test]
fn what_stands_behind_the_end_of_a_text_means_nothing() {
    // check_nrpe fills packets of version 2 with random bytes.
    let mut packet = query(Version::V2, "r").expect("room");
    packet[HEAD_BYTES + 2..].fill(0xd7);
    let packet = sealed(packet);
    let Ok(Step::Query { text, .. }) = parse(&packet) else { panic!("a query") };
    assert_eq!(text, "r");
}

#[test]
fn wherever_it_is_cut_more_is_needed() {
    for version in Version::ALL {
        let packet = query(version, "orders-drop").expect("room");
        for end in 0..packet.len() {
            let Ok(Step::NeedMore { at_least }) = parse(&packet[..end]) else { panic!("{end}") };
            assert!(end < at_least && at_least <= packet.len(), "{version:?} {end} {at_least}");
        }
    }
}

#[test]
fn damage_anywhere_makes_it_no_query() {
    for version in Version::ALL {
        let packet = query(version, "orders-drop").expect("room");
        for at in 0..packet.len() {
            let mut bad = packet.clone();
            bad[at] ^= 0x10;
            assert!(!matches!(parse(&bad), Ok(Step::Query { .. })), "{version:?} {at}");
        }
    }
}

#[test]
fn what_can_be_no_query_is_refused_as_early_as_that_is_known() {
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = query(Version::V4, "r").expect("room");
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    assert_eq!(parse(&[0, 1]), Err(Error::Version));
    assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01"), Err(Error::Version), "a TLS handshake");
    assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(Error::Version));
    assert_eq!(parse(&[0, 4, 0, 2]), Err(Error::Kind), "an answer");
    assert_eq!(parse(&with(12, &u32::MAX.to_be_bytes())), Err(Error::TooLong));
    assert_eq!(parse(&with(12, &4097u32.to_be_bytes())), Err(Error::TooLong));
    assert_eq!(parse(&sealed(with(16, b"rr"))), Err(Error::Text), "no end");
    assert_eq!(parse(&sealed(with(16, b"\xff"))), Err(Error::Text));
    let empty = sealed(with(12, &[0; 4])[..16].to_vec());
    assert_eq!(parse(&empty), Err(Error::Text), "no text at all");
}

#[test]
fn an_answer_has_the_form_of_its_query_and_is_cut_between_characters() {
    let text = |packet: &[u8], start: usize| {
        let text = &packet[start..];
        let end = text.iter().position(|byte| *byte == 0).expect("an end");
        String::from_utf8(text[..end].to_vec()).expect("whole characters")
    };
    for (version, start) in [(Version::V2, 10), (Version::V3, 16), (Version::V4, 16)] {
        let packet = answer(version, 2, "CRITICAL - größer");
        assert_eq!(&packet[..4], [0, u8::try_from(version.number()).expect("small"), 0, 2]);
        assert_eq!(&packet[8..10], [0, 2], "the exit code");
        assert_eq!(sealed(packet.clone()), packet);
        assert_eq!(text(&packet, start), "CRITICAL - größer");
        let long = answer(version, 0, &"ö".repeat(10_000));
        let kept = text(&long, start);
        assert!(kept.len() + 1 >= version.room() && kept.len() <= version.room());
        assert_eq!(
            answer(version, 3, "").len(),
            if start == 10 { 1036 } else { packet.len() - 19 }
        );
    }
}
