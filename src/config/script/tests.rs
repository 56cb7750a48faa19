//! What a file of cases means, and what is said of a wrong one.

use super::*;

fn parse(text: &str) -> Result<Script, Problems> {
    parse_script(text, Path::new("cases.toml"), &Surroundings::none())
}

const RULE: &str = r#"
[[test.rule]]
name = "high"
series = "errors"
by = ["host"]
measure = "sum"
window = "10s"
critical = { above = 10 }
notify = ["oncall"]
"#;

#[test]
fn a_case_has_defaults_and_its_expectations_in_order_of_time() {
    let text = format!(
        "[[test]]\nname = \"a\"\ninput = [{{ series = \"errors;host=a\", values = \"1x3 _ !\" }}]\nexpect = [\n\
         {{ at = \"1m\", rule = \"high\", notified = [] }},\n\
         {{ at = \"10s\", rule = \"high\", by = {{ host = \"a\" }}, state = \"ok\" }},\n]\n{RULE}"
    );
    let script = parse(&text).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let case = &script.cases[0];
    assert_eq!((case.start, case.step), (START, Span::from_secs(10)));
    assert_eq!(case.start.rfc3339(), "2026-01-05T00:00:00Z");
    assert_eq!(case.inputs[0].steps.len(), 5);
    assert_eq!((case.expectations[0].at, case.expectations[0].line), (Span::from_secs(10), 6));
    assert_eq!(case.expectations[1].notified, Some(Vec::new()));
    assert_eq!(case.config.contacts[0].name, "oncall");
}

#[test]
fn a_distribution_needs_no_metric() {
    let text = format!(
        "[[test]]\nname = \"a\"\ninput = [{{ series = \"ms\", kind = \"distribution\", values = \"1x3\" }}]\n\
         expect = [{{ at = \"1m\", rule = \"high\", state = \"ok\" }}]\n{RULE}"
    );
    let script = parse(&text).unwrap();
    assert_eq!(script.cases[0].config.metrics[0].kind, MetricKind::Distribution);
}

#[test]
fn every_mistake_is_told_in_one_go() {
    let text = format!(
        "[[test]]\nname = \"a\"\nstart = \"monday\"\nstep = \"1500ms\"\ninput = [\n\
         {{ series = \"errors\", values = \"1x3 7y\" }},\n\
         {{ series = \"errors\", values = \"-1 0.5\" }},\n\
         {{ series = \"errors{{host=1}}\", values = \"1\" }},\n\
         {{ series = \"tallyd.x\", values = \"1\", kind = \"guage\" }},\n]\nexpect = [\n\
         {{ at = \"500ms\", rule = \"high\", state = \"ok\" }},\n\
         {{ at = \"10s\", rule = \"hihg\", state = \"ok\" }},\n\
         {{ at = \"10s\", rule = \"high\" }},\n\
         {{ at = \"10s\", rule = \"high\", by = {{ hots = \"a\" }}, state = \"crit\" }},\n\
         {{ at = \"10s\", rule = \"high\", notified = [\"onkall\"] }},\n]\n{RULE}\n\
         [[test]]\nname = \"a\"\nrules = \"gone.toml\"\nexpect = []\n[[test]]\nname = \"b\"\n"
    );
    insta::assert_snapshot!(parse(&text).unwrap_err().render(false));
}

#[test]
fn what_people_do_is_read_in_order_and_checked() {
    let case = |acts: &str| {
        let expect = "expect = [{ at = \"1h\", rule = \"high\", state = \"ok\" }]";
        format!("[[test]]\nname = \"a\"\nact = [\n{acts}]\n{expect}\n{RULE}")
    };
    let script = parse(&case(
        "{ at = \"9m\", silence = \"hi*\", series = \"errors\", for = \"1h\" },\n\
         { at = \"5m\", ack = \"high\", by = { host = \"a\" } },\n",
    ));
    let acts = &script.unwrap().cases[0].acts;
    let [Act { line: 5, deed: Deed::Acknowledge(whose), .. }, Act { line: 4, deed, .. }] =
        &acts[..]
    else {
        panic!("{acts:?}")
    };
    assert_eq!(whose.by.as_ref().map(|by| by["host"].as_str()), Some("a"));
    assert!(matches!(deed, Deed::Silence { series: Some(_), schedule: None, .. }));
    let problems = parse(&case(
        "{ at = \"5m\" },\n{ at = \"5m\", ack = \"high\", unack = \"high\" },\n\
         { at = \"5m\", ack = \"hihg\" },\n{ at = \"5m\", ack = \"high\", by = { hots = \"a\" } },\n\
         { at = \"5m\", silence = \"high\" },\n{ at = \"5m\", silence = \"\", for = \"1h\" },\n\
         { at = \"2h\", unsilence = \"high\" },\n",
    ));
    insta::assert_snapshot!(problems.unwrap_err().render(false));
}
