//! What `/metrics` answers, in Prometheus' text format, version 0.0.4, and in OpenMetrics, version 1.0.0.
//!
//! Every counter's total, every gauge, and number and sum of every distribution's observations, with
//! tags as labels, then tallyd's own figures. Prometheus
//! spells with fewer characters than we do, so what is different here may be the same there. What
//! falls together is kept apart, in the same way at every start and in either form, and counted in
//! `tallyd_metric_name_collisions`: a series whose name is spelled like another's has its own in a
//! label `tallyd_name`; one whose tags are spelled like another's, too, has its whole key in a label
//! `tallyd_series`; a gauge that is spelled like a counter or a distribution is a family of its own, which ends in
//! `_value`, and such a distribution one that ends in `_observed`; and a user's name that begins with `tallyd_` gets
//! `user_` before it.
//!
//! First it is seen which series make a family, a part of them at a time; then each family is written, a part of
//! its series at a time, with their figures of that moment. So neither the engine's lock is held for long nor room
//! taken for a million series with their names. How it reaches whoever asked is not known here.
//! Sources of the forms: Prometheus, "Exposition formats"; OpenMetrics 1.0.

mod page;
mod told;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::Shared;
use crate::engine::{Engine, Figure, FigureValue};
use crate::rollup::SeriesId;
use crate::series::{OVERFLOW, Series, is_reserved};
pub(super) use page::Form;
use page::{Number, Page};

/// What a family is, in the order in which they choose their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Counter,
    Summary,
    Gauge,
}

/// Where figures come from.
trait Source<'a> {
    /// Those of a part of the series, from the `seen`-th on; `None` behind the last.
    fn since(&self, seen: usize, most: usize) -> Option<Vec<Figure<'a>>>;

    /// Those of these series.
    fn of(&self, ids: &[SeriesId]) -> Vec<Figure<'a>>;
}

impl<'a> Source<'a> for &'a Engine {
    fn since(&self, seen: usize, most: usize) -> Option<Vec<Figure<'a>>> {
        self.figures_since(seen, most)
    }

    fn of(&self, ids: &[SeriesId]) -> Vec<Figure<'a>> {
        self.figures_of(ids)
    }
}

/// Series whose figures are looked at together: some tenth of a millisecond under the engine's lock.
const PART: usize = 512;

/// Writes it all, in pieces of whole lines, until `hand_on` says that nobody wants more.
pub(super) fn exposition(shared: &Shared, form: Form, hand_on: &mut dyn FnMut(&str) -> bool) {
    let mut page = Page::new(form, hand_on);
    let collisions = series(&&*shared.engine, &mut page);
    own(shared, collisions, &mut page);
    page.end();
}

/// Writes the user's series; how many had to be kept apart from another.
fn series<'a>(source: &impl Source<'a>, page: &mut Page<'_>) -> usize {
    let mut owners: HashMap<String, (Type, String)> = HashMap::new();
    let mut families: BTreeMap<String, Family<'a>> = BTreeMap::new();
    let mut apart = 0;
    // Counters first: a family has one type, and where a gauge is spelled like a counter it is the
    // gauge that gets another name, whichever was seen first.
    for ((kind, mut name), family) in seen(source) {
        let is_free = |name: &String| {
            let own = (kind, name.clone());
            kind.claims(name).all(|claimed| owners.get(&claimed).is_none_or(|owner| *owner == own))
        };
        let wanted = name.len();
        while kind != Type::Counter && !is_free(&name) {
            name.push_str(if kind == Type::Summary { "_observed" } else { "_value" });
        }
        if name.len() > wanted {
            apart += family.ids.len();
        }
        owners.extend(kind.claims(&name).map(|claimed| (claimed, (kind, name.clone()))));
        match families.get_mut(&name) {
            Some(other) => other.join(family),
            None => drop(families.insert(name, family)),
        }
    }
    drop(owners);
    for (name, family) in families {
        if page.is_unwanted() {
            break;
        }
        apart += family.write(&name, source, page);
    }
    apart
}

/// Which series share a name and a type.
fn seen<'a>(source: &impl Source<'a>) -> BTreeMap<(Type, String), Family<'a>> {
    let mut families: BTreeMap<(Type, String), Family<'a>> = BTreeMap::new();
    let mut seen = 0;
    while let Some(figures) = source.since(seen, PART) {
        seen += PART;
        for figure in figures.iter().filter(|figure| is_shown(&figure.series)) {
            let kind = Type::of(figure.value);
            let family = families.entry((kind, family_name(&figure.series, kind)));
            family.or_insert_with(|| Family::new(kind, &figure.series)).take(figure);
        }
    }
    families
}

/// Series of tallyd's own that stand among its figures in no other way.
const OWN_SHOWN: [&str; 4] =
    [OVERFLOW, "tallyd.disk_free", "tallyd.store_behind", "tallyd.tick_late"];

/// What else tallyd knows of itself is told by [`own`], as it is at that moment.
fn is_shown(series: &Series) -> bool {
    !is_reserved(series.name().as_bytes()) || OWN_SHOWN.contains(&series.name())
}

fn family_name(series: &Series, kind: Type) -> String {
    let mut name = metric_name(series.name());
    if name.starts_with("tallyd_") && !is_reserved(series.name().as_bytes()) {
        name.insert_str(0, "user_");
    }
    if kind == Type::Counter && page::stem(&name).is_none() {
        name.push_str("_total");
    }
    name
}

impl Type {
    const fn of(value: FigureValue) -> Self {
        match value {
            FigureValue::Total(_) => Self::Counter,
            FigureValue::Observed { .. } => Self::Summary,
            FigureValue::Gauge(_) => Self::Gauge,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Summary => "summary",
            Self::Gauge => "gauge",
        }
    }

    /// The names that a family of that name has, or could have: of samples, and of itself, which in OpenMetrics is
    /// a counter's without its end.
    fn claims(self, name: &str) -> impl Iterator<Item = String> {
        let further = if self == Self::Summary { &["_sum", "_count"][..] } else { &[] };
        let samples = std::iter::once("").chain(further.iter().copied());
        let stem = page::stem(name).filter(|_| self == Self::Counter).map(str::to_owned);
        samples.map(move |end| format!("{name}{end}")).chain(stem)
    }
}

/// One metric family: the series that share a name and a type.
struct Family<'a> {
    kind: Type,
    ids: Vec<SeriesId>,
    /// The first of their names, which goes without a label.
    plain: Box<str>,
    /// Whether two of them may have the same labels: where one is not spelled as its tags are. That is rare.
    may_meet: bool,
    /// What the configuration says of them: description and unit.
    said: Option<(&'a str, &'a str)>,
}

impl<'a> Family<'a> {
    fn new(kind: Type, series: &Series) -> Self {
        let plain = series.name().into();
        Self { kind, ids: Vec::new(), plain, may_meet: false, said: None }
    }

    fn take(&mut self, figure: &Figure<'a>) {
        let series = &figure.series;
        self.ids.push(figure.id);
        if series.name() < &*self.plain {
            self.plain = series.name().into();
        }
        self.may_meet |= series.tags().iter().any(|tag| label_name(&tag.name) != *tag.name);
        let said = figure.metric.map(|metric| (&*metric.description, &*metric.unit));
        self.say(said.filter(|said| *said != ("", "")));
    }

    /// Where the configuration says several things, one of them: a family has one help.
    fn say(&mut self, said: Option<(&'a str, &'a str)>) {
        self.said = self.said.into_iter().chain(said).min();
    }

    fn join(&mut self, other: Self) {
        self.ids.extend(other.ids);
        self.plain = std::mem::take(&mut self.plain).min(other.plain);
        self.may_meet |= other.may_meet;
        self.say(other.said);
    }

    /// Writes all samples; how many had to be kept apart from another.
    fn write(&self, name: &str, source: &impl Source<'a>, page: &mut Page<'_>) -> usize {
        let unit = self.said.map_or("", |(_, unit)| unit);
        page.family(name, self.kind.word(), &self.help(), unit);
        let mut seen = HashSet::new();
        let mut apart = 0;
        // In order, where it matters who comes first.
        let part = if self.may_meet { self.ids.len().max(1) } else { PART };
        for ids in self.ids.chunks(part) {
            let mut figures = source.of(ids);
            figures.retain(|figure| Type::of(figure.value) == self.kind);
            if self.may_meet {
                figures.sort_by(|a, b| a.series.cmp(&b.series));
            }
            for figure in &figures {
                apart += usize::from(self.sample(name, figure, &mut seen, page));
                if !page.turn() {
                    return apart;
                }
            }
        }
        apart
    }

    /// Writes one; whether it had to be kept apart from another.
    fn sample(
        &self,
        name: &str,
        figure: &Figure<'_>,
        seen: &mut HashSet<String>,
        page: &mut Page<'_>,
    ) -> bool {
        let series = &figure.series;
        let name_label = (series.name() != &*self.plain).then_some(("tallyd_name", series.name()));
        let mut labels = labels(series, name_label);
        let mut is_apart = name_label.is_some();
        if self.may_meet && !seen.insert(labels.clone()) {
            labels = self::labels(series, Some(("tallyd_series", &series.to_string())));
            is_apart = true;
        }
        let _ = match figure.value {
            FigureValue::Total(total) => writeln!(page, "{name}{labels} {total}"),
            FigureValue::Gauge(value) => writeln!(page, "{name}{labels} {}", Number(value)),
            FigureValue::Observed { count, sum } => {
                let sum = Number(sum);
                writeln!(page, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}")
            }
        };
        is_apart
    }

    /// What people are told of it.
    fn help(&self) -> String {
        match self.said {
            None => {
                let what = match self.kind {
                    Type::Counter => "Increments",
                    Type::Summary => "Observations",
                    Type::Gauge => "Last value",
                };
                format!("{what} of {}.", self.plain)
            }
            Some((description, "")) => description.to_owned(),
            Some(("", unit)) => format!("In {unit}."),
            Some((description, unit)) => format!("{description} (in {unit})"),
        }
    }
}

/// `{name="value",…}` in order of names, with one label more where it is needed; nothing without
/// any. The order makes two sets of the same labels the same text.
fn labels(series: &Series, further: Option<(&str, &str)>) -> String {
    let mut labels: Vec<(String, &str)> = Vec::with_capacity(series.tags().len());
    for tag in series.tags() {
        let mut name = label_name(&tag.name);
        // Two tag names that fall together would be one label twice, which is not allowed.
        while labels.iter().any(|(taken, _)| *taken == name) {
            name = label_name(&(name + "_"));
        }
        labels.push((name, &tag.value));
    }
    labels.sort_unstable();
    let mut out = String::new();
    for (name, value) in &labels {
        label(name, value, &mut out);
    }
    if let Some((name, value)) = further {
        label(name, value, &mut out);
    }
    if !out.is_empty() {
        out.push('}');
    }
    out
}

fn label(name: &str, value: &str, out: &mut String) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push_str(name);
    out.push_str("=\"");
    escape(value, out);
    out.push('"');
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`: everything else becomes an underscore.
fn metric_name(name: &str) -> String {
    spelled(name, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`; names that begin with two underscores belong to Prometheus, those that
/// begin with `tallyd_` to this module.
fn label_name(name: &str) -> String {
    let name = spelled(name, |c| c.is_ascii_alphanumeric() || c == '_');
    if name.starts_with("__") {
        format!("tag{name}")
    } else if name.starts_with("tallyd_") {
        format!("tag_{name}")
    } else {
        name
    }
}

fn spelled(name: &str, is_allowed: impl Fn(char) -> bool) -> String {
    let begins_badly = name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty();
    let body = name.chars().map(|c| if is_allowed(c) { c } else { '_' });
    begins_badly.then_some('_').into_iter().chain(body).collect()
}

/// tallyd's own figures.
fn own(shared: &Shared, collisions: usize, page: &mut Page<'_>) {
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        let name = format!("tallyd_{name}");
        page.family(&name, kind, help, "");
        let _ = writeln!(page, "{name} {value}");
    };
    let counters = shared.engine.counters();
    let status = &shared.status;
    let (gauge, counter) = ("gauge", "counter");
    one("series", gauge, "Series known.", counters.series() as u64);
    one("items", gauge, "Values that are not numbers.", counters.items().len() as u64);
    one("item_bytes", gauge, "Room that items take.", counters.items().used_bytes() as u64);
    one("item_bytes_max", gauge, "Room for items.", counters.items().max_bytes() as u64);
    one(
        "overflowed_increments_total",
        counter,
        "Increments folded into tallyd.overflow for want of room: counters.max_series, or a full disk.",
        counters.overflowed(),
    );
    one(
        "unsafe_observations_total",
        counter,
        "Values of gauges and distributions that a kill would have lost, for want of room in their log.",
        counters.unsafe_observations(),
    );
    one(
        "saturated_observations_total",
        counter,
        "Observations outside the range of their histogram, counted at its nearer end.",
        counters.saturated_observations(),
    );
    one(
        "unsaved_keys",
        gauge,
        "Keys that are not on the disk yet, since it is full.",
        counters.unsaved_keys(),
    );
    one(
        "unlogged_item_changes_total",
        counter,
        "Changes of items that could not be logged, since the disk is full.",
        counters.items().unlogged(),
    );
    one(
        "connections",
        gauge,
        "Connections to the memcached port.",
        status.connections.load(Relaxed) as u64,
    );
    one(
        "connections_accepted_total",
        counter,
        "Connections to it since the start.",
        status.accepted.load(Relaxed) as u64,
    );
    one(
        "connections_refused_total",
        counter,
        "Connections refused at server.max_connections.",
        status.refused.load(Relaxed) as u64,
    );
    one(
        "http_refused_total",
        counter,
        "HTTP requests without a token that is good for them.",
        shared.tokens.refused.load(Relaxed),
    );
    shared.tallies.sum().each(|name, value| {
        one(&format!("memcached_{name}_total"), counter, "As memcached's stats counts it.", value);
    });
    let nrpe = &shared.nrpe;
    let asked = [
        ("nrpe_checks_total", "Queries over NRPE that were answered.", &nrpe.answered),
        (
            "nrpe_refused_total",
            "Connections over NRPE of hosts that are not allowed.",
            &nrpe.refused,
        ),
        ("nrpe_failed_total", "Connections over NRPE that ended without an answer.", &nrpe.failed),
    ];
    for (name, help, figure) in asked {
        one(name, counter, help, figure.load(Relaxed));
    }
    outcome(shared, &mut one);
    told::told(shared, &mut one);
    one(
        "metric_name_collisions",
        gauge,
        "Series kept apart by a label or another name, because theirs fall together.",
        collisions as u64,
    );
    told::refused(shared, page);
    page.family("tallyd_build_info", "gauge", "The version.", "");
    let _ = writeln!(page, "tallyd_build_info{{version=\"{}\"}} 1", super::VERSION);
}

/// What the last tick left, and what lies on the disk.
fn outcome(shared: &Shared, one: &mut impl FnMut(&str, &str, &str, u64)) {
    let (gauge, counter) = ("gauge", "counter");
    let beats = [
        ("heartbeats_total", "Signs of life that contacts took.", &shared.status.heartbeats),
        (
            "heartbeats_failed_total",
            "Signs of life that did not arrive.",
            &shared.status.failed_heartbeats,
        ),
    ];
    for (name, help, figure) in beats {
        one(name, counter, help, figure.load(Relaxed));
    }
    one("store_bytes", gauge, "What history takes on the disk.", shared.engine.store_bytes());
    shared.engine.view(|view| {
        let tally = view.outbox.tally();
        one("window_records", gauge, "Window records held in memory.", view.store.records() as u64);
        one(
            "window_records_dropped_total",
            counter,
            "Window records dropped early for want of room.",
            view.store.dropped(),
        );
        one(
            "window_gaps_total",
            counter,
            "Base windows that passed without being closed in time.",
            view.gaps,
        );
        one(
            "tick_log_waiting",
            gauge,
            "Base windows that wait for the tick log.",
            view.log_waiting as u64,
        );
        one(
            "tick_log_dropped_total",
            counter,
            "Base windows that the tick log never got, since the disk was too slow or full.",
            view.unlogged,
        );
        one("incidents_open", gauge, "Incidents that are open.", view.incidents.open() as u64);
        one(
            "outbox_waiting",
            gauge,
            "Deliveries that wait or are under way.",
            view.outbox.len() as u64,
        );
        one(
            "outbox_oldest_seconds",
            gauge,
            "For how long the oldest of them has waited.",
            view.outbox.oldest(shared.now()).as_millis() / 1000,
        );
        one(
            "notices_held",
            gauge,
            "Things to tell that wait for their time, or for room in the outbox.",
            view.incidents.held() as u64,
        );
        one("deliveries_total", counter, "Deliveries that arrived.", tally.delivered);
        one(
            "delivery_retries_total",
            counter,
            "Attempts to deliver that failed and are repeated.",
            tally.retried,
        );
        one("deliveries_failed_total", counter, "Deliveries that were given up.", tally.failed);
        one(
            "unsaved_messages_total",
            counter,
            "Deliveries that went out before they were on the disk.",
            tally.unsaved,
        );
        one(
            "deliveries_overflowed_total",
            counter,
            "Messages for which the outbox had no room.",
            tally.overflowed,
        );
        let started = view.started.as_secs().unsigned_abs();
        one("start_time_seconds", gauge, "When the process began, as Unix time.", started);
    });
}

#[cfg(test)]
mod tests;
