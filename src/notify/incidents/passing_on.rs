//! Whoever is told in the place of another who cannot be reached belongs to those who were told: worsening,
//! repeats and the recovery go to them as to everybody else.
//!
//! What follows is not passed on to them as well, or they would be told everything twice; that another address cannot be
//! reached is. What was over before it could be passed on is told as that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Incidents, Moment, fact_key};
use crate::notify::audit::What;
use crate::notify::incident::Incident;
use crate::notify::message::{Message, Notice, NoticeKind};
use crate::notify::outbox::GivenUp;
use crate::notify::plain;
use crate::rules::Level;
use crate::time::Timestamp;

/// Where incidents that are over stand, by their ids.
type Places = BTreeMap<Arc<str>, usize>;

impl Incidents {
    /// Queues what could not be delivered for those who are told of that; the messages.
    pub fn pass_on(&mut self, moment: &mut Moment<'_>) -> Vec<Arc<Message>> {
        let mut passed = Vec::new();
        for given_up in moment.outbox.take_given_up() {
            let past = self.places(&given_up.message);
            let stand_ins = moment.outbox.stand_ins(&given_up);
            for (number, (contact, recipients)) in stand_ins.into_iter().enumerate() {
                let heard = |notice| self.heard(&contact, notice, &given_up, &past, moment);
                let notices: Vec<_> = given_up.message.notices.iter().filter_map(heard).collect();
                if notices.is_empty() {
                    continue;
                }
                let message = Arc::new(given_up.passed(&contact, number, notices, moment.now));
                let mut has_room = false;
                for to in recipients {
                    has_room |= moment.outbox.queue(Arc::clone(&message), to, moment.now);
                }
                if has_room {
                    self.note_stand_in(&message, &past);
                    moment.outbox.note_stand_in(&message, moment.now);
                    self.note_message(&message);
                    let (id, notices) = (message.id.clone(), message.notices.len() as u64);
                    moment.audit.note(moment.now, What::Message { message: id, contact, notices });
                    passed.push(message);
                }
            }
        }
        passed
    }

    fn places(&self, message: &Message) -> Places {
        let ids = message.notices.iter().map(|notice| &notice.incident);
        let ids: BTreeSet<_> = ids.filter(|id| !self.ids.contains_key(*id)).collect();
        if ids.is_empty() {
            return Places::new();
        }
        let past = self.past.iter().zip(0..).filter(|(one, _)| ids.contains(&one.id));
        past.map(|(one, place)| (Arc::clone(&one.id), place)).collect()
    }

    fn find(&self, id: &str, past: &Places) -> Option<&Incident> {
        let open = self.ids.get(id).and_then(|key| self.open.get(key));
        open.or_else(|| self.past.get(*past.get(id)?))
    }

    /// What a contact hears of a notice that was for somebody else.
    fn heard(
        &self,
        contact: &str,
        notice: &Notice,
        given_up: &GivenUp,
        past: &Places,
        moment: &Moment<'_>,
    ) -> Option<Notice> {
        if notice.kind == NoticeKind::Acknowledged {
            return None;
        }
        let incident = self.find(&notice.incident, past);
        let has_followed = match incident {
            Some(incident) => incident.stand_ins.iter().any(|name| name == contact),
            None => moment.outbox.hears_the_end(&notice.incident, contact),
        };
        if has_followed && !notice.kind.is_beginning() {
            return None;
        }
        // What is no incident of a rule is an alarm of our own, or was forgotten long after it was over.
        let is_over = match incident {
            Some(incident) => incident.closed.is_some(),
            None => !moment.outbox.is_raised(&notice.incident),
        };
        if !is_over || notice.kind.is_over() {
            return Some(notice.clone());
        }
        let held = || self.hold.notice(&given_up.message.contact, &notice.incident);
        let Some(end) = given_up.ends.get(&notice.incident).or_else(held) else {
            let closed = incident.and_then(|incident| incident.closed);
            return Some(ended(notice, closed.unwrap_or(moment.now)));
        };
        let kind = match end.kind {
            NoticeKind::Recovered => NoticeKind::Ended,
            other => other,
        };
        Some(Notice { kind, from: end.from.max(notice.level), ..end.clone() })
    }

    /// Notes who was told, so that they hear what follows.
    fn note_stand_in(&mut self, message: &Message, past: &Places) {
        for notice in &message.notices {
            if let Some(key) = self.ids.get(&notice.incident)
                && let Some(incident) = self.open.get_mut(key)
            {
                incident.stand_in(&message.contact, notice);
                self.moved.insert(key.clone());
            } else if let Some(place) = past.get(&notice.incident)
                && let Some(incident) = self.past.get_mut(*place)
            {
                incident.stand_in(&message.contact, notice);
                self.facts.put(fact_key(&incident.id), plain::write(incident));
            }
        }
    }
}

/// The end of what a notice tells, where no notice of that is left.
fn ended(notice: &Notice, since: Timestamp) -> Notice {
    let (kind, from) = (NoticeKind::Ended, notice.from.max(notice.level));
    Notice { kind, from, level: Level::Ok, since, value: None, ..notice.clone() }
}

impl Incident {
    fn stand_in(&mut self, contact: &str, notice: &Notice) {
        if !self.told.contains_key(contact) {
            self.stand_ins.push(contact.to_owned());
        }
        // Who hears that it flaps knows no state.
        let known = if notice.kind == NoticeKind::Flapping { Level::Ok } else { notice.level };
        let told = self.told.entry(contact.to_owned()).or_default();
        *told = known.max(*told);
    }
}
