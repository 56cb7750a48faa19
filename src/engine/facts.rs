//! What rules and messages have to know again after a start: gathering it, and taking it over.
//!
//! Each layer says what has changed in it as facts that it alone can read. What a tick brought goes into
//! the record of its row; what happens between two ticks joins whatever waits for the log, or is a record
//! of its own. A checkpoint keeps what has changed since the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::state::State;
use crate::config::Config;
use crate::limits;
use crate::notify::audit::{Answer, What};
use crate::notify::outbox::Attempt;
use crate::notify::{
    Closing, Condition, DeliveryId, Deploy, Incident, Message, Moment, Outcome, Verdict,
};
use crate::rules::Rules;
use crate::store::{Facts, LogRecord, Table};
use crate::time::Timestamp;

impl State {
    /// Notes how an attempt to deliver ended.
    pub(super) fn settle(&mut self, id: DeliveryId, outcome: &Outcome, now: Timestamp) -> Verdict {
        let attempt = self.outbox.attempt(id);
        let verdict = self.outbox.settle(id, outcome, now);
        if let Some(attempt) = attempt {
            self.audit.note(now, of_attempt(attempt, outcome, verdict, now));
        }
        let (rules, outbox, audit) = (&self.rules, &mut self.outbox, &mut self.audit);
        self.incidents.pass_on(&mut Moment { now, rules, outbox, audit });
        self.note_lost(now);
        self.log_facts();
        verdict
    }

    /// Takes in how it is with the disk; whether somebody is to be told.
    pub(super) fn watch(&mut self, condition: Condition, now: Timestamp) -> bool {
        let is_told = self.outbox.watch(condition, now);
        if is_told {
            self.log_facts();
        }
        is_told
    }

    /// Notes which messages found no room in the outbox.
    pub(super) fn note_lost(&mut self, now: Timestamp) {
        for lost in self.outbox.take_lost() {
            self.audit.note(now, What::Lost(lost));
        }
    }

    /// Gathers what has changed, and has the log told of it.
    pub(super) fn log_facts(&mut self) {
        let mut facts = Facts::new(self.serial + 1);
        self.rules.note(&mut facts);
        self.incidents.note(&mut facts);
        self.outbox.note(&mut facts);
        facts.append(self.audit.take_facts());
        facts.append(self.deploys.take_facts());
        if facts.is_empty() || !self.is_logged {
            return;
        }
        self.serial = facts.serial;
        self.unkept.append(facts.clone());
        match self.log.back_mut() {
            Some(LogRecord::Row { facts: waiting, .. } | LogRecord::Facts(waiting)) => {
                waiting.append(facts);
            }
            _ => self.log.push_back(LogRecord::Facts(facts)),
        }
    }

    /// Gives what a row that is not logged led to to the record behind it: a row may be dropped, what it
    /// led to not.
    pub(super) fn hand_on(&mut self, at: usize, mut facts: Facts) {
        match self.log.get_mut(at) {
            _ if facts.is_empty() => {}
            Some(LogRecord::Row { facts: later, .. } | LogRecord::Facts(later)) => {
                facts.append(std::mem::take(later));
                *later = facts;
            }
            _ => self.log.insert(at, LogRecord::Facts(facts)),
        }
    }

    /// Takes facts of the log over, where they are later than what the checkpoint had.
    pub(super) fn replay_facts(&mut self, facts: Facts, table: &mut Table) {
        if facts.serial > self.serial {
            self.serial = facts.serial;
            table.apply(&facts);
            self.unkept.append(facts);
        }
    }

    /// Forgets incidents and lines of the audit that are too old at an instant that has surely come.
    pub(super) fn forget_past(&mut self, settled: Timestamp) {
        let horizon = settled - limits::PAST_KEPT;
        self.incidents.forget_before(horizon);
        self.audit.forget_before(horizon);
    }

    /// Takes over rules and contacts of another configuration. A rule that means the same goes on; what is
    /// open of others is closed, and told so.
    pub(super) fn reload(&mut self, config: &Config, now: Timestamp) -> Vec<Arc<Message>> {
        let tiers = self.windows.tiers();
        let old = std::mem::replace(&mut self.rules, Rules::new(&config.rules, tiers, now));
        self.rules.succeed(old);
        self.prepare_rules();
        self.incidents.configure(config);
        self.outbox.configure(config);
        self.audit.note(now, What::Reload { problem: None });
        self.close_strays(now)
    }

    /// Queues what is held for a later moment, since there will be none.
    pub(super) fn release(&mut self, now: Timestamp) -> Vec<Arc<Message>> {
        let (rules, outbox, audit) = (&self.rules, &mut self.outbox, &mut self.audit);
        let messages = self.incidents.release(&mut Moment { now, rules, outbox, audit });
        self.log_facts();
        messages
    }

    /// Closes incidents of rules that mean something else now, or are there no more.
    pub(super) fn close_strays(&mut self, now: Timestamp) -> Vec<Arc<Message>> {
        let meanings = self.rules.iter().map(|active| (&*active.rule().name, active.meaning()));
        let meanings: BTreeMap<_, _> = meanings.collect();
        let why = |incident: &Incident| match meanings.get(&*incident.rule.name) {
            Some(meaning) if *meaning == incident.meaning => None,
            Some(_) => Some(Closing::Edited),
            None => Some(Closing::Removed),
        };
        let (rules, outbox, audit) = (&self.rules, &mut self.outbox, &mut self.audit);
        let messages = self.incidents.close(why, &mut Moment { now, rules, outbox, audit });
        self.note_lost(now);
        self.log_facts();
        messages
    }

    /// Notes that another configuration was not taken, and why.
    pub(super) fn refuse(&mut self, problem: String, now: Timestamp) {
        self.audit.note(now, What::Reload { problem: Some(problem) });
        self.log_facts();
    }

    /// Notes that something was put into use; its id.
    pub(super) fn deploy(&mut self, deploy: Deploy) -> u64 {
        let id = self.deploys.add(deploy);
        self.log_facts();
        id
    }

    /// Forgets a deploy; whether it was known.
    pub(super) fn forget_deploy(&mut self, id: u64) -> bool {
        let is_known = self.deploys.remove(id);
        self.log_facts();
        is_known
    }

    /// Takes over what an earlier process knew; how many facts cannot be read.
    pub(super) fn recall(&mut self, table: &Table) -> usize {
        self.rules.recall(table)
            + self.incidents.recall(table)
            + self.outbox.recall(table, self.serial)
            + self.audit.recall(table)
            + self.deploys.recall(table)
    }
}

fn of_attempt(attempt: Attempt, outcome: &Outcome, verdict: Verdict, now: Timestamp) -> What {
    let reason = match outcome {
        Outcome::Delivered => String::new(),
        Outcome::Later { reason, .. } | Outcome::Refused { reason } => reason.clone(),
    };
    let answer = match verdict {
        Verdict::Done => Answer::Delivered,
        Verdict::Again(due) => Answer::Again { reason, due },
        Verdict::GivenUp => Answer::GivenUp { reason },
    };
    let recipient = attempt.recipient.shown().to_owned();
    What::Attempt {
        message: attempt.message,
        contact: attempt.contact,
        recipient,
        attempt: attempt.number,
        answer,
        took: now.since(attempt.since),
    }
}

#[cfg(test)]
mod tests;
