//! What is told though nothing changes: again, after `repeat`, and to others, by `escalate`.
//!
//! Both go on from when word of an incident was sent, so an edit of the rule takes effect at once. Nothing is told
//! of what somebody acknowledged, of what a silence covers or a rule keeps quiet, nor of what flaps.

use crate::notify::hold::Hold;
use crate::notify::incident::Incident;
use crate::notify::message::{Notice, NoticeKind};
use crate::rules::{Event, Level, Policy};
use crate::time::{Step, Timestamp};

use super::{Incidents, Moment, describe};

impl Incidents {
    /// Moves with a clock that was set since when it is counted how long nobody has looked after what is open.
    pub fn set_clock(&mut self, step: Step) {
        self.hold.set_clock(step);
        for (key, incident) in &mut self.open {
            for since in [&mut incident.told_at, &mut incident.alarmed] {
                if let Some(moved) = since.and_then(|since| step.moved(since)) {
                    *since = Some(moved);
                    self.moved.insert(key.clone());
                }
            }
        }
        self.is_restless = true;
    }

    /// Tells what is due, and notes when something will be next.
    pub(super) fn remind(&mut self, moment: &Moment<'_>) {
        let now = moment.second();
        let is_due = self.wake.is_some_and(|wake| wake <= now);
        if !is_due && !std::mem::take(&mut self.is_restless) {
            return;
        }
        let mut wake: Option<Timestamp> = None;
        for (key, incident) in &mut self.open {
            let Some(active) = moment.rules.get(&key.0) else { continue };
            let rule = active.rule();
            let is_quiet = active.is_quiet() && key.1.len() == rule.by.len();
            let contacts = rule.notify.as_ref().unwrap_or(&self.default);
            let is_due = incident.next_due(rule).is_some_and(|due| due <= now);
            if !is_quiet
                && (is_due || incident.has_unaware(contacts))
                && let Some(event) = active.announce(&key.1, now)
            {
                incident.remind(&event, contacts, &mut self.hold, now);
                self.moved.insert(key.clone());
            }
            wake = wake.into_iter().chain(incident.next_due(rule)).min();
        }
        self.wake = wake;
    }
}

impl Incident {
    /// Tells it to whom it is due, and to whoever should know and does not: it could not be told before, or
    /// they are told by the rule since a moment ago.
    fn remind(&mut self, event: &Event, contacts: &[String], hold: &mut Hold, now: Timestamp) {
        let rule = &event.rule;
        self.grow(&Policy::of(rule), &event.transition);
        let unaware = self.unaware(contacts);
        self.call_again(&unaware);
        let mut notice = self.notice(NoticeKind::Repeat, self.level);
        describe(&mut notice, event);
        self.note_told(&unaware, now);
        for contact in unaware {
            let is_new = self.known_to(&contact) == Level::Ok;
            let kind = if is_new { NoticeKind::Firing } else { NoticeKind::Worse };
            self.tell(hold, &contact, Notice { kind, ..notice.clone() });
            self.alarmed = self.alarmed.or(Some(now));
        }
        let is_repeated = self.repeat_due(rule).is_some_and(|due| due <= now);
        while let Some((due, step)) = self.escalation_due(rule)
            && due <= now
        {
            self.escalated += 1;
            for contact in self.unaware(&step.notify) {
                let notice = Notice { kind: NoticeKind::Escalated, ..notice.clone() };
                self.tell(hold, &contact, notice);
                self.told_at = self.told_at.or(Some(now));
            }
        }
        if is_repeated {
            self.told_at = Some(now);
            for contact in self.everyone() {
                self.tell(hold, &contact, notice.clone());
            }
        }
    }
}
