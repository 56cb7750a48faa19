//! Rules as a file writes them, from the bytes of a request to what is told.

use super::*;
use crate::config::Surroundings;

/// A Monday.
const START: &str = "2026-01-05T00:00:00Z";

/// A world with these rules, which tell one contact, from that instant on.
fn world_at(start: &str, rules: &str) -> World {
    let contact = "[[contact]]\nname = 'oncall'\nwebhook = 'http://127.0.0.1/'\n\
                   [notify]\ndefault = ['oncall']\n";
    let text = format!("{contact}{rules}");
    let loaded = config::parse(&text, Path::new("t.toml"), &Surroundings::none());
    let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
    let now = Timestamp::parse(start, Timestamp::EPOCH).unwrap();
    World { engine: Engine::new(&config, now), now }
}

pub(super) fn world(rules: &str) -> World {
    world_at(START, rules)
}

pub(super) fn rule(name: &str, lines: &str) -> String {
    format!("[[rule]]\nname = '{name}'\n{lines}\n")
}

/// `sum` of `errors` over ten seconds, critical above ten.
fn errors(more: &str) -> String {
    let lines = "series = 'errors'\nmeasure = 'sum'\nwindow = '10s'\n\
                 critical = { above = 10, clear = 5 }\n";
    rule("errors-high", &format!("{lines}{more}"))
}

/// What is told while requests are sent in each second, for runs of seconds: `12 Firing r critical`.
fn play(world: &mut World, runs: &[(usize, &str)]) -> Vec<String> {
    let mut begin = 0;
    let mut told = Vec::new();
    for (count, bytes) in runs {
        let all = world.seconds(*count, bytes);
        told.extend(all.into_iter().map(|(second, text)| format!("{} {text}", begin + second)));
        begin += count;
    }
    told
}

const BAD: &str = "incr errors 20\r\n";

#[test]
fn an_incident_ends_with_its_schedule_and_what_holds_then_fires_anew() {
    let schedule = "[[schedule]]\nname = 'shift'\nzone = 'UTC'\n\
                    times = ['Mon 00:00-00:01', 'Mon 00:02-00:03']\n";
    let mut world = world(&(errors("schedule = 'shift'\n") + schedule));
    let expect = [
        "1 Firing errors-high critical",
        "60 ScheduleEnded errors-high ok",
        "120 Firing errors-high critical",
        "180 ScheduleEnded errors-high ok",
    ];
    assert_eq!(play(&mut world, &[(200, BAD)]), expect);
    let seen = world.engine.view(|view| {
        let (_, state) = view.rules.get("errors-high").unwrap().instances().next().unwrap();
        state.observation
    });
    assert_eq!(seen, Observation::Unjudged(crate::query::Reason::OffSchedule));
}

#[test]
fn the_hours_of_a_schedule_may_have_other_thresholds_across_midnight_too() {
    let rules = "[[schedule]]\nname = 'night'\nzone = 'Europe/Berlin'\ntimes = ['22:00-02:00']\n\
                 [[rule]]\nname = 'few'\nseries = 'orders'\nmeasure = 'last'\n\
                 critical = { below = 10, clear = 12 }\n\
                 [[rule.when]]\nschedule = 'night'\ncritical = { below = 3, clear = 5 }\n";
    // A minute before ten in Berlin, then before two.
    let mut world = world_at("2026-01-05T20:59:00Z", rules);
    let seven = "set orders 0 0 1\r\n7\r\n";
    assert_eq!(
        play(&mut world, &[(70, seven)]),
        ["1 Firing few critical", "60 Recovered few ok"],
        "seven is well at night"
    );
    let limit = |world: &World| {
        let rule = world.engine.view(|view| view.rules.get("few").unwrap().rule().clone());
        crate::rules::wording::threshold(&rule.critical.unwrap())
    };
    assert_eq!(limit(&world), "below 3, until at least 5", "what is shown is what holds");
    world.now = world.now + Span::from_secs(4 * 3600 - 70);
    world.engine.tick(world.now);
    assert_eq!(play(&mut world, &[(60, seven)]), ["60 Firing few critical"]);
    assert_eq!(limit(&world), "below 10, until at least 12");
}

#[test]
fn the_evening_when_clocks_are_turned_is_as_long_as_the_clock_says() {
    // From one to four on the night to 29 March, which leaves out the hour from two to three.
    let rules =
        "[[schedule]]\nname = 'night'\nzone = 'Europe/Berlin'\ntimes = ['Sun 01:00-04:00']\n";
    let watched = |start: &str| {
        let mut world = world_at(start, &(errors("schedule = 'night'\n") + rules));
        play(&mut world, &[(1, BAD)])
    };
    let fires = ["1 Firing errors-high critical"];
    assert_eq!(watched("2026-03-28T23:59:50Z"), [""; 0]);
    assert_eq!(watched("2026-03-29T00:00:00Z"), fires);
    assert_eq!(watched("2026-03-29T01:30:00Z"), fires);
    assert_eq!(watched("2026-03-29T02:00:00Z"), [""; 0], "four o'clock is two hours later");
}

#[test]
fn a_share_is_judged_where_there_is_something_to_divide_by() {
    let rules = rule(
        "share",
        "series = 'errors'\nover = 'requests'\nmeasure = 'sum'\nwindow = '10s'\n\
                     critical = { above = 0.1, clear = 0.05 }\n",
    );
    let mut world = world(&rules);
    let few = "incr requests 100\r\nincr errors 1\r\n";
    let many = "incr requests 100\r\nincr errors 20\r\n";
    let none = "incr errors 20\r\n";
    assert_eq!(
        play(&mut world, &[(20, few), (10, many), (30, few), (30, none)]),
        // Five bad seconds and five with one error each are 105 of 1,000. In the end it grows as requests leave
        // the window: 86 of 600.
        ["25 Firing share critical", "38 Recovered share ok", "64 Firing share critical"],
    );
    let seen = world.engine.view(|view| {
        let (_, state) = view.rules.get("share").unwrap().instances().next().unwrap();
        state.observation
    });
    let nothing = crate::query::Reason::NothingToDivideBy;
    assert_eq!(seen, Observation::Unjudged(nothing), "which leaves the state as it is");
}

#[test]
fn a_share_is_of_each_instances_own_and_can_be_compared() {
    let lines =
        "series = 'errors'\nover = 'requests'\nmeasure = 'rate'\nwindow = '10s'\nby = ['host']\n";
    let by_host = rule("share", &format!("{lines}critical = {{ above = 0.1 }}\n"));
    let change = "against = 'previous'\nfloor = 5\ncritical = { above = 50 }\n";
    let mut world = world(&(by_host + &rule("change", &format!("{lines}{change}"))));
    let host = |name: &str, requests: u32, errors: u32| {
        format!("incr requests;host={name} {requests}\r\nincr errors;host={name} {errors}\r\n")
    };
    let calm = host("a", 100, 5) + &host("b", 1000, 50);
    let b_fails = host("a", 100, 5) + &host("b", 1000, 150);
    let told = play(&mut world, &[(30, &calm), (30, &b_fails)]);
    // From 0.05 to 0.15, a hundredth a second: by more than half after three, past 0.1 after six, which is
    // told five seconds after the other. Fifteen seconds on, the window before has come to 0.1 itself.
    assert_eq!(
        told,
        [
            "33 Firing change{host=b} critical",
            "38 Firing share{host=b} critical",
            "45 Recovered change{host=b} ok",
        ]
    );
}

#[test]
fn a_rule_is_evaluated_at_multiples_of_its_every() {
    let mut world = world_at("2026-01-05T00:00:03Z", &errors("every = '10s'\n"));
    let told = play(&mut world, &[(1, BAD), (40, "")]);
    assert_eq!(told, ["7 Firing errors-high critical", "17 Recovered errors-high ok"]);
    // A late tick is the first at or after the multiple.
    world.send(BAD);
    world.now = Timestamp::parse("2026-01-05T00:00:52Z", world.now).unwrap();
    assert_eq!(world.engine.tick(world.now).messages.len(), 1);
}

#[test]
fn so_many_of_the_last_evaluations_fire() {
    let mut world = world(&rule(
        "slow",
        "series = 'q'\nmeasure = 'last'\nevery = '2s'\n\
              critical = { above = 10, clear = 5, of = [2, 3] }\n",
    ));
    let set = |value: u32| format!("set q 0 0 {}\r\n{value}\r\n", value.to_string().len());
    let (high, low) = (set(20), set(1));
    let told =
        play(&mut world, &[(2, &high), (4, &low), (2, &high), (2, &low), (2, &high), (6, &low)]);
    // Five seconds after the first message, though it has been well for three of them.
    assert_eq!(told, ["12 Firing slow critical", "17 Recovered slow ok"]);
}

/// The page of a shop that fails while its database is down, before that in the file.
fn dependent() -> String {
    errors("depends_on = ['db-down']\n")
        + &rule("db-down", "series = 'db.up'\nmeasure = 'last'\ncritical = { below = 1 }\n")
}

const DOWN: &str = "set db.up 0 0 1\r\n0\r\nincr errors 20\r\n";
const UP: &str = "set db.up 0 0 1\r\n1\r\nincr errors 20\r\n";

#[test]
fn a_rule_is_quiet_while_one_it_depends_on_is_critical_from_the_first_second_on() {
    let mut world = world(&dependent());
    assert_eq!(play(&mut world, &[(30, DOWN)]), ["1 Firing db-down critical"]);
    assert_eq!(world.level("errors-high"), Level::Critical, "it is judged all the same");
    let told = play(&mut world, &[(5, UP)]);
    assert_eq!(
        told,
        ["1 Firing errors-high critical", "1 Recovered db-down ok"],
        "what still holds"
    );
    let told = play(&mut world, &[(5, DOWN), (30, "")]);
    // Who was told of a problem is told of its end, also while it is quiet.
    assert_eq!(told, ["1 Firing db-down critical", "15 Recovered errors-high ok"]);
}

#[test]
fn what_ends_while_it_is_quiet_is_never_told() {
    let mut world = world(&dependent());
    let told = play(&mut world, &[(10, DOWN), (20, ""), (10, "set db.up 0 0 1\r\n1\r\n")]);
    assert_eq!(told, ["1 Firing db-down critical", "31 Recovered db-down ok"]);
}

#[test]
fn until_a_rule_was_evaluated_those_that_depend_on_it_are_quiet() {
    let rules = dependent().replace("below = 1 }", "below = 1 }\nevery = '10s'");
    let mut world = world_at("2026-01-05T00:00:05Z", &rules);
    assert_eq!(play(&mut world, &[(8, UP)]), ["5 Firing errors-high critical"]);
}

#[test]
fn what_flaps_is_told_once_and_then_when_it_is_still() {
    let flapping = "flapping = { changes = 2, within = '1m' }\n";
    let mut world = world(&rule(
        "q",
        &format!("series = 'q'\nmeasure = 'last'\ncritical = {{ above = 10 }}\n{flapping}"),
    ));
    let (high, low) = ("set q 0 0 2\r\n20\r\n", "set q 0 0 1\r\n1\r\n");
    let told = play(&mut world, &[(5, high), (5, low), (5, high), (5, low), (70, high)]);
    assert_eq!(
        told,
        [
            "1 Firing q critical",
            "6 Recovered q ok",
            "11 Flapping q critical",
            "81 Settled q critical"
        ]
    );
    let told = play(&mut world, &[(5, low)]);
    assert_eq!(told, ["1 Recovered q ok"], "after that it is as before");
}
