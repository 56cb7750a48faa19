//! What is drawn of what was counted, and what can be said of a comparison afterwards.

use super::rules::{rule, world};
use super::*;
use crate::chart::{EVENTS_MAX, Theme};
use crate::engine::{Drawing, NoPicture};
use crate::notify::Deploy;

/// `orders` per minute against five seconds before, in each region.
fn drop_by_region() -> World {
    world(&rule(
        "orders-drop",
        "series = 'orders'\nby = ['region']\nmeasure = 'rate'\nper = 'minute'\nwindow = '5s'\n\
         against = 'previous'\nfloor = 1\ncritical = { below = -50, clear = -40 }\n",
    ))
}

fn drawing(world: &World, group: Option<&str>) -> Drawing {
    let group = group.map(|value| vec![value.to_owned()]);
    world
        .engine
        .view(|view| Drawing::of_rule(view.rules.get("orders-drop").unwrap(), group.as_ref()))
}

#[test]
fn an_instance_is_drawn_with_what_it_is_compared_with() {
    let mut world = drop_by_region();
    let both = "incr orders;region=eu 4\r\nincr orders;region=us 1\r\n";
    world.seconds(20, both);
    world.seconds(5, "incr orders;region=eu 1\r\nincr orders;region=us 1\r\n");
    let eu = drawing(&world, Some("eu"));
    let chart = world.engine.draw(&eu, Span::from_secs(20), None).unwrap();
    assert_eq!(chart.title, "orders-drop{region=eu}: rate of orders");
    assert_eq!(chart.unit, "per minute");
    assert_eq!(chart.points.last().unwrap().1, Some(60.0), "five in five seconds");
    let reference = chart.reference.as_ref().unwrap();
    assert_eq!(reference.name, "the 5s before");
    assert_eq!(reference.points.last().unwrap().1, Some(240.0));
    assert_eq!(chart.moving_marks[0].last().unwrap().1, Some(120.0), "half of it");
    assert_eq!(chart.marks, [0.0; 0]);
    let all = world.engine.draw(&drawing(&world, None), Span::from_secs(20), None).unwrap();
    assert_eq!(all.points.last().unwrap().1, Some(120.0), "without `by` all regions together");
    let none = world.engine.draw(&drawing(&world, Some("mars")), Span::from_secs(20), None);
    assert!(none.unwrap().points.iter().all(|(_, value)| value.is_none()));
}

#[test]
fn what_was_compared_is_known_afterwards() {
    let mut world = drop_by_region();
    world.seconds(20, "incr orders;region=eu 4\r\n");
    world.seconds(5, "incr orders;region=eu 1\r\n");
    let at = world.now;
    world.seconds(30, "incr orders;region=eu 9\r\n");
    let eu = drawing(&world, Some("eu"));
    let rule = world.engine.view(|view| view.rules.get("orders-drop").unwrap().rule().clone());
    let compared = world.engine.compared(&eu, &rule, at).unwrap();
    assert_eq!(
        [&*compared.now, &*compared.then, &*compared.when],
        ["60 per minute", "240 per minute", "the 5s before"]
    );
    let unlike =
        Drawing::of_series("orders".parse().unwrap(), Measure::Sum, Per::Second, Span::SECOND);
    assert_eq!(world.engine.compared(&unlike, &rule, at), None, "it compares nothing");
}

#[test]
fn deploys_are_in_the_picture_of_their_time() {
    let mut world = drop_by_region();
    world.seconds(30, "incr orders;region=eu 4\r\n");
    let deploy = |back: u64, what: &str| {
        Deploy::new(world.now - Span::from_secs(back), what, "kim").unwrap()
    };
    let id = world.engine.deploy(deploy(5, "shop 2.1"));
    world.engine.deploy(deploy(3600, "long ago"));
    let drawing = drawing(&world, Some("eu"));
    let draw = || world.engine.draw(&drawing, Span::from_secs(20), None).unwrap();
    assert_eq!(draw().events, [(world.now - Span::from_secs(5), "shop 2.1".to_owned())]);
    assert!(draw().svg(Theme::Reader).contains(">shop 2.1<"));
    assert!(world.engine.forget_deploy(id) && !world.engine.forget_deploy(id));
    assert_eq!(draw().events, []);
    const { assert!(EVENTS_MAX < crate::limits::DEPLOYS) };
}

#[test]
fn too_much_is_refused_in_words() {
    let world = drop_by_region();
    let all = Drawing::of_series("*".parse().unwrap(), Measure::Sum, Per::Second, Span::SECOND);
    let nothing = world.engine.draw(&all, Span::from_secs(20), None);
    assert!(nothing.is_ok(), "nothing was counted: {nothing:?}");
    assert_eq!(
        NoPicture::TooLong(7).to_string(),
        "7 are too many series for one picture; name fewer"
    );
}
