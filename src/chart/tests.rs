//! What is in a picture, and what may not be.

use super::*;
use crate::time::Span;

fn points(values: &[Option<f64>]) -> Points {
    let at = |at: i64| Timestamp::from_secs(1_767_571_200 + at * 60);
    (0..).zip(values).map(|(place, value)| (at(place), *value)).collect()
}

fn chart(values: &[Option<f64>]) -> Chart {
    Chart {
        title: "orders".to_owned(),
        unit: "per minute".to_owned(),
        points: points(values),
        marks: vec![3.0, 1000.0],
        ..Chart::default()
    }
}

fn svg(chart: &Chart) -> String {
    chart.svg(Theme::Reader)
}

#[test]
fn a_gap_is_a_gap() {
    let svg = svg(&chart(&[Some(1.0), Some(2.0), None, Some(4.0), None, Some(0.0), Some(5.0)]));
    assert_eq!(svg.matches("<path class=\"line\"").count(), 2);
    assert_eq!(svg.matches("<circle").count(), 1);
    assert_eq!(svg.matches("class=\"mark\"").count(), 1, "only what lies in the picture");
    assert!(svg.contains("current 5 · average 2.4 · maximum 5 · per minute"), "{svg}");
}

#[test]
fn nothing_is_said_to_be_nothing() {
    assert!(svg(&chart(&[])).contains(">no data<"));
    assert!(svg(&chart(&[None, None])).contains(">no data<"));
    let gone = svg(&chart(&[Some(1.0), None]));
    assert!(gone.contains("current no data · average 1 · maximum 1"));
}

#[test]
fn every_number_in_the_picture_is_one() {
    for values in
        [&[Some(0.0)][..], &[Some(-5.0), Some(-5.0)], &[Some(1e300), Some(-1e300)], &[Some(5e-324)]]
    {
        let svg = svg(&chart(values));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
    for instants in [[i64::MIN, i64::MAX], [i64::MAX, i64::MAX], [0, 0]] {
        let points = instants.map(|at| (Timestamp::from_millis(at), Some(1.0)));
        let svg = svg(&Chart { points: points.to_vec(), ..Chart::default() });
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn a_threshold_near_the_line_is_in_the_picture() {
    let near = Chart { marks: vec![15.0], ..chart(&[Some(9.0), Some(9.0)]) };
    assert_eq!(svg(&near).matches("class=\"mark\"").count(), 1);
    let far = Chart { marks: vec![90.0], ..near };
    assert_eq!(svg(&far).matches("class=\"mark\"").count(), 0);
}

#[test]
fn what_is_compared_with_is_drawn_and_named() {
    let earlier = points(&[Some(30.0), Some(31.0), Some(28.0)]);
    let reference = Some(Reference { name: "last week".to_owned(), points: earlier.clone() });
    let moving_marks = vec![earlier.iter().map(|(at, v)| (*at, v.map(|v| v / 2.0))).collect()];
    let all = Chart {
        reference,
        moving_marks,
        marks: Vec::new(),
        ..chart(&[Some(12.0), Some(11.0), Some(9.0)])
    };
    let svg = svg(&all);
    assert!(svg.contains(">dotted: last week<") && svg.contains(">50<"), "{svg}");
    assert_eq!(svg.matches("<path class=\"then\"").count(), 1);
    assert_eq!(svg.matches("<path class=\"mark\"").count(), 1);
}

#[test]
fn events_are_drawn_where_they_were_and_named_where_there_is_room() {
    let base = chart(&vec![Some(1.0); 61]);
    let start = Timestamp::from_secs(1_767_571_200);
    let minute = |minute: u64| start + Span::from_secs(60 * minute);
    let events = vec![
        (minute(50), "shop 2.1".to_owned()),
        (minute(10), "<b>shop</b> 2.0 with a very long name".to_owned()),
        (minute(11), "no room".to_owned()),
        (minute(90), "not yet".to_owned()),
    ];
    let svg = svg(&Chart { events, ..base.clone() });
    assert_eq!(svg.matches("<path class=\"event\"").count(), 3);
    assert!(svg.contains(">&lt;b&gt;shop&lt;/b&gt; 2.0 with a ve…<"), "{svg}");
    assert!(svg.contains("text-anchor=\"end\"") && svg.contains(">shop 2.1<"), "{svg}");
    assert!(!svg.contains("no room") && !svg.contains("not yet"), "{svg}");
    let many = (0..60).map(|at| (minute(at), String::new())).collect();
    let svg = super::Chart { events: many, ..base }.svg(Theme::Light);
    assert_eq!(svg.matches("<path class=\"event\"").count(), EVENTS_MAX);
}

#[test]
fn names_cannot_break_out_of_the_picture() {
    let svg = svg(&Chart { title: "<script>\"&\u{1}x\u{202e}".to_owned(), ..chart(&[]) });
    assert!(svg.contains("&lt;script&gt;&quot;&amp; x<"), "{svg}");
}

#[test]
fn figures_are_short() {
    let check = |value: f64, expect: &str| assert_eq!(short(value), expect);
    check(0.0, "0");
    check(12.375, "12.38");
    check(1500.0, "1500");
    check(15_000.0, "15k");
    check(2.5e6, "2.5M");
    check(-7e9, "-7G");
}

/// Width, height and the first dot of a PNG that an independent decoder reads.
#[test]
fn dots_are_a_png_of_the_size_that_is_promised() {
    for (theme, paper) in [(Theme::Light, 0xff_u8), (Theme::Dark, 0x1e)] {
        let bytes = png(&chart(&[Some(1.0), Some(4.0)]), theme).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((side(16), side(20)), (1280, 400));
        let dots = resvg::tiny_skia::Pixmap::decode_png(&bytes).unwrap();
        let first = dots.pixel(0, 0).unwrap();
        assert_eq!((first.red(), first.alpha()), (paper, 255));
        // Some of its dots are letters: another title makes another picture.
        let other = Chart { title: "sales".to_owned(), ..chart(&[Some(1.0), Some(4.0)]) };
        assert_ne!(png(&other, theme).unwrap(), bytes);
    }
}

#[test]
fn any_name_can_be_drawn() {
    for name in
        ["\u{1}<&\"", "注文 заказы طلب", "\u{202e}abc", "\u{ffff}\u{fffe}", &"x".repeat(9000)]
    {
        let named = Chart {
            title: name.to_owned(),
            unit: name.to_owned(),
            events: vec![(Timestamp::from_secs(1_767_571_230), name.to_owned())],
            ..chart(&[Some(1.0), Some(4.0)])
        };
        assert!(png(&named, Theme::Light).is_some(), "{name:?}");
    }
}
