//! What is put beside a mail when it is handed over: pictures of stored windows, what was compared, recent
//! deploys, and links by which its reader acts.
//!
//! It is made on a thread that may take its time, for one mail at a time. A mail that waits too long for
//! that goes without: it says all that has to be said.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::chart::{Theme, png};
use crate::engine::Engine;
use crate::faces::Shared;
use crate::limits;
use crate::notify::links::{LASTS, Link, Purpose};
use crate::notify::{Delivery, Illustration, Illustrations, Message, Notice, Picture, Recipient};
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

    /// All that stands beside a message; nothing where it is no mail, or takes too long.
    pub(super) async fn illustrate(&self, shared: &Shared, delivery: &Delivery) -> Illustrations {
        if !matches!(delivery.recipient, Recipient::Email(_)) || delivery.message.is_test {
            return Illustrations::new();
        }
        let (shared, message) = (shared.clone(), Arc::clone(&delivery.message));
        let made = async {
            let turn = Arc::clone(&self.0).acquire_owned().await;
            let made = tokio::task::spawn_blocking(move || {
                let made = illustrations(&shared, &message);
                drop(turn);
                made
            });
            made.await.unwrap_or_default()
        };
        let patience = Duration::from_secs(limits::ILLUSTRATE_SECS);
        tokio::time::timeout(patience, made).await.unwrap_or_else(|_| {
            let message_id = &delivery.message.id;
            tracing::warn!(message_id, "a mail goes out without pictures: they took too long");
            Illustrations::new()
        })
    }
}

fn illustrations(shared: &Shared, message: &Message) -> Illustrations {
    let notices = message.notices.iter().take(limits::MAIL_ILLUSTRATED);
    let of = |(place, notice): (usize, &Notice)| {
        let has_picture = place < limits::MAIL_PICTURES;
        (Arc::clone(&notice.incident), illustration(shared, message, notice, has_picture))
    };
    notices.enumerate().map(of).collect()
}

fn illustration(
    shared: &Shared,
    message: &Message,
    notice: &Notice,
    has_picture: bool,
) -> Illustration {
    let engine = &shared.engine;
    let mut beside = Illustration {
        deploys: engine.deploys_around(notice.opened, message.at),
        acknowledge: Some(link(shared, message, notice, Purpose::Acknowledge)),
        silence: Some(link(shared, message, notice, Purpose::Silence)),
        ..Illustration::default()
    };
    let Some((drawing, rule)) = engine.drawing_of(notice) else { return beside };
    beside.compared = engine.compared(&drawing, &rule, notice.since);
    if has_picture {
        let reach = Span::from_millis(rule.window.as_millis().saturating_mul(WINDOWS)).max(BEFORE);
        let span = reach.plus(message.at.since(notice.opened));
        beside.picture = picture(engine, &drawing, span, message);
    }
    beside
}

fn picture(
    engine: &Engine,
    drawing: &crate::engine::Drawing,
    span: Span,
    message: &Message,
) -> Option<Picture> {
    let chart = engine.draw(drawing, span, Some(message.at)).ok()?;
    let (light, dark) = (png(&chart, Theme::Light)?, png(&chart, Theme::Dark)?);
    Some(Picture { light, dark, title: chart.title })
}

fn link(shared: &Shared, message: &Message, notice: &Notice, purpose: Purpose) -> String {
    let (incident, contact) = (&*notice.incident, message.contact.as_str());
    let link = Link { purpose, incident, contact, until: message.at + LASTS };
    shared.links.url(&message.public_url, &link)
}
