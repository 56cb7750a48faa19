//! What tallyd tells of itself: that messages find no room, that the disk is nearly full, that nothing is kept.
//!
//! It goes to the default contacts, and to those whom it concerns, in room that is kept for it: once when it
//! begins, and once when it is over. One whose end could not be told before the process ended is told by the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::watch::Watch;
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
    raised: BTreeMap<Trouble, Raised>,
    /// Whom they concern beside the default contacts.
    concerned: BTreeSet<(Trouble, String)>,
    moved: BTreeSet<Trouble>,
    /// What is over, and waits for room to be told.
    ending: BTreeSet<Trouble>,
    /// Who was told of the last of each that is over.
    past: BTreeMap<Trouble, (Arc<str>, BTreeSet<String>)>,
    pub(super) watch: Watch,
}

/// What may be wrong with tallyd itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// There was no room for a message.
    Outbox,
    /// The disk is nearly full.
    Disk,
    /// Nothing is brought to the disk.
    Store,
}

/// It was told, and is not over.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::notify) struct Raised {
    pub(in crate::notify) incident: Arc<str>,
    pub(in crate::notify) since: Timestamp,
    /// What it is measured by: deliveries that were lost, megabytes that are free, seconds.
    pub(in crate::notify) figure: u64,
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

impl Trouble {
    pub(super) const ALL: [Self; 3] = [Self::Outbox, Self::Disk, Self::Store];

    /// Under which it is kept.
    pub(super) const fn key(self) -> &'static [u8] {
        match self {
            Self::Outbox => b"nf",
            Self::Disk => b"nd",
            Self::Store => b"ns",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Disk => "disk",
            Self::Store => "store",
        }
    }

    /// How bad it is. On a disk that is nearly full everything goes on as yet.
    const fn level(self) -> Level {
        match self {
            Self::Disk => Level::Warning,
            Self::Outbox | Self::Store => Level::Critical,
        }
    }

    /// What receivers are told of it, as of a rule.
    fn about(self) -> About {
        let (summary, unit, when) = match self {
            Self::Outbox => (
                "tallyd has no room for further messages: what is to be told waits, and what cannot \
                 wait is lost; /api/v1/audit lists that",
                " lost",
                "when the outbox has no room for a message",
            ),
            Self::Disk => (
                "The disk of tallyd's data directory is nearly full. Once nothing is left, history \
                 waits in memory and new keys are not kept",
                " MB free",
                "when less than a twentieth of the disk is free, or 1 GiB where that is less",
            ),
            Self::Store => (
                "tallyd cannot write to its disk, so what is counted is not kept. Counting and \
                 alerting go on; the server's log says why it fails",
                " s",
                "when nothing could be written for 15 s",
            ),
        };
        let when = Some(when.to_owned());
        let (warning, critical) =
            if self.level() == Level::Warning { (when, None) } else { (None, when) };
        About {
            name: format!("tallyd-{}", self.word()),
            summary: summary.to_owned(),
            unit: Unit { is_signed: false, text: unit.to_owned() },
            warning,
            critical,
            ..About::default()
        }
    }
}

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

    pub(super) fn raised(&self, trouble: Trouble) -> Option<&Raised> {
        self.raised.get(&trouble)
    }

    pub(super) fn recall(&mut self, trouble: Trouble, raised: Option<Raised>) {
        self.raised.extend(raised.map(|raised| (trouble, raised)));
    }

    pub(super) fn take_moved(&mut self) -> BTreeSet<Trouble> {
        std::mem::take(&mut self.moved)
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
        let which = if notice.kind.is_over() { "over" } else { "began" };
        Message {
            id: format!("{about}-{contact}-{which}")
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            contact: contact.to_owned(),
            at,
            public_url: Arc::clone(&self.public_url),
            ..Message::about(vec![notice])
        }
    }
}

impl Raised {
    fn notice(&self, trouble: Trouble, kind: NoticeKind, now: Timestamp) -> Notice {
        let (is_over, level) = (kind.is_over(), trouble.level());
        #[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
        let figure = self.figure as f64;
        Notice {
            incident: Arc::clone(&self.incident),
            alert: 0,
            opened: self.since,
            kind,
            rule: Arc::new(trouble.about()),
            labels: Vec::new(),
            from: if is_over { level } else { Level::Ok },
            level: if is_over { Level::Ok } else { level },
            since: if is_over { now } else { self.since },
            began: None,
            worst: None,
            value: Some(figure),
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

    /// Notes that what a contact is to be told waits until there is room, and tells of it who has not heard of
    /// that yet.
    pub(in crate::notify) fn hold_back(&mut self, contact: &str, now: Timestamp) {
        self.raise(Trouble::Outbox, Some(contact), |lost| lost, now);
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
        self.raise(Trouble::Outbox, Some(&message.contact), |lost| lost + 1, now);
    }

    /// Ends the alarm once there is room again: when a fourth of it is free, for everybody.
    pub(super) fn settle_alarm(&mut self, now: Timestamp) {
        let is_roomy = self.waiting.len() <= limits::OUTBOX / 4 * 3
            && self.lanes.longest() <= limits::OUTBOX_EACH / 4 * 3;
        if is_roomy {
            self.lower(Trouble::Outbox, |lost| lost, now);
        }
    }

    /// Notes a trouble, and tells of it the default contacts and whom it concerns, where they have not heard of it
    /// yet.
    pub(super) fn raise(
        &mut self,
        trouble: Trouble,
        concerned: Option<&str>,
        figure: impl FnOnce(u64) -> u64,
        now: Timestamp,
    ) {
        self.alarm.moved.insert(trouble);
        let raised = self.alarm.raised.entry(trouble).or_insert_with(|| Raised {
            incident: format!("{}-{:x}", trouble.word(), now.as_millis()).into(),
            since: now,
            figure: 0,
            told: BTreeMap::new(),
        });
        raised.figure = figure(raised.figure);
        self.alarm.ending.remove(&trouble);
        self.alarm.concerned.extend(concerned.map(|contact| (trouble, contact.to_owned())));
        self.tell(trouble, now);
    }

    /// Tells of what stands those for whom there was no room before, or who are to be told since.
    pub(super) fn tell_rest(&mut self, now: Timestamp) {
        for trouble in Trouble::ALL {
            self.tell(trouble, now);
        }
    }

    fn tell(&mut self, trouble: Trouble, now: Timestamp) {
        let Some(raised) = self.alarm.raised.get(&trouble) else { return };
        if self.alarm.ending.contains(&trouble) {
            return;
        }
        let concerned = self.alarm.concerned.iter().filter(|(of, _)| *of == trouble);
        let audience = self.alarm.default.iter().chain(concerned.map(|(_, contact)| contact));
        let audience: BTreeSet<_> =
            audience.filter(|name| !raised.told.contains_key(*name)).cloned().collect();
        let notice = raised.notice(trouble, NoticeKind::Firing, now);
        for contact in audience {
            if self.has_room_to_alert([&contact]) && self.alert(&contact, &notice, now) {
                self.note_told(trouble, contact, now);
            }
        }
    }

    fn note_told(&mut self, trouble: Trouble, contact: String, now: Timestamp) {
        if let Some(raised) = self.alarm.raised.get_mut(&trouble) {
            raised.told.entry(contact).or_insert(now);
            self.alarm.moved.insert(trouble);
        }
    }

    /// Tells whoever was told that it is over, once there is room for that.
    pub(super) fn lower(
        &mut self,
        trouble: Trouble,
        figure: impl FnOnce(u64) -> u64,
        now: Timestamp,
    ) {
        let Some(raised) = self.alarm.raised.get(&trouble) else { return };
        if !self.has_room_to_alert(raised.told.keys()) {
            self.alarm.ending.insert(trouble);
            return;
        }
        self.alarm.ending.remove(&trouble);
        let Some(mut raised) = self.alarm.raised.remove(&trouble) else { return };
        self.alarm.moved.insert(trouble);
        self.alarm.concerned.retain(|(of, _)| *of != trouble);
        raised.figure = figure(raised.figure);
        let notice = raised.notice(trouble, NoticeKind::Recovered, now);
        for contact in raised.told.keys() {
            self.alert(contact, &notice, now);
        }
        let told = raised.told.into_keys().collect();
        self.alarm.past.insert(trouble, (raised.incident, told));
    }

    /// Whether a notice of our own finds room for all recipients of these contacts, or for as many as there ever is
    /// room for.
    fn has_room_to_alert<'a>(&self, contacts: impl IntoIterator<Item = &'a String>) -> bool {
        let recipients = contacts.into_iter().filter_map(|name| self.alarm.contacts.get(name));
        let needed = recipients.map(Vec::len).sum::<usize>().min(limits::OUTBOX_ALARMS);
        self.waiting.len() + needed <= limits::OUTBOX + limits::OUTBOX_ALARMS
    }

    /// Queues a notice of our own in the room that is kept for such; whether for anybody.
    fn alert(&mut self, contact: &str, notice: &Notice, now: Timestamp) -> bool {
        let message = Arc::new(self.alarm.message(contact, notice.clone(), now));
        let recipients = self.alarm.contacts.get(contact).cloned().unwrap_or_default();
        let room = (limits::OUTBOX + limits::OUTBOX_ALARMS).saturating_sub(self.waiting.len());
        let before = self.next;
        for recipient in recipients.into_iter().take(room) {
            self.push(Arc::clone(&message), recipient, now);
        }
        self.next > before
    }

    /// Which trouble an incident is, where it is one that is not over.
    fn trouble(&self, incident: &str) -> Option<Trouble> {
        let mut raised = self.alarm.raised.iter();
        raised.find(|(_, raised)| &*raised.incident == incident).map(|(trouble, _)| *trouble)
    }

    /// Whether an incident is an alarm of our own that is not over.
    pub(in crate::notify) fn is_raised(&self, incident: &str) -> bool {
        self.trouble(incident).is_some()
    }

    /// Notes who heard of an alarm of our own in the place of another, so that they hear of its end, once.
    pub(in crate::notify) fn note_stand_in(&mut self, message: &Message, now: Timestamp) {
        for notice in &message.notices {
            if let Some(trouble) = self.trouble(&notice.incident) {
                self.note_told(trouble, message.contact.clone(), now);
            }
            let mut past = self.alarm.past.values_mut();
            if let Some((_, told)) = past.find(|(incident, _)| *incident == notice.incident) {
                told.insert(message.contact.clone());
            }
        }
    }

    /// Whether a contact hears, or has heard, of the end of an alarm of our own by itself.
    pub(in crate::notify) fn hears_the_end(&self, incident: &str, contact: &str) -> bool {
        let raised = self
            .alarm
            .raised
            .values()
            .any(|raised| &*raised.incident == incident && raised.told.contains_key(contact));
        let mut past = self.alarm.past.values();
        raised || past.any(|(id, told)| &**id == incident && told.contains(contact))
    }

    /// Deliveries that found no room since the last call.
    pub fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }
}
