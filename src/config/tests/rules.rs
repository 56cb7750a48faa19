//! Metrics, tiers, rules and schedules.

use super::*;

#[test]
fn a_metric_says_what_keys_are() {
    let text = "[[metric]]\nmatch = 'web.*.ms'\nkind = 'distribution'\nunit = 'ms'\ndigits = 3\n\
                range = [0.5, 6e4]\ndescription = 'Time to answer'\n\
                [[metric]]\nmatch = 'x;a=b'\nkind = 'item'\n";
    let metrics = read(text).unwrap().config.metrics;
    let layout = crate::histogram::Layout::new(3, 0.5, 6e4).unwrap();
    assert_eq!(metrics[0].layout, layout);
    assert_eq!((metrics[0].unit.as_str(), metrics[1].kind), ("ms", MetricKind::Item));
    let metric = |lines: &str| messages(&format!("[[metric]]\nmatch = 'a'\n{lines}\n"));
    let distribution = |lines: &str| metric(&format!("kind = 'distribution'\n{lines}"));
    for (said, expect) in [
        (
            messages("[[metric]]\n"),
            "1: `match` is missing in this [[metric]]\n1: `kind` is missing in this [[metric]]\n",
        ),
        (
            messages("[metric]\nmatch = 'a'\nkind = 'gauge'"),
            "1: `metric` is a list of tables, each written under [[metric]]\n",
        ),
        (metric("kind = 'gage'"), "3: `gage` is not a value of `kind` (did you mean `gauge`?)\n"),
        (
            metric("kind = 'gauge'\ndigits = 2\nrange = [1, 2]"),
            "4: `digits` belongs to the histogram of a distribution\n5: `range` belongs to the histogram of a distribution\n",
        ),
        (metric("kind = 'gauge'\nunits = 'ms'"), "4: unknown key `units` in [[metric]]\n"),
        (
            metric("kind = 'gauge'\nunit = \"a\\nb\""),
            "4: the text must be one line without control characters\n",
        ),
        (distribution("digits = 6"), "4: `digits` is out of range (must be 1 to 5)\n"),
        (distribution("range = [1]"), "4: `range` must be two numbers, like [1, 3600000]\n"),
        (distribution("range = 5"), "4: `range` must be a list of numbers, not an integer\n"),
        (distribution("range = [1, 'b']"), "4: `range` must be a number, not a string\n"),
        (
            distribution("range = [5, 1]"),
            "4: `range` must be two positive numbers, the second at least twice the first\n",
        ),
        (distribution("range = [1, 1e18]"), "4: the two ends of `range` are too far apart\n"),
        (
            distribution("digits = 5\nrange = [1, 1e12]"),
            "5: one histogram could take 48 MiB, and may take 16\n",
        ),
        (
            messages(
                "[[metric]]\nmatch = 'a'\nkind = 'item'\n[[metric]]\nmatch = 'a'\nkind = 'gauge'",
            ),
            "5: this entry is never used: the first that matches a key is [2: matches the same keys]\n",
        ),
    ] {
        assert_eq!(said, expect);
    }
}

#[test]
fn a_rule_asks_of_a_kind_what_it_has() {
    let metrics = "[[metric]]\nmatch = 'd'\nkind = 'distribution'\n\
                   [[metric]]\nmatch = 'g*'\nkind = 'gauge'\n\
                   [[metric]]\nmatch = 'i'\nkind = 'item'\n\
                   [[metric]]\nmatch = 't;a=b'\nkind = 'gauge'\n";
    let rule = |series: &str, measure: &str| {
        let rule = format!("[[rule]]\nname = 'r'\nseries = '{series}'\nnotify = []\n");
        let rest = format!("measure = '{measure}'\nwarning = {{ above = 1 }}\n");
        messages(&format!("{metrics}{rule}{rest}"))
    };
    let all = Measure::ALL.map(|(name, _)| name);
    let refused = |series: &str| {
        let is_refused = |measure: &&str| !rule(series, measure).is_empty();
        all.iter()
            .copied()
            .filter(is_refused)
            .collect::<Vec<_>>()
            .join(" ")
            .replace("age", "")
            .trim()
            .to_owned()
    };
    assert_eq!(refused("d"), "");
    assert_eq!(refused("g.x"), "rate sum p50 p90 p95 p99 p99.9");
    assert_eq!(refused("g*"), "rate sum p50 p90 p95 p99 p99.9", "every one of them is a gauge");
    assert_eq!(refused("i;a=b"), "rate sum count mean min max last  p50 p90 p95 p99 p99.9");
    for series in ["*", "t", "t;a=b;c=d", "other", "?"] {
        assert_eq!(refused(series), "", "{series} may be anything");
    }
    assert_eq!(
        rule("g.x", "p99"),
        "17: there is no `p99` of a gauge [15: each is a gauge by [[metric]] `g*`]\n"
    );
    assert_eq!(rule("i", "sum"), "15: items are not watched (each is an item by [[metric]] `i`)\n");
}

#[test]
fn tiers_build_on_each_other() {
    let tiers = |list: &[(&str, &str)]| {
        let tier = |(w, k): &(&str, &str)| format!("[[tier]]\nwindow = '{w}'\nkeep = '{k}'\n");
        messages(&list.iter().map(tier).collect::<Vec<_>>().concat())
    };
    assert_snapshot!(tiers(&[("1s", "1h"), ("10s", "1d"), ("1d", "1d")]), @"");
    assert_snapshot!(tiers(&[("2s", "1h"), ("3s", "30m"), ("3s", "1h")]), @r"
    2: the first tier must be 1s wide
    5: each tier must be wider than the one before, and a multiple of it (must be a multiple of 2s) [2: the one before]
    6: a tier must be kept at least as long as the finer one before it (must be at least 1h) [3: the one before]
    8: each tier must be wider than the one before, and a multiple of it (must be a multiple of 3s) [5: the one before]
    ");
    assert_snapshot!(tiers(&[("1s", "500ms"), ("1500ms", "1h"), ("2d", "1w"), ("0s", "1w")]), @r"
    3: `keep` is shorter than one window (must be at least 1s)
    5: `window` is out of range (must be a whole number of seconds, 1s to 1d)
    8: `window` is out of range (must be a whole number of seconds, 1s to 1d)
    11: `window` is out of range (must be a whole number of seconds, 1s to 1d)
    ");
    assert_snapshot!(
        tiers(&[("1s", "1h"); 9]).lines().last().unwrap(),
        @"26: each tier must be wider than the one before, and a multiple of it (must be a multiple of 1s) [23: the one before]"
    );
    assert_snapshot!(messages("[[tier]]\nwindow = '1s'"), @"1: `keep` is missing in this [[tier]]");
}

#[test]
fn names_are_unique_and_refer_to_something() {
    assert_snapshot!(messages(
        r#"[notify]
default = ["a", "a", "oncal", "zzz"]
[[contact]]
name = "oncall"
webhook = "http://127.0.0.1/a"
[[contact]]
name = "oncall"
webhook = "http://127.0.0.1/b"
[[rule]]
name = "r"
[[rule]]
name = "r"
series = "s"
measure = "sum"
critical = { above = 1 }
notify = ["nobody"]
"#
    ), @r"
    2: there is no contact `a`
    2: `a` is told twice [2: first here]
    2: there is no contact `oncal`
    2: there is no contact `zzz`
    7: there are two contacts `oncall` [4: first here]
    9: `series` is missing in this [[rule]]
    9: `measure` is missing in this [[rule]]
    9: a rule needs `warning` or `critical`
    12: there are two rules `r` [10: first here]
    16: there is no contact `nobody`
    ");
}

#[test]
fn thresholds_are_one_sided_and_clear_on_the_good_side() {
    let threshold = |text: &str| messages(&rule(&format!("measure = 'sum'\n{text}")));
    assert_snapshot!(threshold(""), @"1: a rule needs `warning` or `critical`");
    assert_snapshot!(threshold("warning = {}"), @"6: a threshold needs `above` or `below`");
    assert_snapshot!(
        threshold("warning = { above = 1, below = 2 }"),
        @"6: a threshold is either `above` or `below` [6: and here]"
    );
    assert_snapshot!(
        threshold("warning = { above = 1, clear = 2 }"),
        @"6: `clear` lies on the wrong side of the threshold (must be at or below it) [6: the threshold]"
    );
    assert_snapshot!(
        threshold("warning = { below = 2, clear = 1 }"),
        @"6: `clear` lies on the wrong side of the threshold (must be at or above it) [6: the threshold]"
    );
    assert_snapshot!(
        threshold("warning = { below = -inf }"),
        @"6: `below` must be a finite number"
    );
    assert_snapshot!(
        threshold("warning = { above = 2, clear = 2 }\ncritical = { above = 2 }"),
        @""
    );
    assert_snapshot!(
        threshold("warning = { above = 5 }\ncritical = { above = 2 }"),
        @"7: critical is milder than warning, so warning is never seen alone [6: warning is here]"
    );
    assert_snapshot!(
        threshold("warning = { below = 2 }\ncritical = { below = 5 }"),
        @"7: critical is milder than warning, so warning is never seen alone [6: warning is here]"
    );
    assert_snapshot!(threshold("warning = { below = 2 }\ncritical = { above = 1 }"), @"");
}

#[test]
fn a_threshold_clears_where_it_fires_unless_it_says_otherwise() {
    let text = rule("measure = 'sum'\ncritical = { above = 0x10 }\nwarning = { below = 2.5 }");
    let config = read(&text).unwrap().config;
    let expect = |side, value| Threshold {
        side,
        value,
        clear: value,
        hold: Span::ZERO,
        of: None,
        clear_hold: Span::ZERO,
    };
    assert_eq!(config.rules[0].critical, Some(expect(Side::Above, 16.0)));
    assert_eq!(config.rules[0].warning, Some(expect(Side::Below, 2.5)));
    assert_eq!(config.rules[0].window, Span::from_secs(60));
}

#[test]
fn comparisons_need_a_floor_and_fit_what_is_kept() {
    let compare = |text: &str| messages(&rule(&format!("critical = {{ above = 1 }}\n{text}")));
    assert_snapshot!(
        compare("measure = 'sum'\nagainst = '1w'"),
        @"7: a change in percent needs a `floor`"
    );
    assert_snapshot!(compare("measure = 'sum'\nagainst = '1w'\nchange = 'absolute'"), @"");
    assert_snapshot!(
        compare("measure = 'last'\nagainst = '1d'\nfloor = -1"),
        @"8: `floor` is out of range (must be 0 or more)"
    );
    assert_snapshot!(
        compare("measure = 'age'\nagainst = 'previous'\nfloor = 1"),
        @"7: an age has no earlier value to be compared with"
    );
    assert_snapshot!(
        compare("measure = 'age'\nwindow = '5m'"),
        @"7: `window` does nothing here: an age is the time since the last update"
    );
    assert_snapshot!(compare("measure = 'sum'\nfloor = 1\nchange = 'percent'"), @r"
    7: `floor` belongs to a comparison, and this rule has no `against`
    8: `change` belongs to a comparison, and this rule has no `against`
    ");
    assert_snapshot!(
        compare("measure = 'sum'\nper = 'day'"),
        @"7: `per` is the unit of a rate; no other measure has one"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nwindow = '1500ms'"),
        @"7: `window` is out of range (must be a whole number of seconds, at least 1s)"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nagainst = '1m'\nfloor = 1"),
        @"7: `1m` is not a value of `against` (did you mean `1d`?)"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nwindow = '1826d'"),
        @"7: this rule looks 1826d back, and nothing is kept so long (the longest tier keeps 1825d)"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nwindow = '1000d'\nagainst = 'previous'\nfloor = 1"),
        @"8: this rule looks 2000d back, and nothing is kept so long (the longest tier keeps 1825d) [7: this much before that]"
    );
    let small = "[[tier]]\nwindow = '1s'\nkeep = '1w'\n";
    assert_snapshot!(
        compare(&format!("measure = 'sum'\nagainst = '1w'\nfloor = 1\n{small}")),
        @"7: this rule looks 7d1m back, and nothing is kept so long (the longest tier keeps 1w)"
    );
}

#[test]
fn every_mistake_in_rules_is_told_at_once() {
    assert_snapshot!(check(include_str!("mistakes.toml")));
}

#[test]
fn schedules_are_hours_in_a_zone() {
    let schedule = |lines: &str| messages(&format!("[[schedule]]\nname = 's'\n{lines}"));
    assert_snapshot!(schedule("times = ['Mon-Fri 08:00-20:00', '22:00-06:00', 'Sat']\nzone = 'Europe/Berlin'"), @"");
    assert_snapshot!(schedule(""), @r"
    1: `times` is missing in this [[schedule]]
    1: `zone` is missing in this [[schedule]]
    ");
    assert_snapshot!(schedule("times = []\nzone = 'UTC'"), @"3: a schedule without `times` is never active");
    assert_snapshot!(
        schedule("times = ['Mon']\nzone = 'UTC'\nexcept = ['2026-02-29', '25.12.2026', '2026-12-25', '2026-12-25']"),
        @r"
    5: `2026-02-29` is not a date
    5: `25.12.2026` is not a date
    5: 2026-12-25 is written twice [5: first here]
    "
    );
    for zone in ["", "Mars/Olympus", "../../etc/passwd", "Etc/Unknown"] {
        assert!(
            schedule(&format!("times = ['Mon']\nzone = '{zone}'")).contains("is not a time zone")
        );
    }
    let many = format!("times = [{}]\nzone = 'UTC'", "'Mon',".repeat(101));
    assert_snapshot!(schedule(&many), @"3: `times` has more than 100 entries");
}

#[test]
fn rules_may_depend_on_each_other_but_not_in_a_circle() {
    let rules = |all: &[(&str, &str)]| {
        let rule = |(name, on): &(&str, &str)| {
            let needed = "series = 's'\nmeasure = 'sum'\nwarning = { above = 1 }\nnotify = []";
            format!("[[rule]]\nname = '{name}'\n{needed}\ndepends_on = {on}\n")
        };
        messages(&all.iter().map(rule).collect::<Vec<_>>().concat())
    };
    assert_snapshot!(rules(&[("a", "['b', 'c']"), ("b", "['c']"), ("c", "[]")]), @"");
    assert_snapshot!(rules(&[("a", "['a']")]), @"7: `a` depends on itself (a → a)");
    assert_snapshot!(
        rules(&[("a", "['b']"), ("b", "['c']"), ("c", "['b', 'a']")]),
        @r"
    21: `b` depends on itself (b → c → b)
    21: `a` depends on itself (a → b → c → a)
    "
    );
    assert_snapshot!(rules(&[("a", "['b', 'b']"), ("b", "[]")]), @"7: `b` is written twice [7: first here]");
    let chain: Vec<_> = (0..5000).map(|i| (format!("r{i}"), format!("['r{}']", i + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, on)| (name.as_str(), on.as_str())).collect();
    assert_snapshot!(rules(&chain), @"35000: there is no rule `r5000`");
}

#[test]
fn evaluations_that_count_are_so_many_of_no_more_than_64() {
    let of = |of: &str| {
        let text = format!("measure = 'sum'\nevery = '10s'\nwarning = {{ above = 1, of = {of} }}");
        messages(&rule(&text))
    };
    for good in ["[1, 1]", "[3, 5]", "[64, 64]", "[3.0, 5]"] {
        assert_eq!(of(good), "", "{good}");
    }
    for (wrong, label) in [
        ("[5, 3]", "there are no 5 among 3"),
        ("[0, 3]", "two whole numbers from 1 to 64: so many of the last"),
        ("[3, 65]", "two whole numbers from 1 to 64: so many of the last"),
        ("[1.5, 2]", "two whole numbers from 1 to 64: so many of the last"),
        ("[3]", "two whole numbers from 1 to 64: so many of the last"),
    ] {
        assert_eq!(of(wrong), format!("7: `of` must be two numbers, like [3, 5] ({label})\n"));
    }
    let text = "measure = 'sum'\nevery = '10s'\nof = [2, 3]\n\
                warning = { above = 1 }\ncritical = { above = 2, for = '1m' }";
    let rule = &read(&rule(text)).unwrap().config.rules[0];
    assert_eq!(rule.warning.unwrap().of, Some(OfLast { needed: 2, among: 3 }));
    assert_eq!((rule.critical.unwrap().of, rule.every), (None, Span::from_secs(10)));
}

#[test]
fn flapping_can_be_switched_off() {
    let flapping = |line: &str| {
        let text = rule(&format!("measure = 'sum'\nwarning = {{ above = 1 }}\n{line}"));
        read(&text).map(|loaded| loaded.config.rules[0].flapping)
    };
    let expect = |changes, secs| Some(Flapping { changes, within: Span::from_secs(secs) });
    assert_eq!(flapping("").unwrap(), expect(5, 600));
    assert_eq!(flapping("flapping = { changes = 3 }").unwrap(), expect(3, 600));
    assert_eq!(flapping("flapping = { within = '1h' }").unwrap(), expect(5, 3600));
    assert_eq!(flapping("flapping = false").unwrap(), None);
    for wrong in
        ["true", "{ changes = 0 }", "{ changes = 51 }", "{ within = '0s' }", "{ within = '2d' }"]
    {
        assert!(flapping(&format!("flapping = {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn tags_to_split_by_are_few_and_different() {
    let by = |tags: &str| {
        messages(&rule(&format!("measure = 'age'\ncritical = {{ above = 1 }}\nby = {tags}")))
    };
    assert_snapshot!(by("['a', 'b', 'a', '']"), @r"
    7: `a` is written twice [7: first here]
    7: `` is not the name of a tag
    ");
    assert_snapshot!(
        by("['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']"),
        @"7: `by` names more than 8 tags"
    );
}
