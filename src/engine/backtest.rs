//! When rules would have fired: stored history, seen and judged by the code that does so live.
//!
//! A rule is stepped through time at the pace that it has live, as far back as the windows are kept that it
//! would have read then; before that, at the pace of the coarser windows that still are. Where even these are
//! longer than what the rule asks about, nothing is judged: a sum over an hour says nothing about five minutes.
//! While nothing is known to have happened, it was not evaluated. Who would have been told is what
//! [`Incidents`] says; nothing is sent. It works on copies, so no tick waits for it.

mod tape;

use std::collections::BTreeMap;

use super::{Engine, Past, TooMuch};
use crate::config::{Config, Contact, Rule, Secret, Webhook, WebhookFormat};
use crate::limits;
use crate::notify::message::title;
use crate::notify::{Audit, Incidents, Message, Moment, Outbox};
use crate::query::{Group, Question};
use crate::rules::state::worse;
use crate::rules::{Event, Level, Policy, Rules, Transition};
use crate::store::{Coverage, Facts};
use crate::time::{Span, Timestamp, Window};

pub use tape::Part;
use tape::Tape;

/// What one rule would have done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tested {
    /// Its name.
    pub rule: String,
    /// Why it was not played at all.
    pub problem: Option<String>,
    /// At which resolution, from old to young; without a gap.
    pub parts: Vec<Part>,
    /// Each time that an instance was not ok, in the order of their beginning; of very many the first.
    pub firings: Vec<Firing>,
    /// How many there were.
    pub fired: u64,
    /// Messages that each contact would have been sent.
    pub messages: BTreeMap<String, u64>,
}

/// A time in which an instance was not ok.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// The rule, with its instance behind it.
    pub title: String,
    /// The worst that it was.
    pub level: Level,
    /// Since when.
    pub begin: Timestamp,
    /// Until when; `None`: it was not over.
    pub end: Option<Timestamp>,
    /// The worst value, where there was one.
    pub worst: Option<f64>,
}

/// What happens while a rule is played.
pub(super) enum Step<'a> {
    /// Its state changed, or something else is to be told of it.
    Event(&'a Event),
    /// Somebody would have been told.
    Message(&'a Message),
}

/// It was ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was ended before it was done")]
pub struct Stopped;

impl Tested {
    /// How much of the time that was played is known.
    #[must_use]
    pub fn known(&self) -> Span {
        self.parts.iter().fold(Span::ZERO, |sum, part| sum.plus(part.known))
    }

    /// Messages to all contacts in a week of known time; `None` where nothing is known.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "messages of years are fewer than 2^53")]
    pub fn messages_per_week(&self) -> Option<f64> {
        let weeks = self.known().as_secs_f64() / Span::WEEK.as_secs_f64();
        let messages: u64 = self.messages.values().sum();
        (weeks > 0.0).then(|| messages as f64 / weeks)
    }
}

impl Engine {
    /// The rules that are evaluated, as they were written.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        self.view(|view| view.rules.written().cloned().collect())
    }

    /// Plays these rules over stored history, or the one of that name; rules that it depends on are
    /// played with it. `goes_on` is asked every few milliseconds.
    ///
    /// # Errors
    /// [`Stopped`], where it does not go on.
    pub fn backtest(
        &self,
        rules: &[Rule],
        name: Option<&str>,
        span: Window,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Vec<Tested>, Stopped> {
        let mut room = limits::BACKTEST_FIRINGS;
        let asked = rules.iter().filter(|rule| name.is_none_or(|name| rule.name == name));
        let mut all = Vec::new();
        for rule in asked {
            let tested = self.backtest_one(rules, rule, span, room, goes_on, &mut |_| {})?;
            room -= tested.firings.len();
            all.push(tested);
        }
        Ok(all)
    }

    pub(super) fn backtest_one(
        &self,
        rules: &[Rule],
        rule: &Rule,
        span: Window,
        room: usize,
        goes_on: &dyn Fn() -> bool,
        each: &mut dyn FnMut(&Step<'_>),
    ) -> Result<Tested, Stopped> {
        let cast = with_dependencies(rules, rule);
        let mut tapes = Vec::new();
        for rule in &cast {
            match self.tape(rule, span) {
                Ok(tape) => tapes.push(tape),
                Err(problem) => {
                    let problem = format!("`{}` cannot be played: {problem}", rule.name);
                    return Ok(Tested {
                        rule: cast.first().map(|rule| rule.name.clone()).unwrap_or_default(),
                        problem: Some(problem),
                        ..Tested::default()
                    });
                }
            }
        }
        let parts = tapes.first().map(Tape::parts).unwrap_or_default();
        let coverage = tapes.first().map(Tape::up).unwrap_or_default();
        let mut log = Log::new(rule, room, coverage);
        let rules = run(&cast, tapes, span.start, goes_on, &mut |mut events, rules, now| {
            events.retain(|event| event.rule.name == rule.name);
            log.take(events, rules, now, each);
        })?;
        log.take(Vec::new(), &rules, span.end + Span::SECOND, each);
        Ok(Tested { parts, ..log.book.finish(&rules) })
    }

    fn tape(&self, rule: &Rule, span: Window) -> Result<Tape, String> {
        let past = |pattern| {
            let past = self.past(pattern, &rule.by, limits::MEASURE_SERIES, limits::RULE_INSTANCES);
            past.map_err(|error: TooMuch| error.to_string())
        };
        let part: Past = past(&rule.series)?;
        let whole = rule.over.as_ref().map(past).transpose()?;
        Ok(Tape::new(rule, question(rule), part, whole, span))
    }
}

/// Steps all rules through time together; how they stand in the end.
fn run(
    cast: &[Rule],
    mut tapes: Vec<Tape>,
    start: Timestamp,
    goes_on: &dyn Fn() -> bool,
    take: &mut dyn FnMut(Vec<Event>, &Rules, Timestamp),
) -> Result<Rules, Stopped> {
    let tiers = tapes.first().map_or(&[][..], Tape::tiers);
    let mut rules = Rules::new(cast, tiers, start);
    loop {
        for (place, tape) in tapes.iter_mut().enumerate() {
            if tape.next().is_none()
                && let Some(every) = tape.refill(goes_on)?
            {
                rules.set_pace(place, every);
            }
        }
        let Some(now) = tapes.iter().filter_map(Tape::next).min() else { return Ok(rules) };
        take(Vec::new(), &rules, now);
        let due = tapes.iter().enumerate().filter(|(_, tape)| tape.next() == Some(now));
        let events = rules.replay(now, due.map(|(place, tape)| (place, tape.seen())));
        if !events.is_empty() {
            take(events, &rules, now);
        }
        tapes.iter_mut().filter(|tape| tape.next() == Some(now)).for_each(Tape::step);
    }
}

/// A rule, and behind it all that it depends on.
fn with_dependencies(rules: &[Rule], rule: &Rule) -> Vec<Rule> {
    let mut cast = vec![rule.clone()];
    let mut looked_at = 0;
    while let Some(one) = cast.get(looked_at) {
        let is_new = |name: &&String| cast.iter().all(|rule| rule.name != **name);
        let new: Vec<_> = one.depends_on.iter().filter(is_new).collect();
        let new: Vec<_> = rules.iter().filter(|rule| new.contains(&&rule.name)).cloned().collect();
        cast.extend(new);
        looked_at += 1;
    }
    cast
}

fn question(rule: &Rule) -> Question {
    Question {
        measure: rule.measure,
        per: rule.per,
        window: rule.window,
        against: rule.against,
        zone: rule.zone().cloned(),
        change: rule.change,
        floor: rule.floor,
    }
}

/// The contact that stands for those who are told where a rule names nobody.
pub const DEFAULT_CONTACT: &str = "default";

/// What is written down of a rule while it is played.
struct Log {
    book: Book,
    incidents: Incidents,
    /// Up to when everything was told.
    told: Timestamp,
    /// When tallyd was up, or history is that was imported.
    coverage: Coverage,
}

/// What comes of it.
struct Book {
    tested: Tested,
    open: BTreeMap<Group, Firing>,
    room: usize,
}

impl Log {
    fn new(rule: &Rule, room: usize, coverage: Coverage) -> Self {
        let told = Timestamp::from_millis(i64::MIN);
        let tested = Tested { rule: rule.name.clone(), ..Tested::default() };
        let incidents = Incidents::new(&listeners(rule));
        Self { book: Book { tested, open: BTreeMap::new(), room }, incidents, told, coverage }
    }

    /// Takes in what happened to the rule at an instant; where that is nothing, what was to be told before it.
    fn take(
        &mut self,
        events: Vec<Event>,
        rules: &Rules,
        now: Timestamp,
        each: &mut dyn FnMut(&Step<'_>),
    ) {
        let Self { book, incidents, told, coverage } = self;
        let mut hear = |step: &Step<'_>| {
            book.hear(step);
            each(step);
        };
        for event in &events {
            hear(&Step::Event(event));
        }
        // Each finds it empty: nothing is kept back for want of room.
        let (mut outbox, mut audit) = (Outbox::new(Span::DAY), Audit::default());
        let mut step = |incidents: &mut Incidents, events, now| {
            let mut moment = Moment { now, rules, outbox: &mut outbox, audit: &mut audit };
            for message in incidents.step(events, &mut moment) {
                hear(&Step::Message(&message));
            }
        };
        if events.is_empty() {
            // What was held, or was to be told again, since the last event.
            let due = |incidents: &Incidents, told| {
                let due = incidents.next_due(told).map(|due| first_up(coverage, due));
                due.filter(|due| *due < now)
            };
            while let Some(due) = due(incidents, *told) {
                *told = due;
                step(incidents, Vec::new(), due);
            }
        } else {
            *told = now;
            step(incidents, events, now);
        }
        // What is to be kept of that is kept by nobody.
        incidents.note(&mut Facts::default());
    }
}

/// The first tick at or after `due` that there was; `due` itself where nothing is known.
fn first_up(coverage: &Coverage, due: Timestamp) -> Timestamp {
    let range = Window { start: due - Span::SECOND, end: Timestamp::from_millis(i64::MAX) };
    let up = coverage.parts(range).next();
    up.map_or(due, |up| due.max(up.start + Span::SECOND))
}

impl Book {
    fn hear(&mut self, step: &Step<'_>) {
        match step {
            Step::Event(event) => self.note(event),
            Step::Message(message) => {
                *self.tested.messages.entry(message.contact.clone()).or_default() += 1;
            }
        }
    }

    fn note(&mut self, event: &Event) {
        let Transition { from, to, at, value, worst: before, .. } = event.transition;
        if from == Level::Ok && to != Level::Ok {
            let title = title(&event.rule.name, &event.labels());
            let firing = Firing { title, level: to, begin: at, end: None, worst: value };
            self.open.insert(event.group.clone(), firing);
            return;
        }
        let Some(firing) = self.open.get_mut(&event.group) else { return };
        let policy = Policy::of(&event.rule);
        firing.worst = worse(&policy, from, firing.worst, before);
        firing.level = firing.level.max(to);
        if to != Level::Ok {
            firing.worst = worse(&policy, to, firing.worst, value);
        } else if let Some(firing) = self.open.remove(&event.group) {
            self.close(Firing { end: Some(at), ..firing });
        }
    }

    fn close(&mut self, firing: Firing) {
        self.tested.fired += 1;
        if self.tested.firings.len() < self.room {
            self.tested.firings.push(firing);
        }
    }

    /// All of it, with what is not over.
    fn finish(mut self, rules: &Rules) -> Tested {
        let active = rules.get(&self.tested.rule);
        for (group, mut firing) in std::mem::take(&mut self.open) {
            let state = active.and_then(|active| {
                let mut instances = active.instances();
                instances.find(|(of, _)| **of == group).map(|(_, state)| (active, state))
            });
            if let Some((active, state)) = state {
                let policy = Policy::of(active.rule());
                firing.worst = worse(&policy, state.level, firing.worst, state.worst);
            }
            self.close(firing);
        }
        self.tested.firings.sort_by_key(|firing| firing.begin);
        self.tested
    }
}

/// Everyone whom a rule tells; nobody is called.
fn listeners(rule: &Rule) -> Config {
    let contact = |name: &str| {
        let webhook = Webhook {
            url: Secret::new("http://127.0.0.1:9/"),
            format: WebhookFormat::Alertmanager,
            secret: None,
            ca_pem: None,
            headers: BTreeMap::new(),
        };
        Contact { name: name.to_owned(), email: Vec::new(), webhook: Some(webhook) }
    };
    let named = rule.notify.iter().flatten();
    let named = named.chain(rule.escalate.iter().flat_map(|step| &step.notify));
    let named = named.map(|name| contact(name));
    let contacts = named.chain([contact(DEFAULT_CONTACT)]).collect();
    let mut config = Config { contacts, ..Config::default() };
    config.notify.default = vec![DEFAULT_CONTACT.to_owned()];
    config
}
