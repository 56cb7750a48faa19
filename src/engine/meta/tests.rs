//! Conversations, as they go over the wire, under a clock that is moved. Every answer here was given
//! by memcached 1.6.18 as well, but for unique numbers, which are written `#`.

use super::*;
use crate::config::{Config, MissingIncr};
use crate::counters::{Options, ShownNow};
use crate::protocol::{Limits, Request, Step as Parsed, parse};
use crate::time::Span;

struct Talk {
    counters: Counters,
    now: Timestamp,
}

impl Talk {
    fn new() -> Self {
        let Config { memcached, .. } = Config::default();
        let counters = Counters::new(Options {
            missing_incr: MissingIncr::NotFound,
            max_series: 100,
            items_bytes: memcached.items_bytes,
            value_bytes: memcached.max_item_bytes,
            idle_expiry: None,
            metrics: [].into(),
        });
        Self { counters, now: Timestamp::from_secs(1_767_571_200) }
    }

    /// Sends requests, each with its line end, and gives the answer with `|` for line ends.
    fn send(&self, bytes: &str) -> String {
        let bytes = bytes.replace('|', "\r\n") + "\r\n";
        let (mut rest, mut out) = (bytes.as_bytes(), Vec::new());
        let mut counts = Counts::default();
        while !rest.is_empty() {
            let Parsed::Request { request, consumed } = parse(rest, &Limits::default()) else {
                panic!("not a request: {}", rest.escape_ascii())
            };
            rest = &rest[consumed..];
            match request {
                Request::Get { keys, cas } => keys.iter().for_each(|key| {
                    crate::engine::retrieve(
                        &self.counters,
                        key,
                        cas,
                        self.now,
                        &mut counts,
                        &mut out,
                    );
                }),
                Request::GetAndTouch { keys, cas, exptime } => keys.iter().for_each(|key| {
                    crate::engine::retrieve_and_touch(
                        &self.counters,
                        key,
                        cas,
                        exptime,
                        self.now,
                        &mut counts,
                        &mut out,
                    );
                }),
                _ => {
                    crate::engine::apply(&self.counters, &request, self.now, &mut counts, &mut out);
                }
            }
        }
        let text = String::from_utf8(out).unwrap();
        text.strip_suffix("\r\n").unwrap_or(&text).replace("\r\n", "|")
    }

    fn wait(&mut self, secs: u64) {
        for _ in 0..secs {
            self.now = self.now + Span::SECOND;
            self.counters.sweep(self.now, Some(self.now));
            self.counters.drain(self.now, |_| ());
        }
    }

    #[track_caller]
    fn check(&self, bytes: &str, expect: &str) {
        let got = self.send(bytes);
        let unique = regex::Regex::new(" c[1-9][0-9]*").unwrap();
        assert_eq!(unique.replace_all(&got, " c#"), expect, "{bytes}");
    }

    /// The unique number of a key.
    fn unique(&self, key: &str) -> u64 {
        let answer = self.send(&format!("me {key}"));
        let after = answer.split_once(" cas=").expect("a unique number").1;
        after.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

/// The same conversation with a text, a number and a counter under the key.
fn three_kinds(talk: impl Fn(&mut Talk, &str)) {
    for (set, value) in
        [("ms k 3 F5|abc", "abc"), ("ms k 3 F5|123", "123"), ("ma k N0 J1 q|ms k 3 F5|123", "123")]
    {
        let mut on = Talk::new();
        on.send(set);
        talk(&mut on, value);
    }
}

#[test]
fn a_value_is_shown_with_what_the_flags_ask_for_in_their_order() {
    three_kinds(|talk, value| {
        talk.check(
            "mg k s v f k t h l Oxyz u c",
            &format!("VA 3 s3 f5 kk t-1 h0 l0 Oxyz c#|{value}"),
        );
        talk.check("mg k|mg k q|mg k k t", "HD|HD|HD kk t-1");
        talk.check("mg nope v O1 k|mg nope q", "EN O1 knope");
    });
}

#[test]
fn it_is_told_whether_a_value_was_fetched_before() {
    three_kinds(|talk, _| {
        talk.check("mg k h u|mg k h|mg k h u|mg k h", "HD h0|HD h0|HD h1|HD h1");
        talk.send("ms k 1 F1|5");
        talk.check("mg k h u", "HD h0");
        talk.send("get k");
        talk.check("mg k h u", "HD h1");
    });
}

#[test]
fn time_since_the_last_access_goes_on_and_begins_anew() {
    three_kinds(|talk, _| {
        talk.wait(3);
        talk.wait(2);
        talk.check("mg k l u|mg k l|mg k l", "HD l5|HD l5|HD l0");
        talk.wait(4);
        talk.check("mg k l", "HD l4");
        talk.wait(1);
        talk.send("get k");
        talk.check("mg k l", "HD l0");
    });
}

#[test]
fn a_value_expires_when_it_was_told_to() {
    three_kinds(|talk, _| {
        talk.check("mg k t T30 u|mg k t|mg k T20 t", "HD t-1|HD t30|HD t20");
        talk.wait(19);
        talk.check("mg k t|touch k 100|mg k t|gat 50 k|mg k t", &{
            let value = talk.send("get k");
            format!("HD t1|TOUCHED|HD t100|{value}|HD t50")
        });
        talk.check("mg k T0 t|mg k T-1|mg k", "HD t-1|HD|EN");
    });
}

#[test]
fn one_client_is_told_to_make_a_value_anew_before_it_expires() {
    three_kinds(|talk, value| {
        talk.check("mg k R30 t|mg k T20 t", "HD t-1|HD t20");
        talk.check(
            "mg k R10|mg k R20|mg k R21 v|mg k R30 t",
            &format!("HD|HD|VA 3 W|{value}|HD t20 Z"),
        );
        talk.check("ms k 1|x|mg k v", "HD|VA 1|x");
    });
}

#[test]
fn a_missing_value_is_made_and_the_first_who_asks_wins() {
    let mut talk = Talk::new();
    talk.check("mg k s c v N30 t", "VA 0 s0 c# t30 W|");
    talk.check("mg k s t v N30", "VA 0 s0 t30 Z|");
    talk.check("ms k 2 C5000 T120|nu", "EX");
    let unique = talk.unique("k");
    talk.check(&format!("ms k 2 C{unique} T120|mu|mg k v t N30"), "HD|VA 2 t120|mu");
    talk.check("mg q s N30 t q", "HD s0 t30 W");
    talk.wait(30);
    talk.check("mg q", "EN");
}

#[test]
fn a_stale_value_is_served_until_it_is_made_anew() {
    three_kinds(|talk, value| {
        let before = talk.unique("k");
        talk.check(
            "md k I T30|mg k t c v|mg k v",
            &format!("HD|VA 3 t30 c# W X|{value}|VA 3 Z X|{value}").replace("W X", "X W"),
        );
        assert!(talk.unique("k") > before, "whoever holds the old number is too late");
        talk.check("ms k 1 T90 C0|f|ms k 1 C99999|f", "EX|EX");
        talk.check(&format!("ms k 1 I T90 C{before}|f"), "HD");
        talk.check("mg k t v", "VA 1 t30 Z X|f");
        let now = talk.unique("k");
        talk.check(&format!("ms k 1 T90 C{now}|g|mg k t v"), "HD|VA 1 t90|g");
    });
}

#[test]
fn md_asks_for_the_unique_number() {
    three_kinds(|talk, _| {
        talk.check("md k C1234567 k O1|md k C1234567 q", "EX kk O1|EX");
        let unique = talk.unique("k");
        talk.check(&format!("md k C{unique} q|mg k|md k q k"), "EN|NF kk");
    });
}

#[test]
fn ms_stores_in_five_ways() {
    let talk = Talk::new();
    talk.check("ms k 2 MR|no|ms k 2 MA k|no|ms k 2 MP c|no", "NS|NS kk|NS c0");
    talk.check("ms k 2 ME F7 T100 c O9 k|bb|ms k 2 ME|no", "HD c# O9 kk|NS");
    talk.check("ms k 2 MA F1 T5|cc|ms k 2 MP|aa|mg k v f t", "HD|HD|VA 6 f7 t100|aabbcc");
    talk.check("ms k 1 MR C1|x|ms k 1 MA C1|x|ms k 1 MS C1|x|ms x 1 C1|x", "EX|EX|EX|NF");
    let unique = talk.unique("k");
    talk.check(&format!("ms k 1 MA C{unique}|x|ms k 1 MA C0|y|mg k v"), "HD|HD|VA 8|aabbccxy");
    talk.check("ms k 2 q|zz|ms k 2 ME q|zz|mg k v", "NS|VA 2|zz");
}

#[test]
fn append_makes_numbers_and_texts_of_each_other() {
    let talk = Talk::new();
    talk.check(
        "set n 3 0 1|5|append n 0 0 1|7|incr n 1|prepend n 0 0 1|1|incr n 1|append n 0 0 1|a|get n",
        "STORED|STORED|58|STORED|159|STORED|VALUE n 3 4|159a",
    );
    talk.check("set n 0 0 2|10|decr n 1|append n 0 0 1|7|get n", "STORED|9|STORED|VALUE n 0 3|9 7");
    talk.check("append nope 0 0 1|x|prepend nope 0 0 1|x", "NOT_STORED|NOT_STORED");
}

#[test]
fn cas_stores_for_the_one_who_saw_the_last_value() {
    three_kinds(|talk, _| {
        let unique = talk.unique("k");
        talk.check(
            &format!(
                "cas k 0 0 1 {unique}|1|cas k 0 0 1 {unique}|2|cas k 0 0 1 0|2|cas x 0 0 1 1|2"
            ),
            "STORED|EXISTS|EXISTS|NOT_FOUND",
        );
        let unique = talk.unique("k");
        talk.check(&format!("incr k 1|cas k 0 0 1 {unique}|3|get k"), "2|EXISTS|VALUE k 0 1|2");
    });
}

#[test]
fn ma_adds_takes_and_makes() {
    let mut talk = Talk::new();
    talk.check("ma k|ma k q|ma k D5 O1 k", "NF|NF|NF O1 kk");
    talk.check("ma k N0 J13 v t c k O8|ma k D5 v", "VA 2 t-1 c# kk O8|13|VA 2|18");
    talk.check("ma k MD D3 v|ma k M- v|ma k M+ v|ma k MI v", "VA 2|15|VA 2|14|VA 2|15|VA 2|16");
    talk.check("ma k MD D9000 v|ma k q|ma k q v|ma k v", "VA 1|0|VA 1|3");
    talk.check(
        "ma k t T30|ma k t N90|ma m t N90|mg m t v|ma m N0 q|mg m t v",
        "HD t-1|HD t30|HD t-1|HD t90|VA 1 t90|1".replace("HD t90|VA", "VA 1 t90|0|VA").as_str(),
    );
    talk.check("ma k C99999 v|ma k C0 v", "EX|VA 1|6");
    let unique = talk.unique("k");
    talk.check(&format!("ma k C{unique} v|ma k C{unique}"), "VA 1|7|EX");
    talk.send("ms t 3|abc");
    talk.check("ma t|ma t q N0", "CLIENT_ERROR cannot increment or decrement non-numeric value|CLIENT_ERROR cannot increment or decrement non-numeric value");
    talk.wait(30);
    talk.check("ma k", "NF");
}

#[test]
fn a_key_in_base64_is_any_bytes_and_is_told_so() {
    let talk = Talk::new();
    // A blank, a line end and a NUL.
    talk.check("ms IAoA 2 b k|hi|mg IAoA b k v", "HD kIAoA b|VA 2 kIAoA b|hi");
    assert!(talk.send("me IAoA b").starts_with("ME IAoA exp=-1 la=0 "));
    talk.check(
        "ms Zm9v 2 b|hi|mg foo k v|md Zm9v b k|mg foo|md Zm9v b k",
        "HD|VA 2 kZm9v b|hi|HD kZm9v b|EN|NF kZm9v b",
    );
    talk.check("ma Zm9v b N0 J1 k v|mg foo k v", "VA 1 kZm9v b|1|VA 1 kZm9v b|1");
}

#[test]
fn what_ma_makes_counts_as_an_increment() {
    let talk = Talk::new();
    let totals = || {
        let mut totals = Vec::new();
        talk.counters.drain(talk.now, |one| totals.push((one.total, one.count, one.shown)));
        totals
    };
    talk.check("ma k N0 J1 v|ma k N0 J1 v", "VA 1|1|VA 1|2");
    assert_eq!(totals(), [(2, 2, ShownNow::Number(2.0))]);
    talk.check("ma d N0 J5 MD v|ma d MD v", "VA 1|5|VA 1|4");
    assert_eq!(totals(), [(0, 0, ShownNow::Number(4.0))], "taking is not counted");
}

#[test]
fn names_of_our_own_are_refused() {
    let talk = Talk::new();
    let line = "CLIENT_ERROR names that begin with tallyd. are reserved";
    talk.check("ms tallyd.x 1 q|1", line);
    talk.check("ma tallyd.x N0 q", line);
    talk.check("ma dGFsbHlkLng= b N0", line);
    talk.check("mg tallyd.x N30", "EN");
    talk.check("append tallyd.overflow 0 0 1|1", line);
}
