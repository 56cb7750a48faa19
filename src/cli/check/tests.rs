//! What is typed as a check, and what comes of an answer.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    check: CheckArgs,
}

fn typed(words: &str) -> CheckArgs {
    let words = std::iter::once("check").chain(words.split(' '));
    let typed = Typed::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    typed.check
}

/// The output for these lines of an answer: name, value, whether that is a bound, note.
fn told(words: &str, lines: &[(&str, Option<f64>, bool, Option<&str>)]) -> String {
    let args = typed(words);
    let series = args.series.clone().expect("a series");
    let (warning, critical) = (args.warning.clone(), args.critical.clone());
    let question = args.question().expect("a question");
    let asked = Asked { series: series.clone(), question, warning, critical };
    let lines = lines.iter().map(|(name, value, is_bound, note)| measure::Line {
        series: (*name).to_owned(),
        points: vec![(60, *value)],
        at_least: if *is_bound { vec![60] } else { Vec::new() },
        note: note.map(str::to_owned),
    });
    let check = args.meant(&series, lines.collect(), &asked);
    let check = check.unwrap_or_else(|reason| nagios::unknown(args.name(), &reason, ROOM));
    assert_eq!(Level::of_output(&check.text, &series), Some(check.level));
    check.text
}

#[test]
fn ranges_decide_and_stand_in_the_performance_data() {
    let rate = |value: f64| {
        told(
            "--series orders.placed --measure rate --per minute --window 5m -w 20: -c 10:",
            &[("orders.placed", Some(value), false, None)],
        )
    };
    insta::assert_snapshot!(rate(25.0), @"OK - orders.placed: 25 per minute | 'orders.placed'=25;20:;10:;0;");
    insta::assert_snapshot!(rate(12.4), @"WARNING - orders.placed: 12.4 per minute, warning range 20: | 'orders.placed'=12.4;20:;10:;0;");
    insta::assert_snapshot!(rate(3.0), @"CRITICAL - orders.placed: 3 per minute, critical range 10: | 'orders.placed'=3;20:;10:;0;");
    let change = "--series a --measure sum --window 5m --against 1w -w -30: -c -50:";
    insta::assert_snapshot!(told(change, &[("a", Some(-61.0), false, None)]), @"CRITICAL - a: -61 % against last week, critical range -50: | 'a'=-61%;-30:;-50:;;");
    let age = told("--series a --measure age -c 60", &[("a", Some(61.0), false, None)]);
    insta::assert_snapshot!(age, @"CRITICAL - a: 61 s since the last update, critical range 60 | 'a'=61s;;60;0;");
}

#[test]
fn what_cannot_be_judged_is_unknown() {
    let words = "--series a --measure sum --window 5m -w ~:10 -c ~:20";
    let partly = Some("tallyd was not running for part of the window");
    let check = |value, is_bound, note, expect: &str| {
        let text = told(words, &[("a", value, is_bound, note)]);
        assert!(text.starts_with(expect), "{text}");
    };
    check(Some(5.0), true, partly, "UNKNOWN - a: at least 5 in 5m, tallyd was not running");
    check(Some(11.0), true, partly, "WARNING - a: at least 11 in 5m, warning range ~:10 | ");
    check(Some(21.0), true, partly, "CRITICAL - a: at least 21 in 5m, critical range ~:20 | ");
    check(None, false, Some("nothing was set in the window"), "UNKNOWN - a: nothing was set");
    check(
        None,
        false,
        Some(GREW_FROM_NOTHING),
        "CRITICAL - a: ∞ in 5m, critical range ~:20 | 'a'=U;",
    );
    assert_eq!(told(words, &[]), "UNKNOWN - a: no series like that was ever seen");
}

#[test]
fn tags_make_lines_and_one_of_them_is_asked_for_by_its_value() {
    let lines = [
        ("a;region=eu;host=x=1", Some(1.0), false, None),
        ("a;region=eu;host=y", Some(7.0), false, None),
        ("a;region=us;host=y", Some(9.0), false, None),
    ];
    let words = "--series a --measure sum -w ~:5 -c ~:8";
    insta::assert_snapshot!(told(&format!("{words} --by region --by host"), &lines), @r"
    CRITICAL - a: 2 of 3 not ok, a{region=us,host=y}: 9 in 1m, critical range ~:8 | 'a{region:eu,host:x:1}'=1;~:5;~:8;0; 'a{region:eu,host:y}'=7;~:5;~:8;0; 'a{region:us,host:y}'=9;~:5;~:8;0;
    CRITICAL - a{region=us,host=y}: 9 in 1m, critical range ~:8
    WARNING - a{region=eu,host=y}: 7 in 1m, warning range ~:5
    OK - a{region=eu,host=x=1}: 1 in 1m
    ");
    insta::assert_snapshot!(told(&format!("{words} --by region=eu --by host=x=1"), &lines), @"OK - a: 1 in 1m | 'a{region:eu,host:x:1}'=1;~:5;~:8;0;");
    insta::assert_snapshot!(told(&format!("{words} --by region=eu --by host"), &lines), @r"
    WARNING - a: 1 of 2 not ok, a{region=eu,host=y}: 7 in 1m, warning range ~:5 | 'a{region:eu,host:x:1}'=1;~:5;~:8;0; 'a{region:eu,host:y}'=7;~:5;~:8;0;
    WARNING - a{region=eu,host=y}: 7 in 1m, warning range ~:5
    OK - a{region=eu,host=x=1}: 1 in 1m
    ");
    insta::assert_snapshot!(told(&format!("{words} --by region=asia --by host"), &lines), @"UNKNOWN - a: no series has region=asia");
    let other = [("a;zone=", Some(1.0), false, None)];
    insta::assert_snapshot!(told(&format!("{words} --by zone"), &other), @"UNKNOWN - a: no series has the tag `zone`");
    let some = [("a;zone=", Some(1.0), false, None), ("a;zone=1", Some(2.0), false, None)];
    assert!(told(&format!("{words} --by zone"), &some).starts_with("OK - a: 2 lines, all ok"));
}

#[test]
fn the_question_is_asked_as_it_was_typed() {
    let url = |words: &str| {
        let args = typed(words);
        let url = if args.series.is_some() { args.url_of_measure() } else { args.url_of_rules() };
        url.expect(words).0.to_string()
    };
    assert_eq!(
        url("--series orders --by region=eu --by host -H tally.example -p 81"),
        "http://tally.example:81/api/v1/measure?series=orders&measure=rate&window=1m&by=region%2Chost"
    );
    assert_eq!(url("r --by region=eu -H ::1"), "http://[::1]:8311/check/r?by=region%3Deu");
    assert_eq!(url("r -H [::1] -p 443 -S"), "https://[::1]/check/r");
    assert_eq!(url("r -p 81"), "http://127.0.0.1:81/check/r");
    assert_eq!(url("r -H a --ssl"), "https://a:8311/check/r");
    assert_eq!(url("--all --server https://a/tally/"), "https://a/tally/check");
    assert!(typed("r --by region").url_of_rules().is_err(), "of a rule a value is needed");
    assert!(typed("--series a --by region=").url_of_measure().is_err(), "or a macro was empty");
}

#[test]
fn what_makes_no_check_is_refused() {
    for words in [
        "-w 5:",
        "r --all",
        "r --series a",
        "r -w 10:",
        "r --window 5m",
        "--all --by region=eu",
        "--series a -w 20:10",
        "--series a -p 0",
    ] {
        let words: Vec<_> = std::iter::once("check").chain(words.split(' ')).collect();
        assert!(Typed::try_parse_from(&words).is_err(), "{words:?}");
    }
    assert!(typed("--series a --measure most").question().is_err());
    let judged = |text: &str| judge("r", "http://x", text.to_owned()).expect_err(text);
    let refused = r#"{"status":"error","errorType":"forbidden","error":"no token"}"#;
    assert_eq!(judged(refused), "tallyd at http://x says: no token");
    assert_eq!(judged("<html>"), "http://x is not tallyd: <html>");
}
