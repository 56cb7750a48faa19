//! StatsD, as Etsy's and Datadog's clients speak it.
//!
//! A line goes to the live table as a request of the memcached port does. Sets are gathered until their stretch is
//! over. An event is noted as a deploy is, for charts and mails; on a thread where the disk may take its time, and
//! not so many an hour that they would take the place of deploys.

use std::sync::Arc;

use super::Shared;
use super::told::{Refusal, Teller};
use crate::engine::{Dice, Sets, sample};
use crate::limits;
use crate::notify::Deploy;
use crate::protocol::statsd::{Event, Line, Sample, Samples, Value, parse};
use crate::time::{Span, Timestamp};

/// What is known between two lines.
pub struct StatsD {
    shared: Shared,
    sets: Sets,
    dice: Dice,
    events: Events,
}

/// How many events there were in the present hour.
#[derive(Default)]
struct Events {
    hour: i64,
    taken: u32,
}

impl Events {
    fn has_room(&mut self, now: Timestamp) -> bool {
        let hour = now.as_secs().div_euclid(3600);
        if self.hour != hour {
            *self = Self { hour, taken: 0 };
        }
        self.taken += 1;
        self.taken <= limits::EVENTS_HOUR
    }
}

impl StatsD {
    /// Nothing is known yet. The seed is for what sampling leaves to chance.
    #[must_use]
    pub fn new(shared: Shared, seed: u64) -> Self {
        Self { shared, sets: Sets::default(), dice: Dice::new(seed), events: Events::default() }
    }

    fn samples(&mut self, samples: &Samples<'_>, now: Timestamp) -> Result<(), Refusal> {
        let Samples { key, list, at } = samples;
        if at.is_some_and(|at| !is_near(at, now)) {
            return Err(Refusal::Time);
        }
        let mut told = Ok(());
        for Sample { value, rate } in list {
            let done = match value {
                Value::Member(member) => self.member(key, member, now),
                value => {
                    let counters = self.shared.engine.counters();
                    sample(counters, key, *value, *rate, now, &mut self.dice).map_err(Refusal::from)
                }
            };
            told = told.and(done);
        }
        told
    }

    fn member(&mut self, key: &[u8], member: &[u8], now: Timestamp) -> Result<(), Refusal> {
        if self.sets.add(key, member, now) { Ok(()) } else { Err(Refusal::Room) }
    }

    fn event(&mut self, event: &Event, now: Timestamp) -> Result<(), Refusal> {
        let Event { title, text, host, at } = event;
        let what = if text.is_empty() { title.clone() } else { format!("{title}: {text}") };
        let at = at.filter(|at| *at <= now).unwrap_or(now);
        let deploy = Deploy::new(at, &what, host).ok_or(Refusal::Event)?;
        if !self.events.has_room(now) {
            return Err(Refusal::Event);
        }
        let engine = Arc::clone(&self.shared.engine);
        drop(tokio::task::spawn_blocking(move || engine.deploy(deploy)));
        Ok(())
    }
}

/// Whether what was at an instant may be counted now.
fn is_near(at: Timestamp, now: Timestamp) -> bool {
    at.since(now).max(now.since(at)) <= Span::from_secs(limits::TOLD_SECS)
}

impl Teller for StatsD {
    fn tell(&mut self, line: &[u8], now: Timestamp) -> Result<(), Refusal> {
        match parse(line)? {
            Line::Samples(samples) => self.samples(&samples, now),
            Line::Event(event) => self.event(&event, now),
        }
    }

    fn settle(&mut self, now: Timestamp, is_last: bool) {
        for untaken in self.sets.close(self.shared.engine.counters(), now, is_last) {
            self.shared.status.statsd.refuse(untaken.into());
        }
    }
}
