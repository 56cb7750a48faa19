//! `tallyd rules list` and `tallyd rules show`: how the rules of a running server stand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::super::{ServerArgs, server};
use crate::limits;
use crate::notify::message::title;
use crate::reason::one_line;

/// Exit codes; `--help` lists them.
const NO_SUCH_RULE: u8 = 1;
const NO_SERVER: u8 = 3;

/// What the server answers.
#[derive(serde::Deserialize)]
struct Answer {
    data: Groups,
}

#[derive(serde::Deserialize)]
struct Groups {
    groups: Vec<Rules>,
}

#[derive(serde::Deserialize)]
struct Rules {
    rules: Vec<Rule>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: String,
    query: String,
    level: String,
    annotations: BTreeMap<String, String>,
    instances: Vec<Instance>,
    last_error: Option<String>,
    /// What of it no series matches.
    #[serde(default)]
    unmatched: Option<String>,
    last_evaluation: String,
}

#[derive(serde::Deserialize)]
struct Instance {
    labels: BTreeMap<String, String>,
    level: String,
    pending: Option<String>,
    since: String,
    began: Option<f64>,
    worst: Option<f64>,
    seen: String,
}

/// Prints all rules, a line each.
pub(in crate::cli) fn list(args: &ServerArgs) -> ExitCode {
    print(fetch(args, None).map(|rules| table(&rules)), "list")
}

/// A tag as it is asked for.
pub(in crate::cli) fn tag(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(tag, _)| !tag.is_empty());
    let (tag, value) = pair.ok_or("write it as TAG=VALUE, like region=eu")?;
    Ok((tag.to_owned(), value.to_owned()))
}

/// Prints one rule with all its instances that have these tags.
pub(in crate::cli) fn show(name: &str, by: &[(String, String)], args: &ServerArgs) -> ExitCode {
    let mut rules = match fetch(args, Some(name)) {
        Ok(rules) => rules,
        Err(error) => return print(Err(error), "show"),
    };
    let none = |what: &str| {
        let _ = writeln!(io::stderr(), "tallyd rules show: {}", one_line(what));
        ExitCode::from(NO_SUCH_RULE)
    };
    let Some(rule) = rules.iter_mut().find(|rule| rule.name == name) else {
        return none(&format!("there is no rule `{name}`"));
    };
    rule.instances.retain(|instance| instance.has(by));
    if rule.instances.is_empty() && !by.is_empty() {
        let asked: Vec<_> = by.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        return none(&format!("`{name}` has no instance with {}", asked.join(" and ")));
    }
    print(Ok(whole(rule)), "show")
}

impl Instance {
    fn has(&self, tags: &[(String, String)]) -> bool {
        tags.iter().all(|(tag, value)| self.labels.get(tag) == Some(value))
    }
}

fn print(text: Result<String, String>, command: &str) -> ExitCode {
    match text {
        Ok(text) => {
            // Nobody reads it: then there is nobody to tell, either.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "tallyd rules {command}: {}", one_line(&error));
            ExitCode::from(NO_SERVER)
        }
    }
}

fn fetch(args: &ServerArgs, name: Option<&str>) -> Result<Vec<Rule>, String> {
    let (mut url, server) = server::url_of(&args.server, &args.papers, &["api", "v1", "rules"])?;
    url.query_pairs_mut().extend_pairs(name.map(|name| ("rule_name[]", name)));
    let timeout = Duration::from_secs(args.timeout);
    let got = server::get(url, &server, timeout, limits::RULES_ANSWER_BYTES)?;
    if got.code != 200 {
        let (code, told) = (got.code, server::told(&got.text));
        return Err(format!("tallyd at {server} answered with status {code}: {told}"));
    }
    let answer: Answer = serde_json::from_str(&got.text)
        .map_err(|_| format!("what answers at {server} is not tallyd, or of another version"))?;
    Ok(answer.data.groups.into_iter().flat_map(|group| group.rules).collect())
}

fn table(rules: &[Rule]) -> String {
    if rules.is_empty() {
        return "there are no rules\n".to_owned();
    }
    let name_chars = rules.iter().map(|rule| rule.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:name_chars$}  {:8}  {:>9}  SEEN\n", "RULE", "STATE", "INSTANCES");
    for rule in rules {
        let bad = rule.instances.iter().filter(|instance| instance.level != "ok").count();
        let all = rule.instances.len();
        let instances = if bad == 0 { all.to_string() } else { format!("{bad} of {all}") };
        let unmatched =
            rule.unmatched.as_ref().map(|pattern| format!("no series matches {pattern}"));
        let seen = rule.last_error.as_deref().or(unmatched.as_deref());
        let seen = seen.or(worst(rule).map(|worst| &*worst.seen)).unwrap_or("–");
        let (name, level, seen) = (&rule.name, &rule.level, one_line(seen));
        let _ = writeln!(text, "{name:name_chars$}  {level:8}  {instances:>9}  {seen}");
    }
    text
}

/// The instance that stands worst; of several the first.
fn worst(rule: &Rule) -> Option<&Instance> {
    rule.instances.iter().rev().max_by_key(|instance| rank(&instance.level))
}

fn rank(level: &str) -> usize {
    ["ok", "warning", "unknown", "critical"].iter().position(|word| *word == level).unwrap_or(0)
}

fn whole(rule: &Rule) -> String {
    let mut text = format!("{}: {}\n", rule.name, rule.level);
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "  {what:9} {}", one_line(value));
    };
    line("measures", &rule.query);
    for (name, value) in &rule.annotations {
        line(if name == "runbook_url" { "runbook" } else { name }, value);
    }
    if let Some(error) = &rule.last_error {
        line("wrong", error);
    }
    if let Some(pattern) = &rule.unmatched {
        line("watches", &format!("nothing: no series matches {pattern}"));
    }
    line("evaluated", &rule.last_evaluation);
    for instance in &rule.instances {
        text += &told(rule, instance);
    }
    text
}

fn told(rule: &Rule, instance: &Instance) -> String {
    let labels: Vec<_> = instance.labels.clone().into_iter().collect();
    let name = one_line(&title(&rule.name, &labels));
    let pending = instance.pending.as_ref().map(|level| format!(", pending {level}"));
    let mut values = String::new();
    for (what, value) in [("began at", instance.began), ("worst", instance.worst)] {
        if let Some(value) = value.filter(|_| instance.level != "ok") {
            let _ = write!(values, "; {what} {value}");
        }
    }
    format!(
        "  {name}: {}{} since {}: {}{values}\n",
        instance.level,
        pending.unwrap_or_default(),
        instance.since,
        one_line(&instance.seen)
    )
}
