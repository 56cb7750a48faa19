//! Any bytes at all as a stream of requests, read to the end as a connection would.
//!
//! That nothing panics is the least of it. What parsed must be within the limits, must mean the same
//! without the bytes behind it, must not have been complete a byte earlier, and must be parsed back
//! from how it is printed; what did not parse must take bytes away, ask for more, or close.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::protocol::{
    Limits, MetaKey, MetaKeyRoom, PlainIncr, Request, Step, parse, plain_incr,
};

fuzz_target!(|bytes: &[u8]| {
    // Small limits, so that a small input reaches them.
    let limits =
        Limits { key_bytes: 16, line_bytes: 64, get_line_bytes: 128, get_keys: 8, item_bytes: 100 };
    let mut rest = bytes;
    loop {
        let step = parse(rest, &limits);
        if let Some(PlainIncr { key, delta, noreply, consumed }) = plain_incr(rest, &limits) {
            let request = Request::Incr { key, delta, noreply };
            assert_eq!(step, Step::Request { request, consumed }, "read in one pass");
        }
        let (consumed, swallow) = match step {
            Step::Request { request, consumed } => {
                check_request(&request, &limits);
                check_printed(&request, &limits);
                (consumed, 0)
            }
            Step::Refuse { consumed, swallow, forget, .. } => {
                assert!(forget.is_none_or(|key| is_meta_key(key, &limits)));
                (consumed, swallow)
            }
            Step::NeedMore { at_least } => {
                assert!(at_least > rest.len());
                assert!(rest.len() <= limits.get_line_bytes + 2 + limits.item_bytes + 2);
                return;
            }
            Step::Close { .. } => return,
        };
        assert!((1..=rest.len()).contains(&consumed));
        let (own, behind) = rest.split_at(consumed);
        assert_eq!(parse(own, &limits), step, "what follows does not matter");
        let earlier = parse(&own[..consumed - 1], &limits);
        assert!(matches!(earlier, Step::NeedMore { at_least } if at_least <= consumed));
        rest = &behind[swallow.min(behind.len())..];
    }
});

fn check_request(request: &Request<'_>, limits: &Limits) {
    match *request {
        Request::Get { keys, .. } => {
            assert!((1..=limits.get_keys).contains(&keys.iter().count()));
            assert!(keys.iter().all(|key| is_key(key, limits)));
        }
        Request::GetAndTouch { keys, .. } => {
            assert!(keys.iter().count() <= limits.get_keys);
            assert!(keys.iter().all(|key| is_key(key, limits)));
        }
        Request::Store { key, value, .. } | Request::Cas { key, value, .. } => {
            assert!(is_key(key, limits));
            assert!(value.len() <= limits.item_bytes);
        }
        Request::Delete { key, .. }
        | Request::Incr { key, .. }
        | Request::Decr { key, .. }
        | Request::Touch { key, .. } => assert!(is_key(key, limits)),
        Request::MetaSet { key, flags, value } => {
            assert!(is_meta_key(key, limits));
            assert!(flags.store_mode().is_some());
            assert!(flags.iter().count() == flags.words().count());
            assert!(value.len() <= limits.item_bytes);
        }
        Request::MetaGet { key, flags } | Request::MetaDelete { key, flags } => {
            assert!(is_meta_key(key, limits));
            assert!(flags.iter().count() == flags.words().count());
        }
        Request::MetaArithmetic { key, flags } => {
            assert!(is_meta_key(key, limits));
            assert!(flags.arithmetic_mode().is_some());
        }
        Request::MetaDebug { key } => assert!(is_meta_key(key, limits)),
        Request::Stats { arg } => assert!(arg.len() <= limits.line_bytes),
        Request::FlushAll { .. }
        | Request::Version
        | Request::Verbosity { .. }
        | Request::MetaNoOp
        | Request::Shutdown { .. }
        | Request::Quit => {}
    }
}

/// What a base64 key comes to may hold any byte, but is never empty or too long.
fn is_meta_key(key: MetaKey<'_>, limits: &Limits) -> bool {
    let mut room = MetaKeyRoom::default();
    is_key(key.text(), limits) && (1..=limits.key_bytes).contains(&key.decode(&mut room).len())
}

fn is_key(key: &[u8], limits: &Limits) -> bool {
    (1..=limits.key_bytes).contains(&key.len())
        && !key.iter().any(|byte| matches!(byte, 0 | b' ' | b'\n'))
}

/// A printed line may be longer than the one it came from (a level that `verbosity` does not keep, a
/// delay of zero), so it is held to wider limits.
fn check_printed(request: &Request<'_>, limits: &Limits) {
    let wide = Limits { item_bytes: limits.item_bytes, ..Limits::default() };
    let mut printed = Vec::new();
    request.write_to(&mut printed);
    let expect = Step::Request { request: *request, consumed: printed.len() };
    assert_eq!(parse(&printed, &wide), expect, "{}", printed.escape_ascii());
}
