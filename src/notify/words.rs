//! What a notice says, in the words that every form of a message shares.
//!
//! Names, tags and summaries come from configuration and from whoever increments a counter, so
//! each is made one printable line before it stands between words of ours.

use super::message::{Closing, Message, Notice, NoticeKind, Undelivered};
use crate::rules::Level;
use crate::time::Span;

pub(super) use crate::reason::{cut, one_line};

/// What is said in a message that is not on the disk.
pub(super) const UNSAVED: &str = "tallyd cannot write to its disk. This message is not kept there: \
    after a restart nothing will be known of it.";

/// What is said in a message that was asked for.
pub(super) const TEST: &str =
    "This is a test. It was asked for with `tallyd notify test`; nothing is wrong.";

/// What is said beside that to receivers that keep an alert open.
pub(super) const TEST_ENDS: &str = "It ends by itself in a minute.";

/// A rule with its instance, on one line.
pub(super) fn title(notice: &Notice) -> String {
    one_line(&notice.title())
}

/// The value now: `17 in 5s`. A recovery may have none where data never came back.
pub(super) fn value(notice: &Notice) -> String {
    match (notice.value, notice.kind) {
        (_, NoticeKind::Flapping) => "flapping".to_owned(),
        (Some(value), _) if notice.is_at_least => {
            format!("at least {}", notice.rule.unit.say(value))
        }
        (Some(value), _) => notice.rule.unit.say(value),
        (None, _) if notice.problem.is_some() => "not judged".to_owned(),
        (None, NoticeKind::Recovered) => "recovered".to_owned(),
        (None, NoticeKind::ScheduleEnded) => "not watched now".to_owned(),
        (None, NoticeKind::Ended) => "over".to_owned(),
        (None, NoticeKind::Closed(_)) => "closed".to_owned(),
        (None, _) => "no data".to_owned(),
    }
}

/// What happened, as sentences.
pub(super) fn happened(notice: &Notice) -> String {
    let from = state(notice.from);
    if let Some(problem) = &notice.problem {
        return format!("The rule itself has a problem: {}.", one_line(problem));
    }
    match (notice.kind, notice.level) {
        (NoticeKind::Recovered, _) => {
            let lasted = duration(notice.since.since(notice.opened));
            format!("It has recovered. It was {from}, and lasted {lasted}.")
        }
        (NoticeKind::ScheduleEnded, _) => {
            let lasted = duration(notice.since.since(notice.opened));
            let schedule = notice.rule.schedule.as_ref();
            let schedule = schedule.map_or(String::new(), |name| format!(" {name}"));
            format!(
                "The hours of its schedule{schedule} are over, so it is not watched any more. It was \
                 {from}, and lasted {lasted} until then. What holds when they begin again is told anew."
            )
        }
        (NoticeKind::Flapping, _) => flapping(notice),
        (NoticeKind::Settled, Level::Unknown) => {
            "It has ceased to flap: data stopped coming, so nobody knows how it is.".to_owned()
        }
        (NoticeKind::Settled, level) => format!("It has ceased to flap: it is {}.", state(level)),
        (NoticeKind::Ended, _) => {
            let lasted = duration(notice.since.since(notice.opened));
            format!(
                "It was {from}, is over, and lasted {lasted}; word of it could not be sent before."
            )
        }
        (NoticeKind::Closed(why), _) => {
            let why = match why {
                Closing::Edited => "The rule was changed and begins anew",
                Closing::Removed => "The rule was removed",
            };
            format!("{why}, so this is closed. It was {from} until then.")
        }
        (NoticeKind::Acknowledged, _) => "Somebody looks after it.".to_owned(),
        (NoticeKind::Repeat, level) => {
            format!("It is still {}, and nobody has acknowledged it.", state(level))
        }
        (NoticeKind::Escalated, level) => {
            format!("It is {}, and nobody has acknowledged it.", state(level))
        }
        (NoticeKind::Firing, Level::Unknown) => {
            "Data stopped coming, so nobody knows how it is.".to_owned()
        }
        (NoticeKind::Worse, Level::Unknown) => {
            format!("Data stopped coming, so nobody knows how it is. It was {from}.")
        }
        (NoticeKind::Firing, Level::Warning) => "A warning began.".to_owned(),
        (NoticeKind::Firing, level) => format!("It became {}.", state(level)),
        (NoticeKind::Worse, level) => {
            format!("It got worse: it was {from}, it is {} now.", state(level))
        }
    }
}

/// What flaps, and when it will be heard of again.
fn flapping(notice: &Notice) -> String {
    let rule = &notice.rule;
    let (changes, within) = rule.flapping;
    let still = duration(within);
    let but = rule.insists.map_or(String::new(), |insists| {
        let insists = duration(insists);
        format!(" Should it be critical for {insists} without a break, that is told even so.")
    });
    format!(
        "It is flapping: its state changed more than {changes} times in {still}. Nothing more is told \
         until it has been still for {still}; then its state is, whatever it is.{but}"
    )
}

fn state(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "a warning",
        Level::Unknown => "unknown",
        Level::Critical => "critical",
    }
}

/// The threshold that the notice is about, or every one of the rule where it is about none, as with
/// missing data: `critical above 10, until at most 5`.
pub(super) fn threshold(notice: &Notice) -> String {
    let about = if notice.kind.is_over() { notice.from } else { notice.level };
    let rule = &notice.rule;
    let all: Vec<_> = [(Level::Critical, &rule.critical), (Level::Warning, &rule.warning)]
        .into_iter()
        .filter_map(|(level, threshold)| Some((level, threshold.as_ref()?)))
        .map(|(level, threshold)| (level, format!("{} {threshold}", level.word())))
        .collect();
    match all.iter().find(|(level, _)| *level == about) {
        Some((_, text)) => text.clone(),
        None => all.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; "),
    }
}

/// What has to be known about a value that rests on part of its window, if it does.
pub(super) fn scaled(notice: &Notice) -> Option<&'static str> {
    (notice.covered < 1.0 && notice.value.is_some())
        .then_some("part of the window was not covered; the sum is scaled up")
}

/// From when to when it lasted: `was critical from 2026-01-05T00:00:00Z to 2026-01-05T00:07:00Z`.
pub(super) fn was(notice: &Notice) -> String {
    let (began, ended) = (notice.opened.rfc3339(), notice.since.rfc3339());
    format!("was {} from {began} to {ended}", state(notice.from))
}

/// What has to be known about the message itself, if anything has to.
pub(super) fn note(message: &Message) -> Option<String> {
    let test = message.is_test.then(|| TEST.to_owned());
    let unsaved = message.is_unsaved.then(|| UNSAVED.to_owned());
    let notes: Vec<_> = test.into_iter().chain(unsaved).chain(undelivered(message)).collect();
    (!notes.is_empty()).then(|| notes.join(" "))
}

/// Why somebody is told what was for somebody else, where that is so.
pub(super) fn undelivered(message: &Message) -> Option<String> {
    let Undelivered { contact, to, reason } = message.undelivered.as_ref()?;
    let to = if to == contact { String::new() } else { format!(" ({})", one_line(to)) };
    let reason = one_line(reason);
    Some(format!("This was for {contact}{to}, who could not be reached: {reason}."))
}

/// A length of time in words, by its two largest units: `2 hours 5 minutes`.
pub(super) fn duration(span: Span) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = span.as_millis() / 1000;
    let Some(first) = UNITS.iter().position(|(size, _)| rest >= *size) else {
        return "less than a second".to_owned();
    };
    let mut parts = Vec::new();
    for (size, name) in UNITS.iter().skip(first).take(2) {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_by_their_two_largest_units() {
        let check = |secs: u64, expect: &str| assert_eq!(duration(Span::from_secs(secs)), expect);
        check(0, "less than a second");
        check(1, "1 second");
        check(60, "1 minute");
        check(3725, "1 hour 2 minutes");
        check(3605, "1 hour");
        check(90_000, "1 day 1 hour");
        check(40 * 86_400, "40 days");
    }
}
