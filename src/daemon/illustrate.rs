//! What is put beside a mail when it is handed over: pictures of stored windows, what was compared, recent
//! deploys, and links by which its reader acts.
//!
//! Links are made at once; the rest on a thread that may take its time, for one mail at a time. A mail that
//! waits too long for that goes without: it says all that has to be said.

use std::sync::Arc;
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
use crate::time::Span;

/// A picture reaches back at least so far before the incident.
const BEFORE: Span = Span::from_secs(60 * 60);

/// And so many windows of its rule.
const WINDOWS: u64 = 4;

/// Where pictures for mails are made.
#[derive(Clone, Debug)]
pub(super) struct Easel(Arc<Semaphore>);

impl Easel {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
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
            let turn = Arc::clone(&self.0).acquire_owned().await;
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

fn pictures(engine: &Engine, message: &Message) -> Vec<(Arc<str>, Picture)> {
    let notices = message.notices.iter().take(limits::MAIL_PICTURES);
    let of =
        |notice: &Notice| Some((Arc::clone(&notice.incident), picture(engine, message, notice)?));
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
