//! Any bytes are a query of NRPE, the beginning of one, or none, wherever they are cut; what is answered is whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::limits::{NAGIOS_BYTES, NRPE_QUERY_BYTES};
use tallyd::protocol::nrpe::{Step, Version, answer, parse, query};

/// The longest packet that is waited for: the longest text with a header and a padding.
const PACKET_BYTES: usize = NRPE_QUERY_BYTES + 19;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    // Nobody guesses a checksum: the same bytes as a text of each form.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for version in Version::ALL {
        let Some(packet) = query(version, text) else { continue };
        let consumed = packet.len();
        assert_eq!(parse(&packet), Ok(Step::Query { version, text, consumed }));
        read(&packet);
        let answered = answer(version, 2, text);
        assert!(answered.len() <= 19 + NAGIOS_BYTES);
        assert!(parse(&answered).is_err(), "an answer is no query");
    }
});

fn read(bytes: &[u8]) {
    let step = parse(bytes);
    let consumed = match step {
        Ok(Step::NeedMore { at_least }) => {
            assert!(bytes.len() < at_least && at_least <= PACKET_BYTES);
            bytes.len()
        }
        Ok(Step::Query { version, text, consumed }) => {
            assert!(
                consumed <= bytes.len() && text.len() < NRPE_QUERY_BYTES && !text.contains('\0')
            );
            assert_eq!(parse(&bytes[..consumed]), step, "what follows does not matter");
            let again = query(version, text).expect("it had room");
            assert!(again.len() <= consumed);
            consumed
        }
        // What it cannot be it cannot be with more behind it.
        Err(_) => {
            assert_eq!(parse(&[bytes, b"more"].concat()), step);
            bytes.len()
        }
    };
    // Before its end it is not there; what is wrong may be known earlier.
    for end in (0..consumed).step_by(consumed / 64 + 1) {
        match parse(&bytes[..end]) {
            Ok(Step::Query { .. }) => panic!("it was whole at {end} of {consumed}"),
            Ok(Step::NeedMore { at_least }) => assert!(at_least > end),
            Err(error) => assert_eq!(step, Err(error)),
        }
    }
}
