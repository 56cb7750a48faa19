//! The wire protocol, case by case, and what holds for every stream of bytes.
//!
//! `check` plays a conversation against the plainest possible memcached (a sorted map) and compares
//! the reply bytes, so a case reads like what goes over the wire. Properties follow the cases.

#[path = "../../tests/it/hostile_inputs.rs"]
mod hostile_inputs;

use super::*;
use hostile_inputs::{CASES, Expect, PROBE, PROBE_REPLY, large};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn numbers_are_answered_digit_by_digit() {
    let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    for number in powers.flat_map(|power| [power - 1, power, power + 1]).chain([u64::MAX]) {
        let mut out = b"before\r\n".to_vec();
        Reply::Number(number).write_to(&mut out);
        assert_eq!(out, format!("before\r\n{number}\r\n").as_bytes());
    }
}

/// Every `incr` that is recognised in one pass is what the parser reads; whether it is.
fn plain_agrees(bytes: &[u8], limits: &Limits) -> bool {
    let Some(PlainIncr { key, delta, noreply, consumed }) = plain_incr(bytes, limits) else {
        return false;
    };
    let request = Request::Incr { key, delta, noreply };
    assert_eq!(
        parse(bytes, limits),
        Step::Request { request, consumed },
        "{}",
        bytes.escape_ascii()
    );
    true
}

#[test]
fn the_usual_increments_are_recognised_in_one_pass() {
    let limits = Limits::default();
    let key = "k".repeat(250);
    for good in [
        "incr a 1\r\n",
        "incr a 1 noreply\r\n",
        "incr a 1\r\nincr b 1\r\n",
        "incr bench.counter.00000000000000000042 1234567890123456789\r\n",
        "incr orders;region=caf\u{e9} 0\r\nx",
        &format!("incr {key} 1 noreply\r\n"),
    ] {
        assert!(plain_agrees(good.as_bytes(), &limits), "{good}");
    }
    for other in [
        "",
        "incr",
        "incr ",
        "incr a",
        "incr a ",
        "incr a 1",
        "incr a 1\r",
        "incr a 1 norepl",
        "incr a 1 noreply\r",
        "incr a 1\n",
        "incr a 1 \r\n",
        "incr  a 1\r\n",
        "incr a  1\r\n",
        "incr a +1\r\n",
        "incr a x\r\n",
        "incr a 18446744073709551615\r\n",
        "incr a\tb 1\r\n",
        "incr a\0b 1\r\n",
        "incr a 1 NOREPLY\r\n",
        "incr a 1 x\r\n",
        "decr a 1\r\n",
        &format!("incr {key}k 1\r\n"),
    ] {
        assert!(!plain_agrees(other.as_bytes(), &limits), "{}", other.escape_debug());
    }
}

proptest! {
    #[test]
    fn what_is_recognised_in_one_pass_is_read_alike(
        key in "[a-z.;=\u{20}\t\r\n\0\u{e9}]{0,20}",
        delta in prop_oneof!["[0-9]{0,21}", "[-+ ][0-9]{1,3}"],
        end in prop_oneof!["\r?\n?", " noreply\r\n", " ?[a-z]{0,8}\r\n"],
    ) {
        let limits = Limits { key_bytes: 16, line_bytes: 40, ..Limits::default() };
        plain_agrees(format!("incr {key} {delta}{end}").as_bytes(), &limits);
    }
}

/// A connection that keeps its values in a map. It knows no time: a negative expiry is past, any
/// other is never.
#[derive(Default)]
struct Server {
    values: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
    pending: Vec<u8>,
    swallow: usize,
    at_least: usize,
    out: Vec<u8>,
    closed: bool,
    /// Every step that was not `NeedMore`, as text.
    log: Vec<String>,
}

impl Server {
    fn feed(&mut self, bytes: &[u8]) {
        let skip = self.swallow.min(bytes.len());
        self.swallow -= skip;
        self.pending.extend_from_slice(&bytes[skip..]);
        while !self.closed {
            let pending = std::mem::take(&mut self.pending);
            let step = parse(&pending, &Limits::default());
            if let Step::NeedMore { at_least } = step {
                assert!(at_least > pending.len());
                self.at_least = at_least;
                self.pending = pending;
                return;
            }
            assert!(pending.len() >= self.at_least, "{} promised, {step:?}", self.at_least);
            self.at_least = 0;
            self.log.push(format!("{step:?}"));
            let done = self.take(step);
            assert!(self.closed || (1..=pending.len()).contains(&done));
            let skip = self.swallow.min(pending.len() - done);
            self.swallow -= skip;
            self.pending = pending[done + skip..].to_vec();
        }
    }

    fn take(&mut self, step: Step<'_>) -> usize {
        match step {
            Step::Request { request, consumed } => {
                self.answer(request);
                consumed
            }
            Step::Refuse { error, consumed, swallow, forget } => {
                self.say_error(error);
                self.swallow = swallow;
                forget.map(|key| self.values.remove(key.decode(&mut MetaKeyRoom::default())));
                consumed
            }
            Step::Close { error } => {
                self.say_error(error);
                self.closed = true;
                0
            }
            Step::NeedMore { .. } => unreachable!("handled by the caller"),
        }
    }

    fn say_error(&mut self, error: Option<Error>) {
        if let Some(error) = error {
            Reply::Error(error).write_to(&mut self.out);
        }
    }

    fn answer(&mut self, request: Request<'_>) {
        let (noreply, reply) = match request {
            Request::Get { keys, cas } => {
                for key in keys.iter() {
                    if let Some((flags, value)) = self.values.get(key) {
                        let cas = cas.then_some(7);
                        Reply::Value { key, flags: *flags, value, cas }.write_to(&mut self.out);
                    }
                }
                (false, Reply::End)
            }
            Request::GetAndTouch { keys, cas, .. } => {
                return self.answer(Request::Get { keys, cas });
            }
            Request::Store { verb, key, flags, exptime, value, noreply } => {
                let there = self.values.get(key);
                let stored = match verb {
                    StoreVerb::Set => true,
                    StoreVerb::Add => there.is_none(),
                    StoreVerb::Replace | StoreVerb::Append | StoreVerb::Prepend => there.is_some(),
                };
                let (old_flags, old) = there.cloned().unwrap_or_default();
                let (flags, value) = match verb {
                    StoreVerb::Append => (old_flags, [&*old, value].concat()),
                    StoreVerb::Prepend => (old_flags, [value, &*old].concat()),
                    _ => (flags, value.to_vec()),
                };
                if stored && exptime < 0 {
                    self.values.remove(key);
                } else if stored {
                    self.values.insert(key.to_vec(), (flags, value));
                }
                (noreply, if stored { Reply::Stored } else { Reply::NotStored })
            }
            Request::Cas { key, flags, unique, value, noreply, .. } => {
                let Some(there) = self.values.get_mut(key) else {
                    return self.say(noreply, Reply::NotFound);
                };
                if unique == 7 {
                    *there = (flags, value.to_vec());
                }
                (noreply, if unique == 7 { Reply::Stored } else { Reply::Exists })
            }
            Request::MetaGet { flags, .. } if flags.iter().any(|flag| flag == MetaFlag::Quiet) => {
                return;
            }
            Request::MetaGet { key, .. } | Request::MetaDebug { key } => {
                return self.say_meta(key, MetaStatus::End);
            }
            Request::MetaSet { key, value, .. } => {
                let key_bytes = key.decode(&mut MetaKeyRoom::default()).to_vec();
                self.values.insert(key_bytes, (0, value.to_vec()));
                return self.say_meta(key, MetaStatus::Done);
            }
            Request::MetaDelete { key, .. } | Request::MetaArithmetic { key, .. } => {
                return self.say_meta(key, MetaStatus::NotFound);
            }
            Request::MetaNoOp => (false, Reply::MetaNoOp),
            Request::Delete { key, noreply } => {
                let gone = self.values.remove(key).is_some();
                (noreply, if gone { Reply::Deleted } else { Reply::NotFound })
            }
            Request::Incr { key, delta, noreply } => {
                (noreply, self.change(key, |number| number.wrapping_add(delta)))
            }
            Request::Decr { key, delta, noreply } => {
                (noreply, self.change(key, |number| number.saturating_sub(delta)))
            }
            Request::Touch { key, noreply, .. } => {
                let there = self.values.contains_key(key);
                (noreply, if there { Reply::Touched } else { Reply::NotFound })
            }
            Request::FlushAll { noreply, .. } => {
                self.values.clear();
                (noreply, Reply::Ok)
            }
            Request::Version => (false, Reply::Version("1.6.18")),
            Request::Verbosity { noreply } => (noreply, Reply::Ok),
            Request::Stats { arg: b"" } => {
                Reply::Stat { name: b"pid", value: b"1" }.write_to(&mut self.out);
                (false, Reply::End)
            }
            Request::Stats { arg: b"reset" } => (false, Reply::Reset),
            Request::Stats { .. } => (false, Reply::Error(Error::Unknown)),
            Request::Shutdown { .. } => (false, Reply::Error(Error::ShutdownOff)),
            Request::Quit => {
                self.closed = true;
                return;
            }
        };
        self.say(noreply, reply);
    }

    fn say(&mut self, noreply: bool, reply: Reply<'_>) {
        if !noreply {
            reply.write_to(&mut self.out);
        }
    }

    /// What a meta command is answered here says only whether its key is there; what its flags ask
    /// for is the engine's to know.
    fn say_meta(&mut self, key: MetaKey<'_>, missing: MetaStatus) {
        let there = self.values.contains_key(key.decode(&mut MetaKeyRoom::default()));
        let status = if there { MetaStatus::Done } else { missing };
        MetaReply::status(status, &mut self.out).end();
    }

    fn change(&mut self, key: &[u8], by: impl Fn(u64) -> u64) -> Reply<'static> {
        let Some((_, value)) = self.values.get_mut(key) else { return Reply::NotFound };
        let Ok(Ok(number)) = std::str::from_utf8(value).map(str::parse) else {
            return Reply::Error(Error::NotNumeric);
        };
        let number = by(number);
        *value = number.to_string().into_bytes();
        Reply::Number(number)
    }
}

#[track_caller]
fn check(input: &str, replies: &str) {
    let mut server = Server::default();
    server.feed(input.as_bytes());
    assert_eq!(
        server.out.escape_ascii().to_string(),
        replies.as_bytes().escape_ascii().to_string()
    );
}

#[track_caller]
fn check_step(input: &[u8], expect: Step<'_>) {
    assert_eq!(parse(input, &Limits::default()), expect);
}

#[test]
fn every_command_and_every_reply() {
    check("set k 5 0 2\r\n41\r\nincr k 1\r\ndecr k 2\r\n", "STORED\r\n42\r\n40\r\n");
    check(
        "set k 5 0 2\r\nhi\r\nget k nope k\r\n",
        "STORED\r\nVALUE k 5 2\r\nhi\r\nVALUE k 5 2\r\nhi\r\nEND\r\n",
    );
    check("set k 5 0 2\r\nhi\r\ngets k\r\n", "STORED\r\nVALUE k 5 2 7\r\nhi\r\nEND\r\n");
    check("replace k 0 0 1\r\na\r\nadd k 0 0 1\r\na\r\n", "NOT_STORED\r\nSTORED\r\n");
    check(
        "add k 0 0 1\r\na\r\ntouch k 9\r\ndelete k\r\ndelete k\r\n",
        "STORED\r\nTOUCHED\r\nDELETED\r\nNOT_FOUND\r\n",
    );
    check(
        "flush_all\r\nflush_all 10\r\nverbosity 1\r\nversion\r\n",
        "OK\r\nOK\r\nOK\r\nVERSION 1.6.18\r\n",
    );
    check(
        "stats\r\nstats \r\nstats reset\r\n",
        "STAT pid 1\r\nEND\r\nSTAT pid 1\r\nEND\r\nRESET\r\n",
    );
    check("stats  detail  dump \r\n", "ERROR\r\n");
    check(
        "append k 0 0 1\r\nx\r\nset k 5 0 2\r\nhi\r\nappend k 0 0 1\r\n!\r\nprepend k 0 0 1\r\n-\r\n\
         gat 10 k\r\ngats 10 k nope\r\ngat 10\r\nbget k\r\n",
        "NOT_STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\nVALUE k 5 4\r\n-hi!\r\nEND\r\n\
         VALUE k 5 4 7\r\n-hi!\r\nEND\r\nEND\r\nVALUE k 5 4\r\n-hi!\r\nEND\r\n",
    );
    check(
        "cas k 0 0 1 7\r\na\r\nset k 0 0 1\r\na\r\ncas k 0 0 1 8\r\nb\r\ncas k 0 0 1 7\r\nb\r\n",
        "NOT_FOUND\r\nSTORED\r\nEXISTS\r\nSTORED\r\n",
    );
    check(
        "mg k v\r\nms k 2\r\nhi\r\nmg k\r\nme k\r\nmg aw== b\r\nmd x q\r\nma x\r\nmn\r\nmn x\r\n",
        "EN\r\nHD\r\nHD\r\nHD\r\nHD\r\nNF\r\nNF\r\nMN\r\nMN\r\n",
    );
    check("version\r\nquit\r\nversion\r\n", "VERSION 1.6.18\r\n");
}

#[test]
fn noreply_silences_every_command_that_has_it() {
    check(
        "set k 0 0 1 noreply\r\n1\r\nadd k 0 0 1 noreply\r\n1\r\nreplace k 0 0 1 noreply\r\n1\r\n\
         incr k 1 noreply\r\ndecr k 1 noreply\r\ntouch k 0 noreply\r\nverbosity 1 noreply\r\n\
         append k 0 0 1 noreply\r\n1\r\nprepend k 0 0 1 noreply\r\n1\r\n\
         cas k 0 0 1 7 noreply\r\n1\r\ncas k 0 0 1 x noreply\r\n1\r\n\
         cache_memlimit 64 noreply\r\nwatch noreply\r\n\
         delete k noreply\r\nflush_all noreply\r\nflush_all 1 noreply\r\nget k\r\n",
        "END\r\n",
    );
}

#[test]
fn hostile_inputs_are_answered_as_the_table_says() {
    let table = CASES.iter().map(|(name, input, expect)| (*name, input.to_vec(), *expect));
    for (name, input, expect) in table.chain(large()) {
        let (wanted, closes) = match expect.ours() {
            Expect::Reply(bytes) => ([bytes, PROBE_REPLY].concat(), false),
            Expect::Close(bytes) => (bytes.to_vec(), true),
            Expect::Differs { .. } => unreachable!("no difference is nested in another"),
        };
        // In one read, and in many.
        for bytes in [input.len(), (input.len() / 50).max(1)] {
            let mut server = Server::default();
            input.chunks(bytes).for_each(|chunk| server.feed(chunk));
            server.feed(PROBE);
            let out = server.out.escape_ascii().to_string();
            assert_eq!(out, wanted.escape_ascii().to_string(), "{name}");
            assert_eq!(server.closed, closes, "{name}");
        }
    }
}

#[test]
fn a_line_of_the_longest_length_passes() {
    let limits = Limits::default();
    let longest = [b"x".repeat(limits.line_bytes), b"\n".to_vec()].concat();
    let refused = Step::Refuse {
        error: Some(Error::Unknown),
        consumed: longest.len(),
        swallow: 0,
        forget: None,
    };
    check_step(&longest, refused);
    check_step(&longest[..limits.line_bytes], Step::NeedMore { at_least: longest.len() });
    check_step(&b"x".repeat(limits.line_bytes + 1), Step::Close { error: None });

    let keys = [b"get".to_vec(), b" kk".repeat(limits.get_line_bytes / 3)].concat();
    let longest = &keys[..limits.get_line_bytes];
    check_step(longest, Step::NeedMore { at_least: longest.len() + 1 });
    check_step(&[longest, b"k"].concat(), Step::Close { error: Some(Error::LineTooLong) });
}

#[test]
fn an_empty_buffer_asks_for_a_byte() {
    check_step(b"", Step::NeedMore { at_least: 1 });
}

#[test]
fn a_data_block_is_asked_for_as_a_whole() {
    let whole = b"set k 0 0 5\r\n".len() + b"hello\r\n".len();
    for input in [&b"set k 0 0 5\r\n"[..], b"set k 0 0 5\r\nhello", b"set k 0 0 5\r\nhello\r"] {
        check_step(input, Step::NeedMore { at_least: whole });
    }
}

#[test]
fn a_block_too_large_is_refused_before_it_comes() {
    check_step(
        b"set k 0 0 2000000\r\nvvv",
        Step::Refuse {
            error: Some(Error::TooLarge),
            consumed: b"set k 0 0 2000000\r\n".len(),
            swallow: 2_000_002,
            forget: Some(MetaKey::plain(b"k")),
        },
    );
    let step = parse(b"ms aw== 2000000 b q\r\n", &Limits::default());
    let Step::Refuse { error: Some(Error::TooLarge), forget: Some(key), .. } = step else {
        panic!("{step:?}");
    };
    assert_eq!(key.decode(&mut MetaKeyRoom::default()), b"k", "also where it is quiet");
}

#[test]
fn flags_are_told_in_their_order_with_their_values() {
    let line = b"mg k s v Oabc N30 R-1 T0 C18446744073709551615 F5 MI J1 D2 L P q\r\n";
    let Step::Request { request: Request::MetaGet { flags, .. }, .. } =
        parse(line, &Limits::default())
    else {
        panic!("it is a request");
    };
    let got: Vec<_> = flags.iter().collect();
    assert_eq!(
        got,
        [
            MetaFlag::Size,
            MetaFlag::Value,
            MetaFlag::Opaque(b"abc"),
            MetaFlag::Vivify(30),
            MetaFlag::Recache(-1),
            MetaFlag::Expire(0),
            MetaFlag::Compare(u64::MAX),
            MetaFlag::SetClientFlags(5),
            MetaFlag::Mode(b'I'),
            MetaFlag::Initial(1),
            MetaFlag::Delta(2),
            MetaFlag::Ignored,
            MetaFlag::Ignored,
            MetaFlag::Quiet,
        ]
    );
    assert_eq!(flags.arithmetic_mode(), Some(ArithmeticMode::Incr));
    assert_eq!(flags.store_mode(), None, "`ms` has no such mode");
}

#[test]
fn numbers_are_read_to_their_very_ends() {
    let incr = |delta| Step::Request {
        request: Request::Incr { key: b"k", delta, noreply: false },
        consumed: 28,
    };
    check_step(b"incr k 18446744073709551615\n", incr(u64::MAX));
    check_step(b"incr k 09999999999999999999\n", incr(9_999_999_999_999_999_999));
    for (text, value) in [
        (&b"-9223372036854775808"[..], Some(i64::MIN)),
        (b"-9223372036854775809", None),
        (b"9223372036854775807", Some(i64::MAX)),
        (b"9223372036854775808", None),
        (b"-0", Some(0)),
        (b"\t-1\r", Some(-1)),
        (b"-", None),
        (b"\t", None),
        (b"", None),
    ] {
        assert_eq!(number::signed(text), value, "{}", text.escape_ascii());
    }
}

#[test]
fn a_value_of_the_largest_size_passes() {
    let limits = Limits { item_bytes: 4, ..Limits::default() };
    let fits = parse(b"set k 0 0 4\r\n1234\r\n", &limits);
    assert!(matches!(fits, Step::Request { .. }), "{fits:?}");
    let over = parse(b"set k 0 0 5\r\n12345\r\n", &limits);
    assert!(
        matches!(over, Step::Refuse { error: Some(Error::TooLarge), swallow: 7, .. }),
        "{over:?}"
    );
}

#[test]
fn every_error_is_one_line() {
    assert_eq!(Error::Unknown.to_string(), "ERROR");
    for error in [Error::NotNumeric, Error::OutOfMemory, Error::TooManyConnections, Error::Binary] {
        let mut out = Vec::new();
        Reply::Error(error).write_to(&mut out);
        assert_eq!(out, format!("{error}\r\n").into_bytes());
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
    }
}

/// The parts of any request; `request` puts together those that its kind has.
#[derive(Clone, Debug)]
struct Parts {
    kind: u8,
    keys: Vec<Vec<u8>>,
    line: Vec<u8>,
    flags: u32,
    exptime: i64,
    delta: u64,
    value: Vec<u8>,
    noreply: bool,
    /// Flags of a meta command, without `b` and `M`, which say more than a flag may here.
    meta: Vec<u8>,
}

impl Parts {
    fn request(&self) -> Request<'_> {
        let Self { exptime, delta, noreply, .. } = *self;
        let (key, value) = (&*self.keys[0], &*self.value);
        let meta = MetaKey::plain(key);
        let flags = MetaFlags::new(&self.meta).expect("flags are valid");
        match self.kind {
            0 | 1 => {
                let keys = Keys::new(&self.line, &Limits::default()).expect("keys are valid");
                Request::Get { keys, cas: self.kind == 1 }
            }
            2..=4 | 14 | 15 => {
                let verb = match self.kind {
                    2 => StoreVerb::Set,
                    3 => StoreVerb::Add,
                    4 => StoreVerb::Replace,
                    14 => StoreVerb::Append,
                    _ => StoreVerb::Prepend,
                };
                Request::Store { verb, key, flags: self.flags, exptime, value, noreply }
            }
            5 => Request::Delete { key, noreply },
            6 => Request::Incr { key, delta, noreply },
            7 => Request::Decr { key, delta, noreply },
            8 => Request::Touch { key, exptime, noreply },
            9 => Request::FlushAll { delay: exptime, noreply },
            10 => Request::Version,
            11 => Request::Verbosity { noreply },
            12 => Request::Stats { arg: &self.line },
            13 => Request::Quit,
            16 => Request::Cas { key, flags: self.flags, exptime, unique: delta, value, noreply },
            17 | 18 => {
                let keys = Keys::new(&self.line, &Limits::default()).expect("keys are valid");
                Request::GetAndTouch { keys, cas: self.kind == 18, exptime }
            }
            19 => Request::MetaGet { key: meta, flags },
            20 => Request::MetaSet { key: meta, flags, value },
            21 => Request::MetaDelete { key: meta, flags },
            22 => Request::MetaArithmetic { key: meta, flags },
            23 => Request::MetaDebug { key: meta },
            24 => Request::MetaNoOp,
            25 => Request::Shutdown { mode: ShutdownMode::AtOnce },
            26 => Request::Shutdown { mode: ShutdownMode::Graceful },
            _ => Request::Shutdown { mode: ShutdownMode::Unknown },
        }
    }

    fn printed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.request().write_to(&mut out);
        out
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("parts words or ends the line", |byte| {
        !matches!(byte, 0 | b' ' | b'\r' | b'\n')
    });
    prop_oneof![
        4 => proptest::collection::vec(byte.clone(), 1..=40),
        1 => proptest::collection::vec(byte, 250),
        1 => Just(b"noreply".to_vec()),
    ]
}

/// Some flags of a meta command, none twice, in any order.
fn meta_flags() -> impl Strategy<Value = Vec<u8>> {
    let all = (any::<i64>(), any::<u64>(), any::<u32>()).prop_map(|(secs, number, flags)| {
        let plain = "c f h k l q s t u v I L P".split(' ').map(str::to_owned);
        let valued = [
            format!("T{secs}"),
            format!("N{secs}"),
            format!("R{secs}"),
            format!("C{number}"),
            format!("D{number}"),
            format!("J{number}"),
            format!("F{flags}"),
            format!("O{number}x"),
        ];
        plain.chain(valued).collect::<Vec<_>>()
    });
    let some = all.prop_flat_map(|all| proptest::sample::subsequence(all, 0..=16).prop_shuffle());
    some.prop_map(|words| words.join(" ").into_bytes())
}

fn parts() -> impl Strategy<Value = Parts> {
    let keys = proptest::collection::vec(key(), 1..6);
    let value =
        proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..60);
    let numbers = (any::<u32>(), any::<i64>(), any::<u64>());
    (0..28_u8, keys, numbers, value, any::<bool>(), meta_flags()).prop_map(
        |(kind, keys, (flags, exptime, delta), value, noreply, meta)| {
            let line = keys.join(&b' ');
            Parts { kind, keys, line, flags, exptime, delta, value, noreply, meta }
        },
    )
}

/// Bytes that look like the protocol for a while.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "get",
            "gets",
            "set",
            "add",
            "replace",
            "incr",
            "decr",
            "delete",
            "touch",
            "flush_all",
            "version",
            "verbosity",
            "stats",
            "append",
            "cas",
            "gat",
            "mg",
            "ms",
            "md",
            "ma",
            "me",
            "mn",
            "shutdown",
            "lru_crawler",
            "cache_memlimit",
            "b",
            "k",
            "q",
            "T30",
            "Zm9v",
            "ms k 3 T1 c\r\nabc\r\n",
            "ms k 3 x\r\nabc\r\n",
            "cas k 0 0 3 x\r\nabc\r\n",
            "noreply",
            " ",
            " ",
            " ",
            "0",
            "1",
            "3",
            "-1",
            "99999999999999999999",
            "\r\n",
            "\r\n",
            "\n",
            "\r",
            "\0",
            "abc",
            "HTTP/1.1",
            "set k 0 0 3\r\nabc\r\n",
            "set k x 0 3\r\n",
            "set k 0 0 9999999 noreply\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

#[test]
fn how_much_of_a_long_line_was_read_does_not_matter() {
    // Blanks up to a limit smaller than memcached's hundred: the verb stands behind it.
    let limits = Limits { line_bytes: 64, get_line_bytes: 128, ..Limits::default() };
    for (blanks, is_taken) in [(60, true), (61, false), (80, false)] {
        let line = format!("{}get {}\r\n", " ".repeat(blanks), "k".repeat(30));
        let whole = parse(line.as_bytes(), &limits);
        assert_eq!(matches!(whole, Step::Request { .. }), is_taken, "{blanks} blanks");
        for at in 0..line.len() {
            let step = parse(&line.as_bytes()[..at], &limits);
            assert!(
                matches!(step, Step::NeedMore { .. }) || step == whole,
                "{blanks}, {at}: {step:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_parsed_back(parts in parts(), behind in nearly()) {
        let printed = parts.printed();
        let stream = [printed.clone(), behind].concat();
        let expect = Step::Request { request: parts.request(), consumed: printed.len() };
        prop_assert_eq!(parse(&stream, &Limits::default()), expect);
        for length in 0..printed.len() {
            let step = parse(&printed[..length], &Limits::default());
            let more = matches!(step, Step::NeedMore { at_least }
                if (length + 1..=printed.len()).contains(&at_least));
            prop_assert!(more, "{step:?} of {length} bytes");
        }
    }

    #[test]
    fn any_cut_gives_the_same_requests(
        requests in proptest::collection::vec(parts(), 0..5),
        behind in nearly(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut stream: Vec<u8> = requests.iter()
            .filter(|parts| parts.kind != 13)
            .flat_map(Parts::printed)
            .collect();
        stream.extend_from_slice(&behind);
        let mut whole = Server::default();
        whole.feed(&stream);
        let mut cut = Server::default();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        for pair in places.windows(2) {
            cut.feed(&stream[pair[0]..pair[1]]);
        }
        let mut dripped = Server::default();
        for byte in &stream {
            dripped.feed(std::slice::from_ref(byte));
        }
        for other in [cut, dripped] {
            prop_assert_eq!(&whole.log, &other.log);
            prop_assert_eq!(whole.out.escape_ascii().to_string(), other.out.escape_ascii().to_string());
        }
    }

    #[test]
    fn any_bytes_make_progress(bytes in prop_oneof![
        nearly(),
        proptest::collection::vec(any::<u8>(), 0..5000),
    ]) {
        // The server asserts it at every step.
        Server::default().feed(&bytes);
    }

    #[test]
    fn numbers_are_read_as_rust_reads_them(number in any::<i64>()) {
        let text = number.to_string();
        prop_assert_eq!(number::signed(text.as_bytes()), Some(number));
        let wanted = u64::try_from(number).ok();
        prop_assert_eq!(number::unsigned(text.as_bytes()), wanted);
    }
}
