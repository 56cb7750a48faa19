//! That a message found no room is told, and counted, and can be read in the audit.
//!
//! The first that is lost opens an alarm of our own, which goes to the default contacts and to those who
//! lost something, in room that is kept for it; it ends once there is room again, and says how much was
//! lost. One whose end could not be told before the process ended is told by the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Outbox, Recipient};
use crate::config::{Config, Contact, WebhookFormat};
use crate::limits;
use crate::notify::message::{About, Message, Notice, NoticeKind};
use crate::rules::Level;
use crate::rules::wording::Unit;
use crate::time::Timestamp;

/// Whom to tell of what becomes of messages, and what there is to tell.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    contacts: BTreeMap<String, Vec<Recipient>>,
    /// Those whose webhook keeps a record of who looks after what.
    keepers: BTreeMap<String, Recipient>,
    /// Those whose webhook keeps an alert open until it hears of its end.
    open: BTreeSet<String>,
    default: Vec<String>,
    fallback: Vec<String>,
    public_url: Arc<str>,
    full: Option<Full>,
    is_moved: bool,
}

/// There was no room for a message, and it is not over.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::notify) struct Full {
    pub(in crate::notify) incident: Arc<str>,
    pub(in crate::notify) since: Timestamp,
    /// Deliveries that were lost.
    pub(in crate::notify) lost: u64,
    /// Who was told.
    pub(in crate::notify) told: BTreeMap<String, Timestamp>,
}

/// A delivery that found no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The message's id.
    pub message: String,
    /// For whom.
    pub contact: String,
    /// To whom.
    pub recipient: Recipient,
    /// How many things it told of.
    pub notices: u64,
}

/// The name by which receivers know the alarm.
const NAME: &str = "tallyd-outbox";

impl Alarm {
    pub(super) fn configure(&mut self, config: &Config) {
        let contacts = config.contacts.iter();
        self.contacts = contacts.map(|one| (one.name.clone(), Recipient::of(one))).collect();
        let keepers = config.contacts.iter().filter(|one| {
            let format = one.webhook.as_ref().map(|hook| &hook.format);
            matches!(format, Some(WebhookFormat::PagerDuty { .. }))
        });
        let webhook = |one: &Contact| (one.name.clone(), Recipient::Webhook(one.name.clone()));
        self.keepers = keepers.map(webhook).collect();
        let keeps_open = |one: &&Contact| {
            let format = one.webhook.as_ref().map(|hook| &hook.format);
            matches!(format, Some(WebhookFormat::PagerDuty { .. } | WebhookFormat::Alertmanager))
        };
        let open = config.contacts.iter().filter(keeps_open);
        self.open = open.map(|one| one.name.clone()).collect();
        self.default.clone_from(&config.notify.default);
        self.fallback.clone_from(&config.notify.fallback);
        self.public_url = config.notify.public_url.as_str().into();
    }

    /// The webhook of a contact, where that keeps a record of who looks after what.
    pub(super) fn record_keeper(&self, contact: &str) -> Option<&Recipient> {
        self.keepers.get(contact)
    }

    /// Whether the webhook of a contact keeps an alert open until it hears of its end.
    pub(super) fn keeps_open(&self, contact: &str) -> bool {
        self.open.contains(contact)
    }

    pub(super) fn public_url(&self) -> Arc<str> {
        Arc::clone(&self.public_url)
    }

    pub(super) fn full(&self) -> Option<&Full> {
        self.full.as_ref()
    }

    pub(super) fn recall(&mut self, full: Option<Full>) {
        self.full = full;
    }

    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.is_moved)
    }

    /// The contacts that are told when another cannot be reached, with their recipients.
    pub(super) fn fallback(&self) -> impl Iterator<Item = (&str, &Recipient)> {
        let recipients = |name| self.contacts.get(name).into_iter().flatten();
        self.fallback
            .iter()
            .flat_map(move |name| recipients(name).map(move |recipient| (name.as_str(), recipient)))
    }

    fn message(&self, contact: &str, notice: Notice, at: Timestamp) -> Message {
        let about = &notice.incident;
        Message {
            id: format!(
                "{about}-{contact}-{}",
                if notice.kind.is_over() { "over" } else { "full" }
            )
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            contact: contact.to_owned(),
            at,
            public_url: Arc::clone(&self.public_url),
            ..Message::about(vec![notice])
        }
    }
}

impl Full {
    fn notice(&self, kind: NoticeKind, now: Timestamp) -> Notice {
        let is_over = kind.is_over();
        #[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
        let lost = self.lost as f64;
        let about = About {
            name: NAME.to_owned(),
            summary: "tallyd had no room for further messages, so some were lost; /api/v1/audit \
                      lists them"
                .to_owned(),
            unit: Unit { is_signed: false, text: " lost".to_owned() },
            critical: Some("when the outbox has no room for a message".to_owned()),
            ..About::default()
        };
        Notice {
            incident: Arc::clone(&self.incident),
            alert: 0,
            opened: self.since,
            kind,
            rule: Arc::new(about),
            labels: Vec::new(),
            from: if is_over { Level::Critical } else { Level::Ok },
            level: if is_over { Level::Ok } else { Level::Critical },
            since: if is_over { now } else { self.since },
            began: None,
            worst: None,
            value: Some(lost),
            covered: 1.0,
            is_at_least: false,
            problem: None,
        }
    }
}

impl Outbox {
    /// Whether there is room for one more delivery to a recipient.
    pub(in crate::notify) fn has_room(&self, to: &Recipient) -> bool {
        self.waiting.len() < limits::OUTBOX && self.lanes.waiting(to) < limits::OUTBOX_EACH
    }

    /// Notes that a delivery found no room, and tells of it who has not heard of that yet.
    pub(super) fn lose(&mut self, message: &Message, recipient: Recipient, now: Timestamp) {
        self.tally.overflowed += 1;
        if self.lost.len() < limits::AUDIT_LINES {
            self.lost.push(Lost {
                message: message.id.clone(),
                contact: message.contact.clone(),
                recipient,
                notices: message.notices.len() as u64,
            });
        }
        self.alarm.is_moved = true;
        let full = self.alarm.full.get_or_insert_with(|| Full {
            incident: format!("outbox-{:x}", now.as_millis()).into(),
            since: now,
            lost: 0,
            told: BTreeMap::new(),
        });
        full.lost += 1;
        let audience = self.alarm.default.iter().chain([&message.contact]);
        let audience: BTreeSet<_> =
            audience.filter(|name| !full.told.contains_key(*name)).collect();
        let audience: Vec<_> = audience.into_iter().cloned().collect();
        full.told.extend(audience.iter().map(|name| (name.clone(), now)));
        let notice = full.notice(NoticeKind::Firing, now);
        self.alert(&audience, &notice, now);
    }

    /// Ends the alarm once there is room again: when a fourth of it is free, for everybody.
    pub(super) fn settle_alarm(&mut self, now: Timestamp) {
        if self.alarm.full.is_none() {
            return;
        }
        let is_roomy = self.waiting.len() <= limits::OUTBOX / 4 * 3
            && self.lanes.longest() <= limits::OUTBOX_EACH / 4 * 3;
        let Some(full) = self.alarm.full.take_if(|_| is_roomy) else { return };
        self.alarm.is_moved = true;
        let notice = full.notice(NoticeKind::Recovered, now);
        let told: Vec<_> = full.told.into_keys().collect();
        self.alert(&told, &notice, now);
    }

    /// Queues a notice of our own in the room that is kept for such.
    fn alert(&mut self, contacts: &[String], notice: &Notice, now: Timestamp) {
        for contact in contacts {
            let message = Arc::new(self.alarm.message(contact, notice.clone(), now));
            let recipients = self.alarm.contacts.get(contact).cloned().unwrap_or_default();
            for recipient in recipients {
                if self.waiting.len() < limits::OUTBOX + limits::OUTBOX_ALARMS {
                    self.push(Arc::clone(&message), recipient, now);
                }
            }
        }
    }

    /// Deliveries that found no room since the last call.
    pub fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }
}
