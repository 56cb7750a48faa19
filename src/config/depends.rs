//! `depends_on`: that rules refer to rules there are, and not in a circle.

use std::collections::BTreeMap;

use super::nearest::nearest;
use super::read::Names;
use super::section::{At, Place};
use super::sink::{Finding, Sink, shown};

/// What a rule depends on, with the place of each name.
pub(super) type Depends<'a> = (String, Vec<At<&'a str>>);

/// Reports names that no rule has, and circles.
pub(super) fn check(rules: &[Depends<'_>], names: &Names, sink: &Sink) {
    for (_, depends_on) in rules {
        for name in depends_on.iter().filter(|name| !names.contains_key(name.value)) {
            let message = format!("there is no rule {}", shown(name.value));
            let finding = Finding::new(name.place, message).absence();
            let help = match nearest(name.value, names.keys().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`depends_on` lists names of other rules".to_owned(),
            };
            sink.error(finding.help(help));
        }
    }
    circles(rules, |place, path| {
        let message = format!("{} depends on itself", shown(path.first().unwrap_or(&"")));
        let label = path.join(" → ");
        sink.error(Finding::new(place, message).label(label));
    });
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the path that is being followed.
    Open,
    Done,
}

/// Tells every edge that closes a circle, with the circle. Its own stack, since a file may hold a chain
/// of all its rules.
fn circles<'a>(rules: &'a [Depends<'a>], mut tell: impl FnMut(Place, Vec<&'a str>)) {
    let index: BTreeMap<_, _> =
        rules.iter().enumerate().map(|(at, (name, _))| (name.as_str(), at)).collect();
    let mut marks = vec![Mark::New; rules.len()];
    for first in 0..rules.len() {
        // Each rule on the path, with how many of its edges were followed.
        let mut path = vec![(first, 0)];
        if marks.get(first) != Some(&Mark::New) {
            continue;
        }
        while let Some((rule, followed)) = path.last_mut() {
            let (at, edge) = (*rule, *followed);
            *followed += 1;
            set(&mut marks, at, Mark::Open);
            let Some(name) = rules.get(at).and_then(|(_, names)| names.get(edge)) else {
                set(&mut marks, at, Mark::Done);
                path.pop();
                continue;
            };
            let Some(next) = index.get(name.value).copied() else { continue };
            match marks.get(next) {
                Some(Mark::New) => path.push((next, 0)),
                Some(Mark::Open) => {
                    let from = path.iter().position(|(rule, _)| *rule == next).unwrap_or(0);
                    let circle = path.iter().skip(from).map(|(rule, _)| *rule).chain([next]);
                    let names = circle.filter_map(|rule| rules.get(rule));
                    tell(name.place, names.map(|(name, _)| name.as_str()).collect());
                }
                _ => {}
            }
        }
    }
}

fn set(marks: &mut [Mark], at: usize, mark: Mark) {
    if let Some(place) = marks.get_mut(at) {
        *place = mark;
    }
}
