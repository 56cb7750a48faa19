//! `tallyd notify test CONTACT`: a message that says that it is a test, through the courier that real ones take.
//!
//! It waits until each recipient of the contact took it or did not, and says so on a line each.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::acts::{Failure, ask, end};
use super::{NotifyTestArgs, ServerArgs};
use crate::limits;
use crate::reason::one_line;

/// Exit code where somebody did not get it.
const NOT_DELIVERED: u8 = 1;

/// Between two questions for the outcome.
const PAUSE: Duration = Duration::from_millis(250);

/// Sends it, and waits for the outcome.
pub(super) fn test(args: &NotifyTestArgs) -> ExitCode {
    end("notify test", try_test(&args.contact, &args.server))
}

fn try_test(contact: &str, server: &ServerArgs) -> Result<String, Failure> {
    let path = ["notify", "test"];
    let sent = ask(server, Method::POST, &path, &[], Some(&json!({ "contact": contact })))?;
    let message = sent.get("message").and_then(Value::as_str).unwrap_or_default();
    // A courier is cut off by then, and what waited for it was answered.
    let most = Duration::from_secs(limits::COURIER_SECS * 2).as_millis() / PAUSE.as_millis();
    for _ in 0..most {
        let told = ask(server, Method::GET, &path, &[("message", message)], None)?;
        if told.get("waiting").and_then(Value::as_u64) == Some(0) {
            return outcome(&told);
        }
        pause()?;
    }
    let words = "it is not delivered yet; /api/v1/deliveries tells more".to_owned();
    Err(Failure { code: NOT_DELIVERED, words })
}

fn outcome(told: &Value) -> Result<String, Failure> {
    let attempts = told.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |attempt: &Value, name: &str| {
        one_line(attempt.get(name).and_then(Value::as_str).unwrap_or_default())
    };
    let (mut taken, mut refused) = (String::new(), Vec::new());
    for attempt in &attempts {
        let (to, seconds) = (text(attempt, "to"), attempt.get("seconds").and_then(Value::as_f64));
        if text(attempt, "outcome") == "delivered" {
            let _ = writeln!(taken, "{to}: delivered in {:.1} s", seconds.unwrap_or_default());
        } else {
            refused.push(format!("{to}: not delivered: {}", text(attempt, "reason")));
        }
    }
    if refused.is_empty() && !taken.is_empty() {
        if told.get("ends").and_then(Value::as_bool) == Some(true) {
            taken.push_str("where it is an open alert now, that ends by itself in a minute\n");
        }
        return Ok(taken);
    }
    if refused.is_empty() {
        refused.push("nothing was sent: the contact has nobody to tell".to_owned());
    }
    refused.extend(taken.lines().map(str::to_owned));
    Err(Failure { code: NOT_DELIVERED, words: refused.join("; ") })
}

fn pause() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| Failure { code: 3, words: error.to_string() })?;
    runtime.block_on(async { tokio::time::sleep(PAUSE).await });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_get_it_is_told_with_the_reason() {
        let delivered = json!({ "to": "a@example.com", "outcome": "delivered", "seconds": 0.25 });
        let told = json!({ "attempts": [delivered] });
        let Ok(text) = outcome(&told) else { panic!("everybody got it") };
        assert_eq!(text, "a@example.com: delivered in 0.2 s\n");
        let Ok(text) = outcome(&json!({ "attempts": [delivered], "ends": true })) else { panic!() };
        assert!(text.ends_with("ends by itself in a minute\n"), "{text}");
        let refused = json!({ "to": "b@example.com", "outcome": "given_up", "reason": "550 no" });
        let Err(failure) = outcome(&json!({ "attempts": [delivered, refused] })) else {
            panic!("one did not")
        };
        assert_eq!(failure.code, NOT_DELIVERED);
        assert!(
            failure.words.starts_with("b@example.com: not delivered: 550 no; a@"),
            "{}",
            failure.words
        );
        assert!(outcome(&json!({ "attempts": [] })).is_err(), "nobody got it");
    }
}
