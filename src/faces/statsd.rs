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
            return Err(Refusal::EventRoom);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::tests::{START, shared};
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn an_event_too_many_is_told_from_one_that_is_none() {
        let mut statsd = StatsD::new(shared(&Config::default()).0, 7);
        let mut tell = |line: &str, now| statsd.tell(line.as_bytes(), now);
        for _ in 0..limits::EVENTS_HOUR {
            assert_eq!(tell("_e{4,0}:shop|", START), Ok(()));
        }
        assert_eq!(tell("_e{4,0}:shop|", START), Err(Refusal::EventRoom));
        assert_eq!(tell("_e{4,9}:shop|", START), Err(Refusal::Event));
        assert_eq!(tell("_e{4,0}:shop|", START + Span::from_secs(3600)), Ok(()));
    }

    /// What the longest datagrams cost, and the tick after them: with values of counters, with observations, and
    /// with observations that stand for as many as they may.
    #[test]
    #[ignore = "it measures"]
    fn what_a_datagram_costs() {
        let (shared, clocks) = shared(&Config::default());
        let mut statsd = StatsD::new(shared.clone(), 7);
        let spent = || {
            let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            u128::try_from(cpu.tv_sec).unwrap() * 1_000_000
                + u128::try_from(cpu.tv_nsec).unwrap() / 1000
        };
        let lowest = format!("|ms|@{}", 1.0 / f64::from(limits::OBSERVATION_WEIGHT));
        for (what, kind) in [("counts", "|c"), ("weight 1", "|ms"), ("heaviest", lowest.as_str())] {
            let name = what.replace(' ', "");
            let line = format!("{name}{}{kind}", ":1".repeat(4000));
            let began = spent();
            for _ in 0..8 * 20 {
                statsd.tell(line.as_bytes(), shared.now()).unwrap();
            }
            let told = spent();
            clocks.wall.fetch_add(1000, Relaxed);
            shared.engine.tick(shared.now());
            let (each, tick) = ((told - began) / 20, spent() - told);
            eprintln!(
                "{what}: {each} µs a datagram of {} bytes and 32,000 values; the tick after 20 of them {tick} µs",
                8 * line.len()
            );
        }
    }
}
