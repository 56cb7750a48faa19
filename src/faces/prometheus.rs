//! The text exposition format, version 0.0.4, for `/metrics`.
//!
//! Every counter's total and every gauge, with tags as labels, then tallyd's own figures. Prometheus
//! names hold fewer characters than ours, so two names may fall together; such series are kept apart
//! by a label `tallyd_name` with the name as it is, and counted in `tallyd_metric_name_collisions`.
//! Source of the form: Prometheus, "Exposition formats".

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Shared;
use crate::engine::{Figure, FigureValue};
use crate::series::Series;

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric family: the samples that share a name and a type.
struct Family<'a> {
    is_counter: bool,
    figures: Vec<&'a Figure>,
}

/// The whole answer to `/metrics`.
pub(super) fn exposition(shared: &Shared) -> String {
    let figures = shared.engine.figures();
    let mut out = String::with_capacity(figures.len() * 64 + 4096);
    let collisions = series(&figures, &mut out);
    own(shared, collisions, &mut out);
    out
}

/// Writes the user's series; how many had to be kept apart from another.
fn series(figures: &[Figure], out: &mut String) -> usize {
    let mut families: BTreeMap<String, Family<'_>> = BTreeMap::new();
    for figure in figures {
        let is_counter = matches!(figure.value, FigureValue::Total(_));
        let mut name = metric_name(figure.series.name());
        if is_counter && !name.ends_with("_total") {
            name.push_str("_total");
        }
        // A family has one type: a gauge whose name is taken by a counter gets another name.
        while families.get(&name).is_some_and(|family| family.is_counter != is_counter) {
            name.push_str(if is_counter { "_total" } else { "_gauge" });
        }
        let family = families.entry(name).or_insert(Family { is_counter, figures: Vec::new() });
        family.figures.push(figure);
    }
    let mut collisions = 0;
    for (name, family) in &families {
        let kind = if family.is_counter { "counter" } else { "gauge" };
        let _ = writeln!(out, "# TYPE {name} {kind}");
        let first = family.figures.first().map(|figure| figure.series.name());
        for figure in &family.figures {
            let is_apart = Some(figure.series.name()) != first;
            collisions += usize::from(is_apart);
            out.push_str(name);
            labels(&figure.series, is_apart, out);
            match figure.value {
                FigureValue::Total(total) => {
                    let _ = writeln!(out, " {total}");
                }
                FigureValue::Gauge(value) => {
                    let _ = writeln!(out, " {value}");
                }
            }
        }
    }
    collisions
}

/// `{name="value",…}`; nothing without tags.
fn labels(series: &Series, is_apart: bool, out: &mut String) {
    let mut names: Vec<String> = Vec::with_capacity(series.tags().len());
    let mut separator = '{';
    let mut one = |name: &str, value: &str, out: &mut String| {
        out.push(separator);
        separator = ',';
        out.push_str(name);
        out.push_str("=\"");
        escape(value, out);
        out.push('"');
    };
    for tag in series.tags() {
        let mut name = label_name(&tag.name);
        // Two tag names that fall together would be one label twice, which is not allowed.
        while names.contains(&name) {
            name.push('_');
        }
        one(&name, &tag.value, out);
        names.push(name);
    }
    if is_apart {
        one("tallyd_name", series.name(), out);
    }
    if separator == ',' {
        out.push('}');
    }
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

/// `[a-zA-Z_][a-zA-Z0-9_]*`; names that begin with two underscores belong to Prometheus.
fn label_name(name: &str) -> String {
    let name = spelled(name, |c| c.is_ascii_alphanumeric() || c == '_');
    if name.starts_with("__") { format!("tag{name}") } else { name }
}

fn spelled(name: &str, is_allowed: impl Fn(char) -> bool) -> String {
    let begins_badly = name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty();
    let body = name.chars().map(|c| if is_allowed(c) { c } else { '_' });
    begins_badly.then_some('_').into_iter().chain(body).collect()
}

/// tallyd's own figures.
fn own(shared: &Shared, collisions: usize, out: &mut String) {
    use std::sync::atomic::Ordering::Relaxed;
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(
            out,
            "# HELP tallyd_{name} {help}\n# TYPE tallyd_{name} {kind}\ntallyd_{name} {value}\n"
        );
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
        "Increments folded into tallyd.overflow because counters.max_series was reached.",
        counters.overflowed(),
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
        "connections_total",
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
    shared.tallies.sum().each(|name, value| {
        one(&format!("memcached_{name}_total"), counter, "As memcached's stats counts it.", value);
    });
    outcome(shared, &mut one);
    one(
        "metric_name_collisions",
        gauge,
        "Series kept apart by a label because their names fall together.",
        collisions as u64,
    );
    let _ = write!(
        out,
        "# HELP tallyd_build_info The version.\n# TYPE tallyd_build_info gauge\n\
         tallyd_build_info{{version=\"{}\"}} 1\n",
        super::VERSION
    );
}

/// What the last tick left.
fn outcome(shared: &Shared, one: &mut impl FnMut(&str, &str, &str, u64)) {
    let (gauge, counter) = ("gauge", "counter");
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
        one("incidents_open", gauge, "Incidents that are open.", view.incidents as u64);
        one(
            "outbox_waiting",
            gauge,
            "Deliveries that wait or are under way.",
            view.outbox.len() as u64,
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
mod tests {
    use super::*;
    use std::sync::Arc;

    fn check(series: &[(&str, FigureValue)], expect: &str, collisions: usize) {
        let figures: Vec<_> = series
            .iter()
            .map(|(key, value)| Figure {
                series: Arc::new(Series::from_key(key.as_bytes())),
                value: *value,
            })
            .collect();
        let mut out = String::new();
        assert_eq!(super::series(&figures, &mut out), collisions);
        assert_eq!(out, expect);
    }

    #[test]
    fn totals_and_gauges_with_their_tags() {
        check(
            &[
                ("orders.placed;region=eu", FigureValue::Total(7)),
                ("orders.placed;region=us", FigureValue::Total(u64::MAX)),
                ("queue-length", FigureValue::Gauge(-1.5)),
                ("jobs_total", FigureValue::Total(1)),
                ("2xx", FigureValue::Total(3)),
            ],
            "# TYPE _2xx_total counter\n_2xx_total 3\n\
             # TYPE jobs_total counter\njobs_total 1\n\
             # TYPE orders_placed_total counter\norders_placed_total{region=\"eu\"} 7\n\
             orders_placed_total{region=\"us\"} 18446744073709551615\n\
             # TYPE queue_length gauge\nqueue_length -1.5\n",
            0,
        );
    }

    #[test]
    fn names_that_fall_together_are_kept_apart() {
        check(
            &[
                ("a.b", FigureValue::Total(1)),
                ("a_b", FigureValue::Total(2)),
                ("a_b_total", FigureValue::Gauge(3.0)),
                ("c;x.y=1;x_y=2", FigureValue::Gauge(4.0)),
                ("c;__name__=\"\\", FigureValue::Gauge(5.0)),
            ],
            "# TYPE a_b_total counter\na_b_total 1\na_b_total{tallyd_name=\"a_b\"} 2\n\
             # TYPE a_b_total_gauge gauge\na_b_total_gauge 3\n\
             # TYPE c gauge\nc{x_y=\"1\",x_y_=\"2\"} 4\nc{tag__name__=\"\\\"\\\\\"} 5\n",
            1,
        );
    }
}
