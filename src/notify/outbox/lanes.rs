//! How it goes with each recipient, and what share of the couriers it may have.
//!
//! A recipient that hangs keeps every courier that it is given for as long as an attempt may take. So
//! each has a few, one whose last attempt failed has one, all of those together no more than half,
//! and mail, which mostly goes by one relay, leaves some to all else.

use std::collections::BTreeMap;

use super::Recipient;
use crate::limits;
use crate::time::Timestamp;

/// All recipients for whom something waits.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    all: BTreeMap<Recipient, Lane>,
    next: u64,
    /// Couriers that are with a mail.
    mail: usize,
}

/// One recipient.
#[derive(Debug)]
struct Lane {
    number: u64,
    waiting: usize,
    /// Couriers that are on their way to it.
    out: usize,
    is_failing: bool,
    /// When what waits for it was last had tried at once, since it answered again.
    hurried: Option<Timestamp>,
}

impl Lanes {
    /// The number of a recipient's lane, which has one more that waits.
    pub(super) fn enter(&mut self, to: &Recipient) -> u64 {
        if let Some(lane) = self.all.get_mut(to) {
            lane.waiting += 1;
            return lane.number;
        }
        self.next += 1;
        let lane = Lane { number: self.next, waiting: 1, out: 0, is_failing: false, hurried: None };
        self.all.insert(to.clone(), lane);
        self.next
    }

    /// One fewer waits.
    pub(super) fn leave(&mut self, to: &Recipient) {
        let Some(lane) = self.all.get_mut(to) else { return };
        lane.waiting = lane.waiting.saturating_sub(1);
        if lane.waiting == 0 {
            self.all.remove(to);
        }
    }

    /// The number of a recipient's lane, where it has one.
    pub(super) fn number(&self, to: &Recipient) -> Option<u64> {
        self.all.get(to).map(|lane| lane.number)
    }

    /// How many wait for a recipient.
    pub(super) fn waiting(&self, to: &Recipient) -> usize {
        self.all.get(to).map_or(0, |lane| lane.waiting)
    }

    /// How many wait for the one for whom most do.
    pub(super) fn longest(&self) -> usize {
        self.all.values().map(|lane| lane.waiting).max().unwrap_or_default()
    }

    /// Whether a recipient may have another courier.
    pub(super) fn admits(&self, to: &Recipient) -> bool {
        let Some(lane) = self.all.get(to) else { return false };
        let is_mail = matches!(to, Recipient::Email(_));
        if is_mail && self.mail >= limits::COURIERS_MAIL {
            return false;
        }
        if lane.is_failing {
            return lane.out == 0 && self.failing() < limits::COURIERS_FAILING;
        }
        lane.out < limits::COURIERS_EACH
    }

    fn failing(&self) -> usize {
        self.all.values().filter(|lane| lane.is_failing).map(|lane| lane.out).sum()
    }

    /// A courier goes to a recipient.
    pub(super) fn send(&mut self, to: &Recipient) {
        if let Some(lane) = self.all.get_mut(to) {
            lane.out += 1;
            self.mail += usize::from(matches!(to, Recipient::Email(_)));
        }
    }

    /// It is back; whether the recipient is to be tried again.
    pub(super) fn back(&mut self, to: &Recipient, failed: bool) {
        if let Some(lane) = self.all.get_mut(to) {
            lane.out = lane.out.saturating_sub(1);
            lane.is_failing = failed;
            let is_mail = matches!(to, Recipient::Email(_));
            self.mail = self.mail.saturating_sub(usize::from(is_mail));
        }
    }

    /// Notes that attempts have failed, before this process began.
    pub(super) fn has_failed(&mut self, to: &Recipient) {
        if let Some(lane) = self.all.get_mut(to) {
            lane.is_failing = true;
        }
    }

    /// Whether a recipient whose attempts failed answers now, so that whatever else waits for it is to be
    /// tried at once. Once in a while: one that takes some and refuses others would be asked without end.
    pub(super) fn hurries(&mut self, to: &Recipient, now: Timestamp) -> bool {
        let Some(lane) = self.all.get_mut(to).filter(|lane| lane.is_failing) else { return false };
        let is_soon = |last: Timestamp| last <= now && now < last + limits::HURRY;
        if lane.hurried.is_some_and(is_soon) {
            return false;
        }
        lane.hurried = Some(now);
        true
    }
}
