//! What people do about incidents: acknowledge, silence, say something.
//!
//! Each is a line of the audit, and of the incident. What it changes about who is told follows with the next step.

use super::{Incidents, Moment};
use crate::notify::audit::What;
use crate::notify::incident::{Ack, Incident, NoteKind};
use crate::notify::message::NoticeKind;
use crate::notify::silences::{Refusal, Silence, check_texts};

/// That somebody looks after an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// Who, and since when.
    pub ack: Ack,
    /// Nobody did before.
    pub is_new: bool,
}

impl Incidents {
    /// Notes that somebody looks after an open incident. Where somebody does already, that stays.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn acknowledge(
        &mut self,
        id: &str,
        author: &str,
        comment: &str,
        moment: &mut Moment<'_>,
    ) -> Result<Acknowledged, Refusal> {
        check_texts(author, comment)?;
        let incident = self.find_open(id)?;
        if let Some(ack) = &incident.ack {
            return Ok(Acknowledged { ack: ack.clone(), is_new: false });
        }
        let (author, comment) = (author.to_owned(), comment.to_owned());
        let ack = Ack { at: moment.now, author, comment, level: incident.level };
        incident.ack = Some(ack.clone());
        incident.do_note(moment, NoteKind::Acknowledged, &ack.author, &ack.comment);
        let notice = incident.notice(NoticeKind::Acknowledged, incident.level);
        let mut told = incident.everyone();
        told.retain(|contact| moment.outbox.keeps_record(contact));
        // It comes behind the word of what it is about.
        let waiting = told.iter().filter(|contact| self.hold.has(contact, id)).cloned().collect();
        self.send_to(waiting, moment);
        moment.outbox.acknowledge(&notice, told.iter(), moment.now);
        Ok(Acknowledged { ack, is_new: true })
    }

    /// Notes that nobody looks after an incident any more.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unacknowledge(
        &mut self,
        id: &str,
        author: &str,
        comment: &str,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        check_texts(author, comment)?;
        let incident = self.find_open(id)?;
        incident.ack.take().ok_or_else(|| Refusal::NotAcknowledged(id.to_owned()))?;
        // Receivers that were told so cannot be told the contrary: what is told next is another alert there.
        incident.alert = incident.alert.saturating_add(1);
        incident.do_note(moment, NoteKind::Unacknowledged, author, comment);
        Ok(())
    }

    /// Adds what somebody says to an open incident.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn comment(
        &mut self,
        id: &str,
        author: &str,
        text: &str,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        check_texts(author, text)?;
        self.find_open(id)?.do_note(moment, NoteKind::Comment, author, text);
        Ok(())
    }

    /// The open incident with that id, which is about to change.
    fn find_open(&mut self, id: &str) -> Result<&mut Incident, Refusal> {
        let Some(key) = self.ids.get(id) else {
            let is_past = self.past.iter().any(|one| *one.id == *id);
            let id = id.chars().take(100).collect();
            return Err(if is_past { Refusal::Over(id) } else { Refusal::NoSuchIncident(id) });
        };
        self.moved.insert(key.clone());
        self.is_restless = true;
        self.open.get_mut(key).ok_or_else(|| Refusal::NoSuchIncident(id.to_owned()))
    }

    /// Takes a silence, under an id of its own. What it covers is quiet from the next step on.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn silence(
        &mut self,
        silence: Silence,
        moment: &mut Moment<'_>,
    ) -> Result<Silence, Refusal> {
        self.silences.check(&silence, moment.now)?;
        let silence = Silence { id: self.next_id('s', moment.now), made: moment.now, ..silence };
        self.silences.add(silence.clone(), moment.audit, moment.now);
        Ok(silence)
    }

    /// Ends a silence before its time. What it covered is told with the next step.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unsilence(
        &mut self,
        id: &str,
        author: &str,
        moment: &mut Moment<'_>,
    ) -> Result<Silence, Refusal> {
        self.silences.remove(id, author, moment.audit, moment.now)
    }
}

impl Incident {
    /// Adds a line about what somebody did, here and to the audit.
    fn do_note(&mut self, moment: &mut Moment<'_>, kind: NoteKind, author: &str, text: &str) {
        self.note(moment.now, kind, author, text);
        let (title, incident) = (self.title(), self.id.to_string());
        if let Some(note) = self.notes.last().cloned() {
            moment.audit.note(moment.now, What::Note { title, incident, note });
        }
    }
}
