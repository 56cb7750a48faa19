//! Expositions as they are printed, each read back by a strict reader.

use super::super::tests::shared;
use super::*;
use crate::config::Config;
use proptest::prelude::*;

#[path = "../../../tests/it/exposition.rs"]
mod exposition;

fn figures(series: &[(&str, FigureValue)]) -> Vec<Figure<'static>> {
    let figure = |(key, value): &(&str, FigureValue)| Figure {
        series: Series::from_key(key.as_bytes()),
        value: *value,
        metric: None,
    };
    series.iter().map(figure).collect()
}

/// What is written of these series, seen in either order, with tallyd's own figures behind it;
/// and how many were kept apart.
fn written(mut figures: Vec<Figure<'_>>) -> (String, usize) {
    let (shared, _) = shared(&Config::default());
    let mut texts = Vec::new();
    let mut collisions = 0;
    for _ in 0..2 {
        let mut out = String::new();
        collisions = super::series(&figures, &mut out);
        texts.push(out.clone());
        own(&shared, collisions, &mut out);
        let samples = exposition::parse(&out).unwrap_or_else(|wrong| panic!("{wrong}:\n{out}"));
        assert!(samples.len() > figures.len(), "each is there once:\n{out}");
        figures.reverse();
    }
    let sorted =
        |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(&texts[0]), sorted(&texts[1]), "it does not depend on who came first");
    (texts.swap_remove(0), collisions)
}

fn check(series: &[(&str, FigureValue)], expect: &str, collisions: usize) {
    assert_eq!(written(figures(series)), (expect.to_owned(), collisions));
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
         # TYPE a_b_total_gauge gauge\na_b_total_gauge 3\n\
         # TYPE c gauge\nc{tag__name__=\"\\\"\\\\\"} 5\nc{x_y=\"1\",x_y_=\"2\"} 4\n",
        1,
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
        "# TYPE ms summary\nms_sum{host=\"a\"} 0.5\nms_count{host=\"a\"} 2\n\
         # TYPE ms_count_summary summary\nms_count_summary_sum 0.5\nms_count_summary_count 3\n\
         # TYPE ms_count_total counter\nms_count_total 4\n\
         # TYPE ms_sum_gauge gauge\nms_sum_gauge 1\n\
         # TYPE x_total counter\nx_total 5\n\
         # TYPE x_total_summary summary\nx_total_summary_sum{a=\"b\"} 0.5\n\
         x_total_summary_count{a=\"b\"} 6\n",
        0,
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
    let expect = "# HELP a a \\\\ b (in ms)\n# TYPE a gauge\na 1\n# TYPE b gauge\nb 2\n";
    assert_eq!(written(some).0, expect);
}

proptest! {
    #[test]
    fn whatever_clients_call_their_series_the_exposition_is_valid(
        series in proptest::collection::btree_map(
            prop_oneof![
                "(user_|tallyd_|tallyd.)?(a[._]b|series|connections)(_total|_gauge|_sum|_count|_summary){0,2}\
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
        let figure = |(series, value)| Figure { series, value, metric: None };
        written(series.into_iter().map(figure).collect());
    }
}
