//! What a client should not send, and what memcached 1.6.18 answers to it, byte for byte.
//!
//! The table is data alone, so that the parser's own tests and the tests over a socket can both go
//! through it. Each case stands on its own: the keys it reads it has written. Unless it ends the
//! connection, a case leaves it between two requests; send [`PROBE`] behind it and look for
//! [`PROBE_REPLY`] to see that reading has found its way again.
//!
//! Every line was checked against a running memcached 1.6.18; `hostile.rs` does so again whenever
//! it is given one. Where tallyd differs on purpose, the case says how and why.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "one table for several tests, each of which reads its own part of it"
)]

/// What comes back.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// These bytes, and the connection goes on.
    Reply(&'static [u8]),
    /// These bytes, and the connection ends.
    Close(&'static [u8]),
    /// tallyd and memcached differ.
    Differs {
        /// What tallyd answers.
        ours: &'static Expect,
        /// What memcached answers.
        memcached: &'static Expect,
        /// Why.
        reason: &'static str,
    },
}

impl Expect {
    /// What tallyd answers.
    #[must_use]
    pub const fn ours(self) -> Self {
        match self {
            Differs { ours, .. } => *ours,
            same => same,
        }
    }

    /// What memcached answers.
    #[must_use]
    pub const fn memcached(self) -> Self {
        match self {
            Differs { memcached, .. } => *memcached,
            same => same,
        }
    }
}

use Expect::{Close, Differs, Reply};

/// A request that any healthy connection answers at once; no case writes its key.
pub const PROBE: &[u8] = b"get -\r\n";

/// The answer to [`PROBE`].
pub const PROBE_REPLY: &[u8] = b"END\r\n";

const BAD_LINE: Expect = Reply(b"CLIENT_ERROR bad command line format\r\n");
const BAD_DELTA: Expect = Reply(b"STORED\r\nCLIENT_ERROR invalid numeric delta argument\r\n");
const BAD_DELETE: Expect =
    Reply(b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
const BAD_LINE_THEN_ERROR: Expect = Reply(b"CLIENT_ERROR bad command line format\r\nERROR\r\n");
const ERROR: Expect = Reply(b"ERROR\r\n");
const TOO_LARGE: Expect = Reply(b"SERVER_ERROR object too large for cache\r\n");
const SILENT: Expect = Reply(b"");

const BLOCK_IS_NO_COMMAND: &str = "a refused value is never read as commands";
const NO_WRAPPING: &str = "a number is kept whole or refused, never cut to 32 bits or wrapped";
const NOT_THERE: &str =
    "tallyd has none of it, and answers like a memcached that has it switched off";
const LENGTH_ALONE: &str = "memcached's answer depends on how the line was cut between reads";

macro_rules! key250 {
    () => {
        "\
kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\
"
    };
}

/// Name, what is sent, what comes back.
pub const CASES: &[(&str, &[u8], Expect)] = &[
    ("empty line", b"\r\n", ERROR),
    ("bare line feed", b"\n", ERROR),
    ("blanks only", b"   \r\n", ERROR),
    ("one letter", b"a\r\n", ERROR),
    ("undocumented verb", b"bget k\r\n", Reply(b"END\r\n")),
    ("unknown verb", b"frobnicate k 1\r\n", ERROR),
    ("upper case verb", b"GET k\r\n", ERROR),
    ("mixed case verb", b"Set k 0 0 1\r\n1\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("verb with a tail", b"getx k\r\n", ERROR),
    ("tab for a blank", b"get\tk\r\n", ERROR),
    (
        "line feed ends a line",
        b"set lf 0 0 1\n1\r\nget lf\n",
        Reply(b"STORED\r\nVALUE lf 0 1\r\n1\r\nEND\r\n"),
    ),
    ("blanks around the words", b"  get   a   b  \r\n", Reply(b"END\r\n")),
    ("two carriage returns", b"set cr 0 0 1\r\n1\r\nget cr\r\r\n", Reply(b"STORED\r\nEND\r\n")),
    ("version with words", b"quiet\r\nversionx\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("get without a key", b"get\r\nget \r\ngets\r\n", Reply(b"ERROR\r\nERROR\r\nERROR\r\n")),
    ("quit ends it in the middle", b"get a\r\nquit\r\nget a\r\n", Close(b"END\r\n")),
    ("quit with words", b"quit now please\r\n", Close(b"")),
    ("delete: key of 251 bytes", concat!("delete ", key250!(), "x\r\n").as_bytes(), BAD_LINE),
    ("touch: key of 251 bytes", concat!("touch ", key250!(), "x 0\r\n").as_bytes(), BAD_LINE),
    ("incr: key of 251 bytes", concat!("incr ", key250!(), "x 1\r\n").as_bytes(), BAD_LINE),
    ("get: key of 251 bytes", concat!("get ", key250!(), "x\r\n").as_bytes(), BAD_LINE),
    (
        "get: one key of many too long",
        concat!("set g 0 0 1\r\n1\r\nget g ", key250!(), "x g\r\n").as_bytes(),
        Differs {
            ours: &Reply(b"STORED\r\nCLIENT_ERROR bad command line format\r\n"),
            memcached: &BAD_LINE,
            reason: "memcached drops the replies to the requests before it that wait to be sent",
        },
    ),
    (
        "delete: key of 251 bytes, noreply",
        concat!("delete ", key250!(), "x noreply\r\n").as_bytes(),
        SILENT,
    ),
    ("get: key of 250 bytes", concat!("get ", key250!(), "\r\n").as_bytes(), Reply(b"END\r\n")),
    (
        "set: key of 251 bytes",
        concat!("set ", key250!(), "x 0 0 3\r\nabc\r\n").as_bytes(),
        Differs { ours: &BAD_LINE, memcached: &BAD_LINE_THEN_ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "set: key of 251 bytes, noreply",
        concat!("set ", key250!(), "x 0 0 3 noreply\r\nabc\r\n").as_bytes(),
        Differs { ours: &SILENT, memcached: &ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "set: commands in a refused value",
        b"set in x 0 13\r\ndelete victim\r\n",
        Differs {
            ours: &BAD_LINE,
            memcached: &Reply(b"CLIENT_ERROR bad command line format\r\nNOT_FOUND\r\n"),
            reason: BLOCK_IS_NO_COMMAND,
        },
    ),
    ("set: negative length", b"set n 0 0 -1\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    ("set: length is no number", b"set n 0 0 abc\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    ("set: length with a tail", b"set n 0 0 3x\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    ("set: hexadecimal length", b"set n 0 0 0x3\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    ("set: length past 2^31", b"set n 0 0 2147483648\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    (
        "set: longest length refused by form",
        b"set n 0 0 2147483646\r\nabc\r\n",
        BAD_LINE_THEN_ERROR,
    ),
    (
        "set: length past 2^32",
        b"set n 0 0 4294967299\r\nabc\r\n",
        Differs {
            ours: &BAD_LINE_THEN_ERROR,
            memcached: &Reply(b"STORED\r\n"),
            reason: NO_WRAPPING,
        },
    ),
    ("set: length past 2^64", b"set n 0 0 99999999999999999999\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    ("set: length with plus and zeros", b"set n 0 0 +03\r\nabc\r\n", Reply(b"STORED\r\n")),
    ("set: negative length, noreply", b"set n 0 0 -1 noreply\r\nabc\r\n", ERROR),
    (
        "set: largest flags",
        b"set f 4294967295 0 1\r\n1\r\nget f\r\n",
        Reply(b"STORED\r\nVALUE f 4294967295 1\r\n1\r\nEND\r\n"),
    ),
    (
        "set: flags past 2^32",
        b"set f 4294967296 0 3\r\nabc\r\n",
        Differs { ours: &BAD_LINE, memcached: &Reply(b"STORED\r\n"), reason: NO_WRAPPING },
    ),
    (
        "set: negative flags",
        b"set f -1 0 3\r\nabc\r\n",
        Differs { ours: &BAD_LINE, memcached: &BAD_LINE_THEN_ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "set: expiry past 2^63",
        b"set e 0 9223372036854775808 3\r\nabc\r\n",
        Differs { ours: &BAD_LINE, memcached: &BAD_LINE_THEN_ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "set: expiry in January 2038",
        b"set e 0 2147483648 3\r\nabc\r\nget e\r\n",
        Differs {
            ours: &Reply(b"STORED\r\nVALUE e 0 3\r\nabc\r\nEND\r\n"),
            memcached: &Reply(b"STORED\r\nEND\r\n"),
            reason: NO_WRAPPING,
        },
    ),
    ("set: negative expiry", b"set e 0 -1 3\r\nabc\r\nget e\r\n", Reply(b"STORED\r\nEND\r\n")),
    ("set: a word short", b"set s 0 0\r\nabc\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("set: a word over", b"set s 0 0 3 noreply x\r\nabc\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("set: noreply where the length belongs", b"set s 0 0 noreply\r\nabc\r\n", ERROR),
    ("set: another word for noreply", b"set s 0 0 3 NOREPLY\r\nabc\r\n", Reply(b"STORED\r\n")),
    (
        "set: block one byte over",
        b"set c 0 0 3\r\nabcd\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    (
        "set: block two bytes over",
        b"set c 0 0 3\r\nabcde\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    ("set: block two bytes over, noreply", b"set c 0 0 3 noreply\r\nabcde\r\n", ERROR),
    (
        "set: block ends in a bare line feed",
        b"set c 0 0 3\r\nabc\nget a\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    (
        "set: block too short eats the next line",
        b"set c 0 0 3\r\na\r\nget a\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    (
        "set: no block at all",
        b"set c 0 0 0\r\nget a\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    (
        "set: a bad block leaves the old value",
        b"set c 0 0 1\r\n1\r\nset c 0 0 1\r\nxyz\r\nget c\r\n",
        Reply(
            b"STORED\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nVALUE c 0 1\r\n\
              1\r\nEND\r\n",
        ),
    ),
    (
        "set: line ends are data inside a block",
        b"set c 0 0 8\r\n\r\nquit\r\n\r\nget c\r\n",
        Reply(b"STORED\r\nVALUE c 0 8\r\n\r\nquit\r\n\r\nEND\r\n"),
    ),
    (
        "incr: no delta",
        b"incr n\r\nincr n \r\nincr\r\ndecr n\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\nERROR\r\n"),
    ),
    ("incr: delta is negative", b"set i 0 0 1\r\n5\r\nincr i -1\r\n", BAD_DELTA),
    ("incr: delta is a word", b"set i 0 0 1\r\n5\r\nincr i abc\r\n", BAD_DELTA),
    ("incr: delta is with a tail", b"set i 0 0 1\r\n5\r\nincr i 1x\r\n", BAD_DELTA),
    ("incr: delta is a fraction", b"set i 0 0 1\r\n5\r\nincr i 1.5\r\n", BAD_DELTA),
    ("incr: delta is hexadecimal", b"set i 0 0 1\r\n5\r\nincr i 0x1\r\n", BAD_DELTA),
    ("incr: delta is 2^64", b"set i 0 0 1\r\n5\r\nincr i 18446744073709551616\r\n", BAD_DELTA),
    ("incr: delta is sign alone", b"set i 0 0 1\r\n5\r\nincr i +\r\n", BAD_DELTA),
    (
        "incr: delta wraps below -2^63",
        b"set i 0 0 1\r\n5\r\nincr i -9223372036854775809\r\n",
        Differs {
            ours: &BAD_DELTA,
            memcached: &Reply(b"STORED\r\n9223372036854775812\r\n"),
            reason: NO_WRAPPING,
        },
    ),
    (
        "incr: odd but valid deltas",
        b"set i 0 0 1\r\n5\r\nincr i +1\r\nincr i -0\r\nincr i 0001\r\n\
              incr i \t1\r\nincr i 1\tx\r\n",
        Reply(b"STORED\r\n6\r\n6\r\n7\r\n8\r\n9\r\n"),
    ),
    (
        "incr: past 2^64 wraps",
        b"set i 0 0 1\r\n5\r\nincr i 18446744073709551615\r\n",
        Reply(b"STORED\r\n4\r\n"),
    ),
    ("incr: bad delta, noreply", b"incr i abc noreply\r\n", SILENT),
    ("incr: noreply where the delta belongs", b"incr i noreply\r\n", SILENT),
    ("incr: a word over", b"incr i 1 noreply x\r\n", ERROR),
    (
        "incr: another word for noreply",
        b"set i 0 0 1\r\n5\r\nincr i 1 x\r\n",
        Reply(b"STORED\r\n6\r\n"),
    ),
    (
        "incr: value is no number",
        b"set t 0 0 3\r\nabc\r\nincr t 1\r\n",
        Reply(
            b"STORED\r\n\
              CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
    ),
    (
        "delete: hold times",
        b"delete d 0\r\ndelete d 0 noreply\r\ndelete d noreply\r\n",
        Reply(b"NOT_FOUND\r\n"),
    ),
    ("delete: hold time 5", b"delete d 5\r\n", BAD_DELETE),
    ("delete: hold time -1", b"delete d -1\r\n", BAD_DELETE),
    ("delete: hold time 00", b"delete d 00\r\n", BAD_DELETE),
    ("delete: hold time two words", b"delete d 0 0\r\n", BAD_DELETE),
    ("delete: hold time noreply not last", b"delete d noreply x\r\n", BAD_DELETE),
    ("delete: hold time 5, noreply", b"delete d 5 noreply\r\n", SILENT),
    ("delete: words over", b"delete d 0 noreply x\r\ndelete\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("touch: no expiry", b"touch t\r\ntouch\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    (
        "touch: expiry is a word",
        b"touch t x\r\ntouch t 1x\r\ntouch t x noreply\r\n\
              touch t noreply\r\n",
        Reply(
            b"CLIENT_ERROR invalid exptime argument\r\n\
              CLIENT_ERROR invalid exptime argument\r\n",
        ),
    ),
    (
        "flush_all: odd but valid",
        b"flush_all -1\r\nflush_all 0\r\nflush_all \r\nflush_all noreply\r\n\
              flush_all 0 noreply\r\nflush_all 0 x\r\n",
        Reply(b"OK\r\nOK\r\nOK\r\nOK\r\n"),
    ),
    (
        "flush_all: delay is a word",
        b"flush_all x\r\nflush_all noreply x\r\nflush_all x noreply\r\n\
              flush_all noreply noreply\r\n",
        Reply(
            b"CLIENT_ERROR invalid exptime argument\r\n\
              CLIENT_ERROR invalid exptime argument\r\n",
        ),
    ),
    ("flush_all: words over", b"flush_all 0 noreply x\r\n", ERROR),
    (
        "verbosity: no level",
        b"verbosity\r\nverbosity \r\nverbosity 1 2 3\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\n"),
    ),
    (
        "verbosity: levels",
        b"verbosity 1\r\nverbosity x\r\nverbosity -1\r\n\
              verbosity 1 noreply\r\nverbosity noreply\r\n",
        Reply(
            b"OK\r\nCLIENT_ERROR bad command line format\r\n\
              CLIENT_ERROR bad command line format\r\n",
        ),
    ),
    ("gat: no expiry", b"gat\r\ngats\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("gat: no key", b"gat 10\r\n", Reply(b"END\r\n")),
    (
        "gat: expiry is a word",
        b"gat x a\r\ngats x\r\n",
        Reply(
            b"CLIENT_ERROR invalid exptime argument\r\n\
              CLIENT_ERROR invalid exptime argument\r\n",
        ),
    ),
    ("gat: key of 251 bytes", concat!("gat 0 ", key250!(), "x\r\n").as_bytes(), BAD_LINE),
    ("append: nothing there", b"append ap 0 0 1\r\nx\r\n", Reply(b"NOT_STORED\r\n")),
    ("append: a word short", b"append ap 0 0\r\n", ERROR),
    (
        "prepend: block one byte over",
        b"prepend ap 0 0 1\r\nxy\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    ("cas: nothing there", b"cas cs 0 0 1 0\r\nx\r\n", Reply(b"NOT_FOUND\r\n")),
    ("cas: a word short", b"cas cs 0 0 1\r\nx\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    ("cas: a word over", b"cas cs 0 0 1 1 noreply x\r\n", ERROR),
    (
        "cas: noreply where the number belongs",
        b"cas cs 0 0 1 noreply\r\nx\r\n",
        Differs { ours: &SILENT, memcached: &ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "cas: the number is a word",
        b"cas cs 0 0 1 x\r\ny\r\n",
        Differs { ours: &BAD_LINE, memcached: &BAD_LINE_THEN_ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "cas: the number is negative",
        b"cas cs 0 0 1 -1\r\ny\r\n",
        Differs { ours: &BAD_LINE, memcached: &BAD_LINE_THEN_ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "meta: no key",
        b"mg\r\nmd\r\nma\r\nms\r\nme\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\nERROR\r\nCLIENT_ERROR bad command line format\r\n"),
    ),
    ("meta: no such command", b"mx k\r\nmgx k\r\nmnx\r\n", Reply(b"ERROR\r\nERROR\r\nERROR\r\n")),
    ("mn: with words", b"mn\r\nmn k q\r\n", Reply(b"MN\r\nMN\r\n")),
    ("mg: key of 251 bytes", concat!("mg ", key250!(), "x v\r\n").as_bytes(), BAD_LINE),
    ("md: key of 251 bytes", concat!("md ", key250!(), "x\r\n").as_bytes(), BAD_LINE),
    ("me: key of 251 bytes", concat!("me ", key250!(), "x\r\n").as_bytes(), BAD_LINE),
    (
        "ms: key of 251 bytes",
        concat!("ms ", key250!(), "x 3\r\nabc\r\n").as_bytes(),
        Differs { ours: &BAD_LINE, memcached: &BAD_LINE_THEN_ERROR, reason: BLOCK_IS_NO_COMMAND },
    ),
    (
        "mg: flags that are none",
        b"mg m !\r\nmg m x\r\nmg m E\r\nmg m S5\r\nmg m v !\r\n",
        Reply(
            b"CLIENT_ERROR invalid flag\r\nCLIENT_ERROR invalid flag\r\n\
              CLIENT_ERROR invalid flag\r\nCLIENT_ERROR invalid flag\r\n\
              CLIENT_ERROR invalid flag\r\n",
        ),
    ),
    (
        "mg: a flag twice",
        b"mg m v v\r\nmg m T1 T2\r\nmg m \x7f\r\nmg m \xff\r\n",
        Reply(
            b"CLIENT_ERROR duplicate flag\r\nCLIENT_ERROR duplicate flag\r\n\
              CLIENT_ERROR duplicate flag\r\nCLIENT_ERROR duplicate flag\r\n",
        ),
    ),
    (
        "mg: values that are no numbers",
        b"mg m T\r\nmg m Tx\r\nmg m N1x\r\nmg m R\r\nmg m C-1\r\n",
        Reply(
            b"CLIENT_ERROR bad token in command line format\r\n\
              CLIENT_ERROR bad token in command line format\r\n\
              CLIENT_ERROR bad token in command line format\r\n\
              CLIENT_ERROR bad token in command line format\r\n\
              CLIENT_ERROR bad token in command line format\r\n",
        ),
    ),
    (
        "mg: values of other commands' flags",
        b"mg m Fx\r\nmg m M\r\nmg m Mxx\r\nmg m Jx\r\nmg m D\r\nmg m Mx J1 D1 F1\r\n",
        Reply(
            b"CLIENT_ERROR bad command line format\r\n\
              CLIENT_ERROR incorrect length for M token\r\n\
              CLIENT_ERROR incorrect length for M token\r\n\
              CLIENT_ERROR invalid numeric initial value\r\n\
              CLIENT_ERROR invalid numeric delta value\r\nEN\r\n",
        ),
    ),
    (
        "mg: the last bad value is told, a flag twice before it",
        b"mg m Tx Jx\r\nmg m Jx Fx\r\nmg m Fx Tx\r\nmg m Tx v v Jx\r\n",
        Reply(
            b"CLIENT_ERROR invalid numeric initial value\r\n\
              CLIENT_ERROR invalid numeric initial value\r\n\
              CLIENT_ERROR bad token in command line format\r\n\
              CLIENT_ERROR duplicate flag\r\n",
        ),
    ),
    (
        "mg: letters without a value may have one",
        b"mg m s1 vv qqq\r\nmg m s1 vv\r\n",
        Reply(b"EN\r\n"),
    ),
    (
        "mg: key that is not base64",
        b"mg Zm9 b\r\nmg %% b\r\nmg Zm9v= b\r\nmg Zm9v==== b v\r\n",
        Reply(
            b"CLIENT_ERROR error decoding key\r\nCLIENT_ERROR error decoding key\r\n\
              CLIENT_ERROR error decoding key\r\nCLIENT_ERROR error decoding key\r\n",
        ),
    ),
    (
        "me: key that is not base64",
        b"me Zm9 b\r\nme Zm9 x\r\n",
        Reply(b"CLIENT_ERROR bad command line format\r\nEN\r\n"),
    ),
    (
        "mg: longest opaque, and one byte more",
        b"mg m O12345678901234567890123456789012\r\n",
        Reply(b"CLIENT_ERROR opaque token too long\r\n"),
    ),
    (
        "mg: flags over",
        b"mg m s v f k t h l Oxyz u q c N1 T1 R1 C1 J1 D1 I\r\n\
          ma m s v f k t h l Oxyz u q c N1 T1 R1 C1 J1 D1 I\r\n\
          md m s v f k t h l Oxyz u q c N1 T1 R1 C1 J1 D1 I\r\n",
        Reply(
            b"CLIENT_ERROR options flags are too long\r\n\
              CLIENT_ERROR options flags too long\r\nCLIENT_ERROR options flags too long\r\n",
        ),
    ),
    (
        "md, ma: any bad flag",
        b"md m !\r\nmd m v v\r\nmd m Tx\r\nma m Dx\r\nma m q q\r\nma Zm9 b\r\n",
        Reply(
            b"CLIENT_ERROR invalid or duplicate flag\r\nCLIENT_ERROR invalid or duplicate flag\r\n\
              CLIENT_ERROR invalid or duplicate flag\r\nCLIENT_ERROR invalid or duplicate flag\r\n\
              CLIENT_ERROR invalid or duplicate flag\r\nCLIENT_ERROR invalid or duplicate flag\r\n",
        ),
    ),
    (
        "ma: modes that are none",
        b"ma m Mx\r\nma m Mi q\r\n",
        Reply(
            b"CLIENT_ERROR invalid mode for ma M token\r\n\
              CLIENT_ERROR invalid mode for ma M token\r\n",
        ),
    ),
    (
        "ma, md: quiet is not silent about what is not there",
        b"ma m q\r\nmd m q\r\n",
        Reply(b"NF\r\nNF\r\n"),
    ),
    ("ms: no length", b"ms m\r\n", BAD_LINE),
    ("ms: length is no number", b"ms m S3\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    ("ms: negative length", b"ms m -1\r\nabc\r\n", BAD_LINE_THEN_ERROR),
    (
        "ms: bad flags take the block along",
        b"ms m 3 x\r\nabc\r\nms m 3 k k\r\nabc\r\nms m 3 Tx\r\nabc\r\nms m 3 Mx\r\nabc\r\n\
          ms m 3 M\r\nabc\r\nms Zm9 3 b\r\nabc\r\nms m 3 Fx q\r\nabc\r\n\
          ms m 3 O12345678901234567890123456789012\r\nabc\r\n",
        Reply(
            b"CLIENT_ERROR invalid flag\r\nCLIENT_ERROR duplicate flag\r\n\
              CLIENT_ERROR bad token in command line format\r\n\
              CLIENT_ERROR invalid mode for ms M token\r\n\
              CLIENT_ERROR incorrect length for M token\r\n\
              CLIENT_ERROR error decoding key\r\nCLIENT_ERROR bad command line format\r\n\
              CLIENT_ERROR opaque token too long\r\n",
        ),
    ),
    (
        "ms: flags over",
        b"ms m 3 s v f k t h l Oxyz u q c N1 T1 R1 C1 J1 D1\r\nabc\r\n",
        Differs {
            ours: &Reply(b"CLIENT_ERROR options flags too long\r\n"),
            memcached: &Reply(b"CLIENT_ERROR options flags too long\r\nERROR\r\n"),
            reason: BLOCK_IS_NO_COMMAND,
        },
    ),
    (
        "ms: a bad block is told also to who wants to hear nothing",
        b"ms m 3 q\r\nabcde\r\n",
        Reply(b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"),
    ),
    (
        "shutdown is not allowed",
        b"shutdown\r\nshutdown graceful\r\nshutdown x y\r\n",
        Reply(
            b"ERROR: shutdown not enabled\r\nERROR: shutdown not enabled\r\n\
              ERROR: shutdown not enabled\r\n",
        ),
    ),
    (
        "cache_memlimit: what is no limit",
        b"cache_memlimit\r\ncache_memlimit x\r\ncache_memlimit 7\r\n\
          cache_memlimit 1000000001\r\ncache_memlimit 1 2 3\r\ncache_memlimit 7 noreply\r\n",
        Reply(
            b"ERROR\r\nERROR\r\nMEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n\
              MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\nERROR\r\n",
        ),
    ),
    (
        "cache_memlimit: a limit",
        b"cache_memlimit 64\r\n",
        Differs {
            ours: &Reply(b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"),
            memcached: &Reply(b"OK\r\n"),
            reason: "how much room there is, the operator says and no client",
        },
    ),
    (
        "slabs",
        b"slabs\r\nslabs reassign 1\r\nslabs x 1 2\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\n"),
    ),
    (
        "slabs reassign",
        b"slabs reassign 1 2\r\n",
        Differs {
            ours: &Reply(b"CLIENT_ERROR slab reassignment disabled\r\n"),
            memcached: &Reply(b"NOSPARE source class has no spare pages\r\n"),
            reason: NOT_THERE,
        },
    ),
    (
        "slabs automove",
        b"slabs automove 0\r\n",
        Differs { ours: &ERROR, memcached: &Reply(b"OK\r\n"), reason: NOT_THERE },
    ),
    (
        "slabs automove: what is no level",
        b"slabs automove\r\nslabs automove x\r\nslabs automove x noreply\r\nslabs automove 3\r\n\
          slabs automove ratio\r\n",
        Reply(b"ERROR\r\nCLIENT_ERROR bad command line format\r\nERROR\r\nERROR\r\n"),
    ),
    (
        "lru",
        b"lru\r\nlru mode\r\nlru tune 1 2\r\nlru x y\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\nERROR\r\n"),
    ),
    (
        "lru mode",
        b"lru mode flat\r\n",
        Differs { ours: &ERROR, memcached: &Reply(b"OK\r\n"), reason: NOT_THERE },
    ),
    (
        "lru_crawler: words missing",
        b"lru_crawler\r\nlru_crawler crawl\r\nlru_crawler x\r\nlru_crawler x y\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\nERROR\r\n"),
    ),
    (
        "lru_crawler",
        b"lru_crawler crawl all\r\n",
        Differs {
            ours: &Reply(b"CLIENT_ERROR lru crawler disabled\r\n"),
            memcached: &Reply(b"OK\r\n"),
            reason: NOT_THERE,
        },
    ),
    (
        "watch",
        b"watch x\r\n",
        Differs {
            ours: &Reply(b"CLIENT_ERROR watch commands not allowed\r\n"),
            memcached: &ERROR,
            reason: NOT_THERE,
        },
    ),
    (
        "extstore",
        b"extstore\r\nextstore x\r\nextstore x y\r\n",
        Reply(b"ERROR\r\nERROR\r\nERROR\r\n"),
    ),
    ("misbehave, debugtime", b"misbehave\r\ndebugtime p\r\n", Reply(b"ERROR\r\nERROR\r\n")),
    (
        "stats: unknown argument",
        b"stats nonsense\r\nstats noreply\r\n",
        Reply(b"ERROR\r\nERROR\r\n"),
    ),
    (
        "NUL ends a line early",
        b"set z 0 0 1\r\n1\r\nget z\0y\r\nincr z\0y 1\r\n",
        Reply(b"STORED\r\nVALUE z 0 1\r\n1\r\nEND\r\nERROR\r\n"),
    ),
    ("NUL first", b"\0get z\r\n", ERROR),
    (
        "NUL in a value is data",
        b"set z 0 0 3\r\na\0b\r\nget z\r\n",
        Reply(b"STORED\r\nVALUE z 0 3\r\na\0b\r\nEND\r\n"),
    ),
    (
        "control bytes in a key",
        b"set \x01\x7f\t\r\x1b 0 0 1\r\n1\r\nget \x01\x7f\t\r\x1b\r\n",
        Reply(b"STORED\r\nVALUE \x01\x7f\t\r\x1b 0 1\r\n1\r\nEND\r\n"),
    ),
    (
        "bytes that are no UTF-8",
        b"set \xff\xfe 0 0 1\r\n1\r\nget \xff\xfe\r\n",
        Reply(b"STORED\r\nVALUE \xff\xfe 0 1\r\n1\r\nEND\r\n"),
    ),
    ("an arrow key", b"\x1b[A\r\n", ERROR),
    ("a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n", ERROR),
    ("HTTP GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Close(b"")),
    (
        "HTTP POST with commands in its body",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nincr a 1\r\n",
        Close(b""),
    ),
    ("HTTP without a method", b"HTTP/1.1\r\n", Close(b"")),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Close(b"")),
    ("HTTP after a request", b"get a\r\nPOST / HTTP/1.1\r\n", Close(b"END\r\n")),
    ("no HTTP: version not last", b"GET / HTTP/1.1 x\r\n", ERROR),
    ("no HTTP: verb of one letter", b"x HTTP/\r\n", ERROR),
    ("no HTTP: a verb that exists", b"get / HTTP/1.1\r\n", Reply(b"END\r\n")),
    (
        "HTTP with a method in lower case",
        b"gop / HTTP/1.1\r\n",
        Differs {
            ours: &Close(b""),
            memcached: &ERROR,
            reason: "memcached gives up looking when the verb's first letter is one of its own",
        },
    ),
    (
        "binary protocol: quit without a reply",
        b"\x80\x17\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        Differs {
            ours: &Close(
                b"CLIENT_ERROR the binary protocol is not supported, use the text protocol\r\n",
            ),
            memcached: &Close(b""),
            reason: "tallyd speaks the text protocol only",
        },
    ),
    (
        "binary magic later on",
        b"get a\r\n\x80\r\n",
        Differs {
            ours: &Close(
                b"END\r\n\
              CLIENT_ERROR the binary protocol is not supported, use the text protocol\r\n",
            ),
            memcached: &Reply(b"END\r\nERROR\r\n"),
            reason: "no text command begins so; the parser needs no memory of the connection",
        },
    ),
];

/// Cases too large to write out.
#[must_use]
pub fn large() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let line = |start: &str, filler: &str, count: usize, end: &str| {
        [start.as_bytes(), filler.repeat(count).as_bytes(), end.as_bytes()].concat()
    };
    vec![
        (
            "2049 bytes before the line feed, in one read",
            line("", "x", 2048, "\r\n"),
            Differs { ours: &Close(b""), memcached: &ERROR, reason: LENGTH_ALONE },
        ),
        ("2048 bytes before the line feed", line("", "x", 2047, "\r\n"), ERROR),
        ("2049 bytes without a line end", line("", "x", 2049, ""), Close(b"")),
        ("3000 bytes of a store line", line("set s 0 0 3", " ", 3000, ""), Close(b"")),
        (
            "3000 bytes and a line end in one read",
            line("", "x", 3000, "\n"),
            Differs { ours: &Close(b""), memcached: &ERROR, reason: LENGTH_ALONE },
        ),
        ("HTTP request line of 3000 bytes", line("POST /", "a", 3000, " HTTP/1.1\r\n"), Close(b"")),
        (
            "HTTP request line of many words",
            line("GET", " x", 40, " HTTP/1.1\r\n"),
            Differs {
                ours: &Close(b""),
                memcached: &ERROR,
                reason: "memcached looks at the first 23 words only",
            },
        ),
        ("retrieval of 1500 keys", line("get", " a", 1500, "\r\n"), Reply(b"END\r\n")),
        ("retrieval of 32768 keys", line("gets", " a", 32_768, "\r\n"), Reply(b"END\r\n")),
        (
            "retrieval of 32769 keys",
            line("get", " a", 32_769, "\r\n"),
            Differs {
                ours: &Reply(b"CLIENT_ERROR too many keys in one request\r\n"),
                memcached: &Reply(b"END\r\n"),
                reason: "a line must not ask for thousands of times what it sends",
            },
        ),
        (
            "retrieval line of 320000 bytes",
            line("get", " aaaaaaaaaaaaaaa", 20_000, "\r\n"),
            Differs {
                ours: &Close(b"CLIENT_ERROR line too long\r\n"),
                memcached: &Reply(b"END\r\n"),
                reason: "memcached has no bound here",
            },
        ),
        ("retrieval after 100 blanks", line("", " ", 100, &long_get()), Reply(b"END\r\n")),
        ("no retrieval after 101 blanks", line("", " ", 101, long_get().trim_end()), Close(b"")),
        ("one key of 3000 bytes", line("get ", "a", 3000, "\r\n"), BAD_LINE),
        ("value of a byte over 1 MiB", value("set v", 1_048_577, ""), TOO_LARGE),
        ("the same, noreply", value("set v", 1_048_577, " noreply"), SILENT),
        ("add of 2 MB", value("add v", 2_000_000, ""), TOO_LARGE),
        (
            "a refused set takes the old value away",
            [&b"set v 0 0 1\r\n1\r\n"[..], &value("set v", 2_000_000, ""), b"get v\r\n"].concat(),
            Reply(b"STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n"),
        ),
        (
            "a refused replace does not",
            [&b"set v 0 0 1\r\n1\r\n"[..], &value("replace v", 2_000_000, ""), b"get v\r\n"]
                .concat(),
            Reply(
                b"STORED\r\nSERVER_ERROR object too large for cache\r\n\
              VALUE v 0 1\r\n1\r\nEND\r\n",
            ),
        ),
        (
            "value of exactly 1 MiB",
            value("set v", 1_048_576, ""),
            Differs {
                ours: &Reply(b"STORED\r\n"),
                memcached: &TOO_LARGE,
                reason: "memcached counts its own header as part of the value",
            },
        ),
    ]
}

fn long_get() -> String {
    format!("get{}\r\n", " a".repeat(1100))
}

fn value(command: &str, bytes: usize, noreply: &str) -> Vec<u8> {
    format!("{command} 0 0 {bytes}{noreply}\r\n{}\r\n", "v".repeat(bytes)).into_bytes()
}
