//! Any bytes are a state of a rule that could have been written, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::rules::State;

fuzz_target!(|bytes: &[u8]| {
    let Ok(state) = State::decode(bytes) else { return };
    let mut written = Vec::new();
    state.encode(&mut written);
    assert_eq!(State::decode(&written), Ok(state));
});
