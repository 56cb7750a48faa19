//! Ends that take the place of beginnings which were not told yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{DeliveryId, Outbox, Progress, Recipient};
use crate::notify::message::{Message, Notice, NoticeKind};
use crate::rules::Level;
use crate::time::Timestamp;

/// What became of ends that were told in the place of beginnings.
#[derive(Debug, Default)]
pub(in crate::notify) struct Replaced {
    /// Incidents of which that recipient hears so.
    pub(in crate::notify) incidents: BTreeSet<Arc<str>>,
    /// The messages that tell of them.
    pub(in crate::notify) messages: Vec<Arc<Message>>,
}

/// Ends by their incidents, each with the worst state that would have been told.
type Unheard<'a> = BTreeMap<Arc<str>, (&'a Notice, Level)>;

impl Outbox {
    /// Tells a recipient of ends in the place of the beginnings that wait for it: one notice for
    /// both, in a message with an id of its own. What a courier has now, or of which something got
    /// through, stays as it is, and its end is to be queued behind it.
    pub(in crate::notify) fn replace(
        &mut self,
        recipient: &Recipient,
        ends: &[Notice],
        now: Timestamp,
        mut next_id: impl FnMut() -> String,
    ) -> Replaced {
        let mut replaced = Replaced::default();
        let Some(lane) = self.lanes.number(recipient) else { return replaced };
        let unheard = self.unheard(lane, ends);
        let about = |incident| self.order.about(lane, incident).iter().copied();
        let ids: BTreeSet<DeliveryId> = unheard.keys().flat_map(about).collect();
        for id in ids {
            let Some(entry) = self.waiting.get(&id) else { continue };
            let old = Arc::clone(&entry.message);
            let notices = notices_with_ends(&old, &unheard, &mut replaced.incidents);
            if notices.is_empty() {
                self.take_out(id);
                continue;
            }
            let message =
                Arc::new(Message { id: next_id(), at: now, notices, ..Message::clone(&old) });
            self.rewrite(id, lane, &message, now);
            replaced.messages.push(message);
        }
        replaced
    }

    /// Gives a delivery another message. It keeps its place.
    fn rewrite(&mut self, id: DeliveryId, lane: u64, message: &Arc<Message>, now: Timestamp) {
        let Some(entry) = self.waiting.get_mut(&id) else { return };
        let old = std::mem::replace(&mut entry.message, Arc::clone(message));
        (entry.queued, entry.serial) = (now, u64::MAX);
        (entry.progress, entry.passed) = (Progress::default(), 0);
        self.order.remove(id, lane, &old);
        self.order.insert(id, lane, message);
        self.moved.insert(id);
        self.discount(&old.id);
        self.count(message);
    }

    /// Ends of incidents whose beginning still waits for a recipient, and no part of which is with a
    /// courier, or with the other side; with the worst state that it would have been told.
    fn unheard<'a>(&self, lane: u64, ends: &'a [Notice]) -> Unheard<'a> {
        let mut unheard = Unheard::new();
        for end in ends.iter().filter(|end| end.kind.is_over()) {
            let about = self.order.about(lane, &end.incident).iter();
            let entries: Vec<_> = about.filter_map(|id| self.waiting.get(id)).collect();
            if entries.iter().any(|entry| entry.out.is_some() || entry.progress.parts() > 0) {
                continue;
            }
            let waits = || {
                let notices = entries.iter().flat_map(|entry| &entry.message.notices);
                notices.filter(|notice| notice.incident == end.incident)
            };
            if waits().any(|notice| notice.kind.is_beginning()) {
                let worst = waits().map(|notice| notice.level).max().unwrap_or_default();
                unheard.insert(Arc::clone(&end.incident), (end, worst));
            }
        }
        unheard
    }
}

/// The notices of a message, with ends in the place of beginnings, and without whatever was between.
fn notices_with_ends(
    message: &Message,
    ends: &Unheard<'_>,
    told: &mut BTreeSet<Arc<str>>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    for notice in &message.notices {
        match ends.get(&notice.incident) {
            None => notices.push(notice.clone()),
            Some((end, worst)) if told.insert(Arc::clone(&notice.incident)) => {
                let kind = match end.kind {
                    NoticeKind::Recovered => NoticeKind::Ended,
                    other => other,
                };
                notices.push(Notice { kind, from: *worst, ..Notice::clone(end) });
            }
            Some(_) => {}
        }
    }
    notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
    notices
}
