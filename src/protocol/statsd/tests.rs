//! A table of every form of a line that the documents of StatsD and DogStatsD show, and of mistakes.

use proptest::prelude::*;

use super::*;

/// What a line says, in short.
fn read(line: &[u8]) -> String {
    match parse(line) {
        Ok(Line::Samples(Samples { key, list, at })) => {
            let one = |sample: &Sample<'_>| {
                let value = match sample.value {
                    Value::Count(value) => format!("count {value}"),
                    Value::Observed(value) => format!("observe {value}"),
                    Value::Gauge(value) => format!("set {value}"),
                    Value::Change(value) => format!("change {value}"),
                    Value::Member(text) => format!("member {}", text.escape_ascii()),
                };
                if sample.rate < 1.0 { format!("{value} of {}", sample.rate) } else { value }
            };
            let list: Vec<_> = list.iter().map(one).collect();
            let at = at.map(|at| format!(" at {}", at.as_secs())).unwrap_or_default();
            format!("{}: {}{at}", String::from_utf8_lossy(&key), list.join(", "))
        }
        Ok(Line::Event(Event { title, text, host, at })) => {
            format!("event {title:?} {text:?} {host:?} {:?}", at.map(Timestamp::as_secs))
        }
        Err(problem) => format!("{problem:?}"),
    }
}

#[track_caller]
fn check(lines: &[(&str, &str)]) {
    for (line, expect) in lines {
        assert_eq!(read(line.as_bytes()), *expect, "{line}");
    }
}

#[test]
fn lines_of_statsd() {
    check(&[
        // docs/metric_types.md
        ("gorets:1|c", "gorets: count 1"),
        ("gorets:1|c|@0.1", "gorets: count 1 of 0.1"),
        ("glork:320|ms", "glork: observe 320"),
        ("glork:320|ms|@0.1", "glork: observe 320 of 0.1"),
        ("gaugor:333|g", "gaugor: set 333"),
        ("gaugor:-10|g", "gaugor: change -10"),
        ("gaugor:+4|g", "gaugor: change 4"),
        ("uniques:765|s", "uniques: member 765"),
        // Several values of one series.
        ("a:1|c:2|c|@0.5:3|ms", "a: count 1, count 2 of 0.5, observe 3"),
        ("gorets:-1|c", "gorets: count -1"),
        ("gorets:0.5|c", "gorets: count 0.5"),
        ("gorets:1e3|c", "gorets: count 1000"),
        // What a key may not hold; a slash and anything else stays.
        ("a b/c\u{1}d:1|c", "a_b/c_d: count 1"),
    ]);
    assert_eq!(read(b"caf\xe9:1|c"), "caf_: count 1");
}

#[test]
fn lines_of_dogstatsd() {
    check(&[
        // Datagram format and shell usage
        ("page.views:1|c", "page.views: count 1"),
        ("fuel.level:0.5|g", "fuel.level: set 0.5"),
        ("song.length:240|h|@0.5", "song.length: observe 240 of 0.5"),
        ("users.uniques:1234|s", "users.uniques: member 1234"),
        ("users.online:1|c|#country:china", "users.online;country=china: count 1"),
        ("users.online:1|c|@0.5|#country:china", "users.online;country=china: count 1 of 0.5"),
        ("users.online:1|c|#country:china|@0.5", "users.online;country=china: count 1 of 0.5"),
        // 1.1: several values; 1.2: the container; 1.3: an instant; later: external data and cardinality
        ("page.views:1:2:32|d", "page.views: observe 1, observe 2, observe 32"),
        ("song.length:240:234|h|@0.5", "song.length: observe 240 of 0.5, observe 234 of 0.5"),
        ("page.views:1|g|#env:dev|c:83c0a99c0a54c0c187f461c7980e9b57", "page.views;env=dev: set 1"),
        ("page.views:15|c|#env:dev|T1656581400", "page.views;env=dev: count 15 at 1656581400"),
        ("page.views:1|c|#env:dev|e:it-false,cn-web|card:low", "page.views;env=dev: count 1"),
        // Tags without values, of the same name, without a name, with what a tag may not hold.
        ("a:1|c|#flag", "a;flag=true: count 1"),
        ("a:1|c|#b:1,b:2", "a;b=2: count 1"),
        ("a:1|c|#:x,b:,,z:1", "a;z=1: count 1"),
        ("a:1|c|#b:http://x?y=1;2,c!d:~e", "a;b=http://x?y=1_2;c_d=_e: count 1"),
        ("a:1|c|#z:1,b:two words", "a;b=two_words;z=1: count 1"),
        // Events
        (
            "_e{21,36}:An exception occurred|Cannot parse CSV file from 10.0.0.17|t:warning|#err_type:bad_file",
            r#"event "An exception occurred" "Cannot parse CSV file from 10.0.0.17" "" None"#,
        ),
        (
            "_e{21,42}:An exception occurred|Cannot parse JSON request:\\n{\"foo\": \"bar\"}|p:low|#err_type:bad_request",
            "event \"An exception occurred\" \"Cannot parse JSON request:\\n{\\\"foo\\\": \\\"bar\\\"}\" \"\" None",
        ),
        (
            "_e{5,4}:ti|le|te|t|d:1656581400|h:web-1|k:a|s:b|p:low|t:error|#a:b",
            r#"event "ti|le" "te|t" "web-1" Some(1656581400)"#,
        ),
        ("_e{1,0}:a|", r#"event "a" "" "" None"#),
        // Service checks
        (
            "_sc|Redis connection|2|#env:dev|m:Redis connection timed out after 10s",
            "Redis_connection;env=dev: set 2",
        ),
        (
            "_sc|up|0|d:1656581400|h:web-1|#b:c|m:fine|#d:e|T1",
            "up;b=c;host=web-1: set 0 at 1656581400",
        ),
    ]);
}

#[test]
fn tags_within_the_name() {
    check(&[
        ("n,t=v,u=w:1|c", "n;t=v;u=w: count 1"),
        ("n#t=v,u=w:1|c", "n;t=v;u=w: count 1"),
        ("n[u=w,t=v:x].more:1|c", "n.more;t=v:x;u=w: count 1"),
        ("n;u=w;t=v:1|c", "n;t=v;u=w: count 1"),
        ("n,t=v:1|c|#t:x", "n;t=x: count 1"),
        ("n,flag:1|c", "n;flag=true: count 1"),
        ("n]:1|c", "n]: count 1"),
    ]);
}

#[test]
fn what_is_no_line() {
    let key = "k".repeat(limits::KEY_BYTES);
    assert_eq!(read(format!("{key}:1|c").as_bytes()), format!("{key}: count 1"));
    assert_eq!(read(format!("{key}k:1|c").as_bytes()), "Key");
    assert_eq!(read(format!("{key}:1|c|#a").as_bytes()), "Key");
    let tags: Vec<_> = (0..=limits::SERIES_TAGS).map(|at| format!("{at}:1")).collect();
    assert_eq!(read(format!("k:1|c|#{}", tags.join(",")).as_bytes()), "Key");
    check(&[
        ("", "NoValue"),
        ("a", "NoValue"),
        (":1|c", "NoValue"),
        ("[a:1|c", "NoValue"),
        ("#a=b:1|c", "Key"),
        ("a:1", "Type"),
        ("a:1|", "Type"),
        ("a:1|q", "Type"),
        ("a:1|cc", "Type"),
        ("a:|c", "Number"),
        ("a:nan|g", "Number"),
        ("a:inf|g", "Number"),
        ("a:1e999|g", "Number"),
        ("a:0x1|c", "Number"),
        ("a: 1|c", "Number"),
        ("a:1:x:2|d", "Number"),
        ("a::1|c", "Number"),
        ("a:|s", "NoValue"),
        ("a:1|c|@", "Rate"),
        ("a:1|c|@0", "Rate"),
        ("a:1|c|@-0.5", "Rate"),
        ("a:1|c|@1.1", "Rate"),
        ("a:1|c|Tyesterday", "Time"),
        ("a:1|c|T", "Time"),
        ("a:1|c:2", "Type"),
        ("_e{5,4}:titl|text", "Event"),
        ("_e{5,4}:title|tex", "Event"),
        ("_e{5,4}:title|text2", "Event"),
        ("_e{0,4}:|text", "Event"),
        ("_e{99999999999999999999,1}:a|b", "Event"),
        ("_e{+5,4}:title|text", "Event"),
        ("_e{5,4}title|text", "Event"),
        ("_sc|name|4", "Event"),
        ("_sc|name", "Event"),
        ("_sc||0", "NoValue"),
        ("_sc|name|0|d:x", "Time"),
        // A section that nobody knows, and one that is empty, are read over.
        ("a:1|c|", "a: count 1"),
        ("a:1|c||x:y|@0.5", "a: count 1 of 0.5"),
    ]);
}

proptest! {
    #[test]
    fn any_line_is_read_within_bounds(line in "[a-c:|#@;,=\\[\\]{}_escgmhdT0-9.+~ -]{0,60}") {
        if let Ok(Line::Samples(Samples { key, list, .. })) = parse(line.as_bytes()) {
            prop_assert!((1..=limits::KEY_BYTES).contains(&key.len()) && !list.is_empty());
            prop_assert!(key.iter().all(|byte| !byte.is_ascii_whitespace() && !byte.is_ascii_control()));
            prop_assert_eq!(&*crate::series::canonical_key(&key), &*key, "tags are in order");
            prop_assert!(list.iter().all(|sample| sample.rate > 0.0 && sample.rate <= 1.0));
        }
    }
}
