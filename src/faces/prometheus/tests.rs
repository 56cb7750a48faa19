//! Expositions as they are printed, each read back by a strict reader.

use super::super::tests::shared;
use super::*;
use crate::config::Config;
use proptest::prelude::*;

#[path = "../../../tests/it/exposition.rs"]
mod exposition;

fn figures(series: &[(&str, FigureValue)]) -> Vec<Figure<'static>> {
    let figure = |(id, (key, value)): (u32, &(&str, FigureValue))| Figure {
        id: SeriesId(id),
        series: Series::from_key(key.as_bytes()),
        value: *value,
        metric: None,
    };
    (0..).zip(series).map(figure).collect()
}

/// Figures in the order in which they were first seen.
struct Seen<'a>(Vec<Figure<'a>>);

impl<'a> Source<'a> for Seen<'a> {
    fn since(&self, seen: usize, most: usize) -> Option<Vec<Figure<'a>>> {
        let rest = self.0.get(seen..).filter(|rest| !rest.is_empty());
        rest.map(|rest| rest.iter().take(most).cloned().collect())
    }

    fn of(&self, ids: &[SeriesId]) -> Vec<Figure<'a>> {
        let find = |id: &SeriesId| self.0.iter().find(|figure| figure.id == *id).cloned();
        ids.iter().filter_map(find).collect()
    }
}

/// What is written in one form, with tallyd's own figures behind it or without; and how many were kept apart.
fn page(form: Form, seen: &Seen<'_>, shared: Option<&Shared>) -> (String, usize) {
    let mut text = String::new();
    let mut hand_on = |piece: &str| {
        text.push_str(piece);
        true
    };
    let mut page = Page::new(form, &mut hand_on);
    let collisions = series(seen, &mut page);
    if let Some(shared) = shared {
        own(shared, collisions, &mut page);
    }
    page.end();
    (text, collisions)
}

/// What is written of these series in the text format, seen in either order, read back in both forms with
/// tallyd's own figures behind it; and how many were kept apart.
fn written(figures: Vec<Figure<'_>>) -> (String, usize) {
    let (shared, _) = shared(&Config::default());
    let mut seen = Seen(figures);
    let first = page(Form::Text, &seen, None);
    let mut samples = Vec::new();
    for _ in 0..2 {
        for form in [Form::Text, Form::OpenMetrics] {
            let (text, _) = page(form, &seen, Some(&shared));
            let read = match form {
                Form::Text => exposition::parse(&text),
                Form::OpenMetrics => exposition::parse_open(&text),
            };
            let mut read = read.unwrap_or_else(|wrong| panic!("{wrong}:\n{text}"));
            assert!(read.len() > seen.0.len(), "each is there once:\n{text}");
            read.sort_by(|a, b| a.0.cmp(&b.0));
            samples.push(format!("{read:?}"));
        }
        seen.0.reverse();
    }
    samples.dedup();
    assert_eq!(samples.len(), 1, "it depends neither on the form nor on who came first");
    first
}

/// Holds types and samples against what is expected; what helps is written out in one place alone.
fn check(series: &[(&str, FigureValue)], expect: &str, collisions: usize) {
    let (text, apart) = written(figures(series));
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("# HELP "));
    assert_eq!((lines.collect::<String>(), apart), (expect.to_owned(), collisions));
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
            ("c;__name__=\"\\", FigureValue::Gauge(5.0)),
            ("c;x.y=1;x_y=2", FigureValue::Gauge(4.0)),
        ],
        "# TYPE a_b_total counter\na_b_total 1\na_b_total{tallyd_name=\"a_b\"} 2\n\
         # TYPE a_b_total_value gauge\na_b_total_value 3\n\
         # TYPE c gauge\nc{tag__name__=\"\\\"\\\\\"} 5\nc{x_y=\"1\",x_y_=\"2\"} 4\n",
        2,
    );
}

#[test]
fn tags_that_fall_together_are_kept_apart() {
    check(
        &[
            ("c;x.y=1", FigureValue::Total(1)),
            ("c;x_y=1", FigureValue::Total(2)),
            ("c;x_y=2", FigureValue::Total(3)),
            ("d;x.b=1;x_a=2", FigureValue::Total(4)),
            ("d;x_a=2;x_b=1", FigureValue::Total(5)),
            ("e;é=1;ö=2", FigureValue::Gauge(6.0)),
        ],
        "# TYPE c_total counter\nc_total{x_y=\"1\"} 1\n\
         c_total{x_y=\"1\",tallyd_series=\"c;x_y=1\"} 2\nc_total{x_y=\"2\"} 3\n\
         # TYPE d_total counter\nd_total{x_a=\"2\",x_b=\"1\"} 4\n\
         d_total{x_a=\"2\",x_b=\"1\",tallyd_series=\"d;x_a=2;x_b=1\"} 5\n\
         # TYPE e gauge\ne{_=\"1\",tag__=\"2\"} 6\n",
        2,
    );
}

#[test]
fn tallyds_own_names_are_its_own() {
    check(
        &[
            ("a.b;tallyd_name=a_b", FigureValue::Gauge(1.0)),
            ("a_b", FigureValue::Gauge(2.0)),
            ("tallyd.overflow", FigureValue::Total(3)),
            ("tallyd_connections", FigureValue::Total(4)),
            ("tallyd_overflow", FigureValue::Total(5)),
            ("tallyd_series", FigureValue::Gauge(6.0)),
        ],
        "# TYPE a_b gauge\na_b{tag_tallyd_name=\"a_b\"} 1\na_b{tallyd_name=\"a_b\"} 2\n\
         # TYPE tallyd_overflow_total counter\ntallyd_overflow_total 3\n\
         # TYPE user_tallyd_connections_total counter\nuser_tallyd_connections_total 4\n\
         # TYPE user_tallyd_overflow_total counter\nuser_tallyd_overflow_total 5\n\
         # TYPE user_tallyd_series gauge\nuser_tallyd_series 6\n",
        1,
    );
}

#[test]
fn distributions_are_summaries_and_their_samples_are_their_own() {
    let observed = |count: u64| FigureValue::Observed { count, sum: 0.5 };
    check(
        &[
            ("ms;host=a", observed(2)),
            ("ms_sum", FigureValue::Gauge(1.0)),
            ("ms_count", observed(3)),
            ("ms_count", FigureValue::Total(4)),
            ("x_total", FigureValue::Total(5)),
            ("x_total;a=b", observed(6)),
        ],
        "# TYPE ms_count_observed summary\nms_count_observed_sum 0.5\nms_count_observed_count 3\n\
         # TYPE ms_count_total counter\nms_count_total 4\n\
         # TYPE ms_observed summary\nms_observed_sum{host=\"a\"} 0.5\nms_observed_count{host=\"a\"} 2\n\
         # TYPE ms_sum gauge\nms_sum 1\n\
         # TYPE x_total counter\nx_total 5\n\
         # TYPE x_total_observed summary\nx_total_observed_sum{a=\"b\"} 0.5\n\
         x_total_observed_count{a=\"b\"} 6\n",
        3,
    );
}

#[test]
fn a_family_has_the_help_that_the_configuration_gives_it() {
    let text = "[[metric]]\nmatch = '*'\nkind = 'gauge'\nunit = 'ms'\ndescription = 'a \\ b'\n";
    let file = |_: &std::path::Path, _: u64| Err(std::io::ErrorKind::NotFound.into());
    let surroundings = crate::config::Surroundings { variable: &|_| None, file: &file };
    let path = std::path::Path::new("tallyd.toml");
    let config = crate::config::parse(text, path, &surroundings).unwrap().config;
    let mut some = figures(&[("a", FigureValue::Gauge(1.0)), ("b", FigureValue::Gauge(2.0))]);
    some[0].metric = config.metrics.first();
    let expect = "# HELP a a \\\\ b (in ms)\n# TYPE a gauge\na 1\n# HELP b Last value of b.\n# TYPE b gauge\nb 2\n";
    assert_eq!(written(some).0, expect);
}

#[test]
fn openmetrics_has_families_units_and_an_end() {
    let text =
        "[[metric]]\nmatch = '*'\nkind = 'gauge'\nunit = 'seconds'\ndescription = 'a \"b\"'\n";
    let path = std::path::Path::new("tallyd.toml");
    let config = crate::config::parse(text, path, &crate::config::Surroundings::none());
    let config = config.unwrap().config;
    let mut some = figures(&[
        ("a.b", FigureValue::Total(1)),
        ("a.b;x=1", FigureValue::Gauge(f64::INFINITY)),
        ("_total", FigureValue::Total(2)),
        ("up_seconds", FigureValue::Gauge(f64::NEG_INFINITY)),
    ]);
    some[3].metric = config.metrics.first();
    let (text, apart) = page(Form::OpenMetrics, &Seen(some), None);
    let expect = "# HELP _total Increments of _total.\n# TYPE _total counter\n_total_total 2\n\
         # HELP a_b Increments of a.b.\n# TYPE a_b counter\na_b_total 1\n\
         # HELP a_b_value Last value of a.b.\n# TYPE a_b_value gauge\na_b_value{x=\"1\"} +Inf\n\
         # HELP up_seconds a \\\"b\\\" (in seconds)\n# TYPE up_seconds gauge\n# UNIT up_seconds seconds\nup_seconds -Inf\n\
         # EOF\n";
    assert_eq!((text.as_str(), apart), (expect, 1));
}

#[test]
fn it_is_handed_on_in_pieces_until_nobody_wants_more() {
    let some: Vec<_> = (0..5000).map(|at| format!("orders;host=h{at}")).collect();
    let some: Vec<_> = some.iter().map(|key| (&**key, FigureValue::Total(1))).collect();
    let seen = Seen(figures(&some));
    for most in [1, 2, 100] {
        let mut sizes = Vec::new();
        let mut hand_on = |piece: &str| {
            sizes.push(piece.len());
            sizes.len() < most
        };
        let mut page = Page::new(Form::Text, &mut hand_on);
        series(&seen, &mut page);
        page.end();
        assert!(sizes.iter().all(|size| *size < 65 * 1024), "{sizes:?}");
        assert_eq!(sizes.len(), most.min(3), "{sizes:?}");
    }
}

proptest! {
    #[test]
    fn whatever_clients_call_their_series_the_exposition_is_valid(
        series in proptest::collection::btree_map(
            prop_oneof![
                "(user_|tallyd_|tallyd.)?(a[._]b|series|connections|[._]total)(_total|_value|_sum|_count|_observed){0,2}\
                 (;(x[._:]y|_?_x|tallyd_(name|series)|tag_tallyd_name|\\PC)=[ab\"\\\\]){0,3}",
                "\\PC{1,8}(;\\PC{1,3}=\\PC{1,3}){0,2}",
            ]
            .prop_map(|key| Series::from_key(key.as_bytes())),
            prop_oneof![
                any::<u64>().prop_map(FigureValue::Total),
                any::<f64>().prop_map(FigureValue::Gauge),
                (any::<u64>(), any::<f64>())
                    .prop_map(|(count, sum)| FigureValue::Observed { count, sum }),
            ],
            0..40,
        )
    ) {
        let figure = |(id, (series, value))| Figure { id: SeriesId(id), series, value, metric: None };
        written((0..).zip(series).map(figure).collect());
    }
}
