//! What is put beside a mail when it is handed over: pictures of stored windows, what was compared, recent
//! deploys, and links by which its reader acts.
//!
//! Links are made at once; the rest on a thread that may take its time, for one mail at a time. A mail that
//! waits too long for that goes without: it says all that has to be said.
//!
//! A picture is of an incident at the instant of the message, so all who are told of it then, and every further attempt,
//! get the same one: it is drawn once, and the latest are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::chart::{Theme, png};
use crate::engine::Engine;
use crate::faces::Shared;
use crate::limits;
use crate::notify::links::{LASTS, Link, Purpose};
use crate::notify::{
    Compared, Delivery, Deploy, Illustration, Illustrations, Message, Notice, Picture, Recipient,
};
use crate::time::{Span, Timestamp};

/// A picture reaches back at least so far before the incident.
const BEFORE: Span = Span::from_secs(60 * 60);

/// And so many windows of its rule.
const WINDOWS: u64 = 4;

/// Where pictures for mails are made.
#[derive(Clone, Debug)]
pub(super) struct Easel {
    turn: Arc<Semaphore>,
    drawn: Arc<Mutex<Drawn>>,
}

/// The pictures that were drawn last, the oldest first, by incident and instant; `None` where there is none to
/// draw.
#[derive(Debug, Default)]
struct Drawn(VecDeque<(Key, Option<Picture>)>);

type Key = (Arc<str>, Timestamp);

impl Drawn {
    /// The picture of an incident at an instant, drawn where it is not there.
    fn get(
        drawn: &Mutex<Self>,
        incident: &Arc<str>,
        at: Timestamp,
        draw: impl FnOnce() -> Option<Picture>,
    ) -> Option<Picture> {
        // One is drawn at a time, so nobody draws the same meanwhile; and nobody waits for the lock.
        let lock =
            || -> MutexGuard<'_, Self> { drawn.lock().unwrap_or_else(PoisonError::into_inner) };
        let key = (Arc::clone(incident), at);
        if let Some((_, picture)) = lock().0.iter().find(|(known, _)| *known == key) {
            return picture.clone();
        }
        let picture = draw();
        let all = &mut lock().0;
        if all.len() >= limits::PICTURES_KEPT {
            all.pop_front();
        }
        all.push_back((key, picture.clone()));
        picture
    }
}

impl Easel {
    pub(super) fn new() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), drawn: Arc::default() }
    }

    /// All that stands beside a message; nothing where it is no mail. Links are there in any case, the rest
    /// as far as it is made in time.
    pub(super) async fn illustrate(&self, shared: &Shared, delivery: &Delivery) -> Illustrations {
        let message = &delivery.message;
        if !matches!(delivery.recipient, Recipient::Email(_)) || message.is_test {
            return Illustrations::new();
        }
        let mut beside = links(shared, message);
        for (incident, its) in self.made(shared, message, figures).await {
            let Some(beside) = beside.get_mut(&incident) else { continue };
            (beside.compared, beside.deploys) = its;
        }
        let drawn = Arc::clone(&self.drawn);
        let pictures = move |engine: &Engine, message: &Message| pictures(&drawn, engine, message);
        for (incident, picture) in self.made(shared, message, pictures).await {
            let Some(beside) = beside.get_mut(&incident) else { continue };
            beside.picture = Some(picture);
        }
        beside
    }

    /// What is made of the windows on a thread that may take its time; nothing where it takes too long.
    async fn made<T: Send + 'static>(
        &self,
        shared: &Shared,
        message: &Arc<Message>,
        make: impl FnOnce(&Engine, &Message) -> Vec<(Arc<str>, T)> + Send + 'static,
    ) -> Vec<(Arc<str>, T)> {
        let (engine, its) = (Arc::clone(&shared.engine), Arc::clone(message));
        let made = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let made = tokio::task::spawn_blocking(move || {
                let made = make(&engine, &its);
                drop(turn);
                made
            });
            made.await.unwrap_or_default()
        };
        let patience = Duration::from_secs(limits::ILLUSTRATE_SECS);
        tokio::time::timeout(patience, made).await.unwrap_or_else(|_| {
            let message_id = &message.id;
            tracing::warn!(message_id, "a mail goes out without pictures: they took too long");
            Vec::new()
        })
    }
}

fn links(shared: &Shared, message: &Message) -> Illustrations {
    let notices = message.notices.iter().take(limits::MAIL_ILLUSTRATED);
    let of = |notice: &Notice| Illustration {
        acknowledge: Some(link(shared, message, notice, Purpose::Acknowledge)),
        silence: Some(link(shared, message, notice, Purpose::Silence)),
        ..Illustration::default()
    };
    notices.map(|notice| (Arc::clone(&notice.incident), of(notice))).collect()
}

type Figures = (Option<Compared>, Vec<Deploy>);

fn figures(engine: &Engine, message: &Message) -> Vec<(Arc<str>, Figures)> {
    let notices = message.notices.iter().take(limits::MAIL_ILLUSTRATED);
    let of = |notice: &Notice| {
        let drawing = engine.drawing_of(notice);
        let compared =
            drawing.and_then(|(drawing, rule)| engine.compared(&drawing, &rule, notice.since));
        (compared, engine.deploys_around(notice.opened, message.at))
    };
    notices.map(|notice| (Arc::clone(&notice.incident), of(notice))).collect()
}

fn pictures(drawn: &Mutex<Drawn>, engine: &Engine, message: &Message) -> Vec<(Arc<str>, Picture)> {
    let notices = message.notices.iter().take(limits::MAIL_PICTURES);
    let of = |notice: &Notice| {
        let draw = || picture(engine, message, notice);
        let picture = Drawn::get(drawn, &notice.incident, message.at, draw)?;
        Some((Arc::clone(&notice.incident), picture))
    };
    notices.filter_map(of).collect()
}

fn picture(engine: &Engine, message: &Message, notice: &Notice) -> Option<Picture> {
    let (drawing, rule) = engine.drawing_of(notice)?;
    let reach = Span::from_millis(rule.window.as_millis().saturating_mul(WINDOWS)).max(BEFORE);
    let span = reach.plus(message.at.since(notice.opened));
    let chart = engine.draw(&drawing, span, Some(message.at)).ok()?;
    let (light, dark) = (png(&chart, Theme::Light)?, png(&chart, Theme::Dark)?);
    Some(Picture { light, dark, title: chart.title })
}

fn link(shared: &Shared, message: &Message, notice: &Notice, purpose: Purpose) -> String {
    let (incident, contact) = (&*notice.incident, message.contact.as_str());
    let link = Link { purpose, incident, contact, until: message.at + LASTS };
    shared.links.url(&message.public_url, &link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_drawn_once_for_all_who_are_told_then_and_the_latest_are_kept() {
        let drawn = Mutex::new(Drawn::default());
        let mut times = 0;
        let mut ask = |incident: &str, secs: i64| {
            let (incident, at) = (incident.into(), Timestamp::from_secs(secs));
            let picture = Drawn::get(&drawn, &incident, at, || {
                times += 1;
                let title = format!("{times}");
                Some(Picture { light: Vec::new(), dark: Vec::new(), title })
            });
            picture.unwrap().title
        };
        let titles = [ask("i1", 1), ask("i2", 1), ask("i1", 1), ask("i1", 2), ask("i2", 1)];
        assert_eq!(titles, ["1", "2", "1", "3", "2"]);
        for at in 10..1000 {
            ask("i3", at);
        }
        assert_eq!(ask("i1", 1), "994", "it was let go");
        assert_eq!(drawn.lock().unwrap().0.len(), limits::PICTURES_KEPT);
    }
}
