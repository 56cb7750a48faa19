//! `tallyd ack`, `unack`, `silence`, `unsilence` and `deploy`: the same as the HTTP API, for people and scripts.
//!
//! Without what is to be done each lists what there is. What the server answers is told on a line for each thing
//! that was done; exit codes are in `--help`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::ServerArgs;
use super::server::{self, Answer, Peer};
use crate::limits;
use crate::reason::one_line;

/// Exit codes; `--help` lists them.
const NOT_DONE: u8 = 1;
const WRONG: u8 = 2;
const NO_SERVER: u8 = 3;

/// Who does something.
#[derive(Args, Debug)]
pub(super) struct AuthorArgs {
    /// Who does it.
    #[arg(long, env = "USER", default_value = "", value_name = "NAME")]
    author: String,
}

/// What is said with something, and by whom.
#[derive(Args, Debug)]
pub(super) struct SaidArgs {
    /// Why, or what else there is to say.
    #[arg(long, default_value = "", value_name = "TEXT")]
    comment: String,
    #[command(flatten)]
    by: AuthorArgs,
}

/// What `ack` takes.
#[derive(Args, Debug)]
pub(super) struct AckArgs {
    /// A rule, or the id of an incident.
    #[arg(value_name = "RULE|INCIDENT")]
    what: Option<String>,
    /// A tag of the instances that are meant, as region=eu; may be given several times.
    #[arg(long, value_name = "TAG=VALUE", requires = "what")]
    by: Vec<String>,
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `unack` takes.
#[derive(Args, Debug)]
pub(super) struct UnackArgs {
    /// The id of the incident; tallyd ack lists them.
    incident: String,
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `silence` takes.
#[derive(Args, Debug)]
pub(super) struct SilenceArgs {
    /// Which rules.
    rule: Option<String>,
    /// A tag of the instances that are meant, as region=eu; may be given several times.
    #[arg(long, value_name = "TAG=VALUE", requires = "rule")]
    by: Vec<String>,
    /// Which series, as rules name them.
    #[arg(long, value_name = "PATTERN")]
    series: Option<String>,
    /// How long, as in 2h.
    #[arg(long = "for", value_name = "SPAN")]
    span: Option<String>,
    /// When it begins, if not now: 2026-01-05T00:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// The name of a schedule in whose hours it holds.
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `unsilence` takes.
#[derive(Args, Debug)]
pub(super) struct UnsilenceArgs {
    /// The id of the silence; tallyd silence lists them.
    id: String,
    #[command(flatten)]
    by: AuthorArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `deploy` takes.
#[derive(Args, Debug)]
pub(super) struct DeployArgs {
    /// What was put into use, in a line.
    what: Option<String>,
    /// When, if not now: -5m, 2026-01-05T00:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    at: Option<String>,
    #[command(flatten)]
    by: AuthorArgs,
    /// Forget the one with this id.
    #[arg(long, value_name = "ID", conflicts_with = "what")]
    forget: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Why nothing was done: in words, and the exit code.
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) words: String,
}

type Outcome = Result<String, Failure>;

/// Says that somebody looks after incidents.
pub(super) fn ack(args: &AckArgs) -> ExitCode {
    end("ack", try_ack(args))
}

fn try_ack(args: &AckArgs) -> Outcome {
    let Some(what) = &args.what else {
        if args.said.comment.is_empty() {
            return open_incidents(&args.server);
        }
        let words = "--comment needs a rule, or the id of an incident".to_owned();
        return Err(Failure { code: WRONG, words });
    };
    let labels = labels(&args.by)?;
    // Ids of incidents begin so, and hold what the name of a rule hardly does by chance.
    let is_id = labels.is_empty() && is_id(what, 'i');
    let SaidArgs { comment, by } = &args.said;
    let mut body = json!({ "author": by.author, "comment": comment });
    if let Some(body) = body.as_object_mut() {
        if is_id {
            body.insert("incident".to_owned(), what.as_str().into());
        } else {
            body.insert("rule".to_owned(), what.as_str().into());
            body.insert("labels".to_owned(), json!(labels));
        }
    }
    let data = ask(&args.server, Method::POST, &["acks"], &[], Some(&body))?;
    let line = |ack: &Value| {
        let title = title(ack);
        if ack.get("new") == Some(&Value::Bool(true)) {
            format!("{title}: acknowledged\n")
        } else {
            format!("{title}: {} has it since {}\n", who(ack, "author"), text(ack, "at"))
        }
    };
    Ok(list(&data, "acks").iter().map(line).collect())
}

/// Says that nobody does any more.
pub(super) fn unack(args: &UnackArgs) -> ExitCode {
    let SaidArgs { comment, by } = &args.said;
    let query = [("author", by.author.as_str()), ("comment", comment.as_str())];
    let done = ask(&args.server, Method::DELETE, &["acks", &args.incident], &query, None);
    end("unack", done.map(|_| format!("{}: acknowledged no more\n", one_line(&args.incident))))
}

/// Silences rules or series for a while.
pub(super) fn silence(args: &SilenceArgs) -> ExitCode {
    end("silence", try_silence(args))
}

fn try_silence(args: &SilenceArgs) -> Outcome {
    if args.rule.is_none() && args.series.is_none() {
        return silences(&args.server);
    }
    if args.span.is_none() && args.schedule.is_none() {
        let words = "--for says how long, or --schedule in which hours".to_owned();
        return Err(Failure { code: WRONG, words });
    }
    let rule = match (&args.rule, labels(&args.by)?) {
        (Some(rule), labels) if !labels.is_empty() => Some(with_labels(rule, &labels)),
        (rule, _) => rule.clone(),
    };
    let body = json!({
        "rule": rule,
        "series": args.series,
        "from": args.from,
        "for": args.span,
        "schedule": args.schedule,
        "author": args.said.by.author,
        "comment": args.said.comment,
    });
    let made = ask(&args.server, Method::POST, &["silences"], &[], Some(&body))?;
    let covered = covered(&made);
    if let Err(warning) = &covered {
        let _ = writeln!(io::stderr(), "tallyd silence: warning: {warning}");
    }
    Ok(line_of_silence(&made) + &covered.unwrap_or_default())
}

/// What a silence covers now, on a line of its own; that it is nothing, where it is.
fn covered(made: &Value) -> Result<String, String> {
    let Some(covers) = made.get("covers") else { return Ok(String::new()) };
    let count = |name| covers.get(name).and_then(Value::as_u64).unwrap_or_default();
    let several = |count: u64, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let meant = text(covers, "meant");
    match (count("rules"), count("instances")) {
        (0, _) if meant.is_empty() => Err("it covers no rule now".to_owned()),
        (0, _) => Err(format!("it covers no rule now; did you mean {meant}?")),
        (rules, instances) => {
            let (rules, instances) = (several(rules, "rule"), several(instances, "instance"));
            Ok(format!("  covers {rules}, {instances} now\n"))
        }
    }
}

/// Ends a silence before its time.
pub(super) fn unsilence(args: &UnsilenceArgs) -> ExitCode {
    let query = [("author", args.by.author.as_str())];
    let done = ask(&args.server, Method::DELETE, &["silences", &args.id], &query, None);
    end("unsilence", done.map(|_| format!("{}: ended\n", one_line(&args.id))))
}

/// Notes that something was put into use.
pub(super) fn deploy(args: &DeployArgs) -> ExitCode {
    end("deploy", try_deploy(args))
}

fn try_deploy(args: &DeployArgs) -> Outcome {
    if let Some(id) = &args.forget {
        ask(&args.server, Method::DELETE, &["deploys", id], &[], None)?;
        return Ok(format!("{}: forgotten\n", one_line(id)));
    }
    let Some(what) = &args.what else { return deploys(&args.server) };
    let body = json!({ "what": what, "who": args.by.author, "at": args.at });
    let made = ask(&args.server, Method::POST, &["deploys"], &[], Some(&body))?;
    Ok(line_of_deploy(&made))
}

fn open_incidents(args: &ServerArgs) -> Outcome {
    let query = [("state", "open"), ("limit", "1000")];
    let data = ask(args, Method::GET, &["incidents"], &query, None)?;
    Ok(lines(&data, "incidents", "no incident is open\n", line_of_incident))
}

fn line_of_incident(incident: &Value) -> String {
    let ack = incident.get("acknowledged").filter(|ack| !ack.is_null());
    let ack =
        ack.map_or_else(String::new, |ack| format!(", acknowledged by {}", who(ack, "author")));
    // What flaps may be ok at the moment, and is open all the same.
    let is_flapping = incident.get("flapping") == Some(&Value::Bool(true));
    let flaps = if is_flapping { " (flapping)" } else { "" };
    let (id, level, opened) =
        (text(incident, "id"), text(incident, "level"), text(incident, "opened"));
    format!("{id}  {level:8}  {}{flaps}  since {opened}{ack}\n", title(incident))
}

fn silences(args: &ServerArgs) -> Outcome {
    let data = ask(args, Method::GET, &["silences"], &[], None)?;
    Ok(lines(&data, "silences", "nothing is silenced\n", line_of_silence))
}

fn deploys(args: &ServerArgs) -> Outcome {
    let data = ask(args, Method::GET, &["deploys"], &[], None)?;
    Ok(lines(&data, "deploys", "no deploy is known\n", line_of_deploy))
}

fn line_of_silence(silence: &Value) -> String {
    let mut what = Vec::new();
    for (name, word) in [("rule", "rules"), ("series", "series")] {
        if silence.get(name).is_some_and(Value::is_string) {
            what.push(format!("{word} {}", text(silence, name)));
        }
    }
    let until = match silence.get("until") {
        Some(Value::String(at)) => format!(" until {}", one_line(at)),
        _ => String::new(),
    };
    let schedule = match silence.get("schedule") {
        Some(Value::String(name)) => format!(" in the hours of {}", one_line(name)),
        _ => String::new(),
    };
    let missing = silence.get("missing_schedule").filter(|missing| !missing.is_null());
    let missing = missing.map_or_else(String::new, |missing| {
        let at = text(missing, "forgotten");
        format!(" (which the configuration has no more; the silence is forgotten at {at})")
    });
    let comment = text(silence, "comment");
    let comment = if comment.is_empty() { comment } else { format!(": {comment}") };
    let (id, what, by) = (text(silence, "id"), what.join(", "), who(silence, "author"));
    format!("{id}  {what}{schedule}{missing}{until}, by {by}{comment}\n")
}

fn line_of_deploy(deploy: &Value) -> String {
    let id = deploy.get("id").and_then(Value::as_u64).unwrap_or_default();
    let (at, what, by) = (text(deploy, "at"), text(deploy, "what"), text(deploy, "who"));
    let by = if by.is_empty() { by } else { format!(" by {by}") };
    format!("{id}  {at}  {what}{by}\n")
}

/// One request below `/api/v1`, and the data that it is answered with.
pub(super) fn ask(
    args: &ServerArgs,
    method: Method,
    path: &[&str],
    query: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let none = |words| Failure { code: NO_SERVER, words };
    let whole: Vec<_> = ["api", "v1"].iter().chain(path).copied().collect();
    let (mut url, server): (Url, Peer) =
        server::url_of(&args.server, &args.papers, &whole).map_err(none)?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let body = body.map(Value::to_string);
    let timeout = Duration::from_secs(args.timeout);
    let max = limits::RULES_ANSWER_BYTES;
    let answer = server::send(method, url, &server, timeout, body, max).map_err(none)?;
    data(&answer, &server)
}

fn data(answer: &Answer, server: &Peer) -> Result<Value, Failure> {
    let told: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    if let (200, Some(data)) = (answer.code, told.get("data")) {
        return Ok(data.clone());
    }
    let Some(words) = told.get("error").and_then(Value::as_str) else {
        let words = format!("what answers at {server} is not tallyd, or of another version");
        return Err(Failure { code: NO_SERVER, words });
    };
    let code = if matches!(answer.code, 404 | 409 | 413) { NOT_DONE } else { WRONG };
    Err(Failure { code, words: words.to_owned() })
}

pub(super) fn end(command: &str, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(text) => {
            // Nobody reads it: then there is nobody to tell, either.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(Failure { code, words }) => {
            let _ = writeln!(io::stderr(), "tallyd {command}: {}", one_line(&words));
            ExitCode::from(code)
        }
    }
}

/// `tag=value`, each with a tag of its own.
fn labels(by: &[String]) -> Result<BTreeMap<&str, &str>, Failure> {
    let pair = |text: &'_ String| -> Option<()> { text.split_once('=').map(drop) };
    if let Some(wrong) = by.iter().find(|text| pair(text).is_none()) {
        let words = format!("--by `{}` is not tag=value", one_line(wrong));
        return Err(Failure { code: WRONG, words });
    }
    Ok(by.iter().filter_map(|text| text.split_once('=')).collect())
}

/// A rule's instance as a pattern: `errors-high{host="a"}`.
fn with_labels(rule: &str, labels: &BTreeMap<&str, &str>) -> String {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#);
    let tags: Vec<_> =
        labels.iter().map(|(tag, value)| format!("{tag}=\"{}\"", quoted(value))).collect();
    format!("{rule}{{{}}}", tags.join(","))
}

fn is_id(text: &str, mark: char) -> bool {
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = text.strip_prefix(mark).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(millis, serial)| millis.len() >= 10 && is_hex(millis) && is_hex(serial))
}

fn lines(data: &Value, name: &str, none: &str, line: impl Fn(&Value) -> String) -> String {
    let all = list(data, name);
    if all.is_empty() { none.to_owned() } else { all.iter().map(line).collect() }
}

fn list<'a>(data: &'a Value, name: &str) -> &'a [Value] {
    data.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    one_line(value.get(name).and_then(Value::as_str).unwrap_or_default())
}

fn who(value: &Value, name: &str) -> String {
    let who = text(value, name);
    if who.is_empty() { "somebody".to_owned() } else { who }
}

/// A rule with its instance.
fn title(value: &Value) -> String {
    let labels = value.get("labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels: Vec<_> = labels
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    one_line(&crate::notify::message::title(&text(value, "rule"), &labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_names_of_rules() {
        assert!(is_id("i19b8c3f2a80-1f", 'i'));
        for name in ["errors-high", "i-1", "i19b8c3f2a80", "in-flight", "s19b8c3f2a80-1"] {
            assert!(!is_id(name, 'i'), "{name}");
        }
    }

    #[test]
    fn instances_are_written_as_patterns() {
        let by = ["host=a\"b".to_owned(), "region=eu".to_owned()];
        let Ok(labels) = labels(&by) else { panic!("they are good") };
        let pattern = with_labels("errors-high", &labels);
        assert_eq!(pattern, r#"errors-high{host="a\"b",region="eu"}"#);
        assert!(pattern.parse::<crate::series::Pattern>().is_ok());
        let bad = ["eu".to_owned()];
        assert!(super::labels(&bad).is_err_and(|failure| failure.code == WRONG));
    }

    #[test]
    fn what_flaps_is_listed_so() {
        let line = |flapping| {
            let incident = json!({
                "id": "i1-2", "level": "ok", "rule": "errors", "labels": { "host": "a" },
                "flapping": flapping, "opened": "2026-01-05T00:00:00Z",
            });
            line_of_incident(&incident)
        };
        let flaps = "i1-2  ok        errors{host=a} (flapping)  since 2026-01-05T00:00:00Z\n";
        assert_eq!(line(true), flaps);
        assert!(!line(false).contains("flapping"));
    }

    #[test]
    fn a_missing_schedule_is_told_with_the_silence() {
        let silence = json!({
            "id": "s1-2", "rule": "a", "schedule": "night", "author": "kim",
            "missing_schedule": { "since": "2026-01-05T00:00:00Z", "forgotten": "2026-01-12T00:00:00Z" },
        });
        assert_eq!(
            line_of_silence(&silence),
            "s1-2  rules a in the hours of night (which the configuration has no more; the silence \
             is forgotten at 2026-01-12T00:00:00Z), by kim\n"
        );
    }

    #[test]
    fn lines_give_no_orders_to_a_terminal() {
        let silence = json!({
            "id": "s1-2", "rule": "a\u{1b}[2J", "until": "2026-01-05T00:00:00Z", "author": "",
            "comment": "b\r\nc",
        });
        assert_eq!(
            line_of_silence(&silence),
            "s1-2  rules a [2J until 2026-01-05T00:00:00Z, by somebody: b c\n"
        );
    }
}
