//! Any bytes at all as a stream of requests, read to the end as a connection would.
//!
//! That nothing panics is the least of it. What parsed must be within the limits, must mean the same
//! without the bytes behind it, must not have been complete at any earlier cut, and must be parsed
//! back from how it is printed; what did not parse must take bytes away, ask for more, or close. The
//! same bytes are read as those of a client that has to say first who it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::limits::LOGIN_BYTES;
use tallyd::protocol::{
    Error, Limits, Login, MetaFlags, MetaKey, MetaKeyRoom, PlainIncr, Request, Step, login, parse,
    plain_incr,
};

/// Small limits, so that a small input reaches them.
const SMALL: Limits =
    Limits { key_bytes: 16, line_bytes: 64, get_line_bytes: 128, get_keys: 8, item_bytes: 100 };

fuzz_target!(|bytes: &[u8]| {
    read_all(bytes, &SMALL);
    read_all(bytes, &Limits::default());
    log_in(bytes);
});

fn read_all(bytes: &[u8], limits: &Limits) {
    let mut rest = bytes;
    loop {
        let step = parse(rest, limits);
        if let Some(PlainIncr { key, delta, noreply, consumed }) = plain_incr(rest, limits) {
            let request = Request::Incr { key, delta, noreply };
            assert_eq!(step, Step::Request { request, consumed }, "read in one pass");
        }
        let (consumed, swallow) = match step {
            Step::Request { request, consumed } => {
                check_request(&request, limits);
                check_printed(&request, limits);
                (consumed, 0)
            }
            Step::Refuse { error, consumed, swallow, forget } => {
                error.iter().for_each(check_error);
                assert!(forget.is_none_or(|key| is_meta_key(key, limits)));
                (consumed, swallow)
            }
            Step::NeedMore { at_least } => {
                assert!(at_least > rest.len());
                assert!(rest.len() <= limits.get_line_bytes + 2 + limits.item_bytes + 2);
                check_cuts(rest, None, limits);
                return;
            }
            Step::Close { error } => {
                error.iter().for_each(check_error);
                check_cuts(rest, Some(step), limits);
                return;
            }
        };
        assert!((1..=rest.len()).contains(&consumed));
        let (own, behind) = rest.split_at(consumed);
        assert_eq!(parse(own, limits), step, "what follows does not matter");
        check_cuts(own, None, limits);
        rest = &behind[swallow.min(behind.len())..];
    }
}

/// Wherever the bytes were cut between two reads, there was nothing to be done with the first part.
/// Only an end may come earlier, since a line is too long before it is whole; and then it is the same.
fn check_cuts(own: &[u8], close: Option<Step<'_>>, limits: &Limits) {
    // Every cut of what is short, some of what is long.
    let stride = own.len() / 64 + 1;
    for at in (0..own.len()).step_by(stride).chain(own.len().checked_sub(1)) {
        match parse(&own[..at], limits) {
            Step::NeedMore { at_least } => {
                assert!(at_least > at, "it asks for what there is");
                assert!(
                    close.is_some() || at_least <= own.len().max(at + 1) || is_waiting(own, limits)
                );
            }
            step => assert_eq!(Some(step), close, "cut at {at}"),
        }
    }
}

fn is_waiting(own: &[u8], limits: &Limits) -> bool {
    matches!(parse(own, limits), Step::NeedMore { .. })
}

/// An answer is one line, whatever was asked.
fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
}

/// A client that has to say first who it is makes the server hold one short line and block at most.
fn log_in(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let step = login(rest);
        let consumed = match step {
            Login::Attempt { user, password, consumed } => {
                assert!(user.len() + password.len() < LOGIN_BYTES && !user.contains(&b' '));
                consumed
            }
            Login::Version { consumed } => consumed,
            Login::Refuse { error, consumed } => {
                check_error(&error);
                consumed
            }
            Login::NeedMore { at_least } => {
                assert!(at_least > rest.len());
                assert!(rest.len() <= tallyd::limits::LINE_BYTES + 2 + LOGIN_BYTES + 2);
                return;
            }
            Login::Quit | Login::Close { .. } => return,
        };
        assert!((1..=rest.len()).contains(&consumed));
        let own = &rest[..consumed];
        assert_eq!(login(own), step, "what follows does not matter");
        for at in [0, consumed / 2, consumed - 1] {
            let earlier = login(&own[..at]);
            assert!(
                matches!(earlier, Login::NeedMore { at_least } if at_least > at),
                "cut at {at}"
            );
        }
        rest = &rest[consumed..];
    }
}

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
            check_flags(flags);
            assert!(value.len() <= limits.item_bytes);
        }
        Request::MetaGet { key, flags } | Request::MetaDelete { key, flags } => {
            assert!(is_meta_key(key, limits));
            check_flags(flags);
        }
        Request::MetaArithmetic { key, flags } => {
            assert!(is_meta_key(key, limits));
            assert!(flags.arithmetic_mode().is_some());
            check_flags(flags);
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

/// Every word is a flag, and none is there twice.
fn check_flags(flags: MetaFlags<'_>) {
    assert!(flags.iter().count() == flags.words().count());
    let mut letters: Vec<_> = flags.words().map(|word| word[0]).collect();
    letters.sort_unstable();
    assert!(letters.windows(2).all(|pair| pair[0] != pair[1]), "{}", letters.escape_ascii());
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
