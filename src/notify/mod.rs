//! Incidents, messages, the outbox and the couriers: who is told what, and that it arrives.
//!
//! This module is told of changes of state; it does not know why a rule changed.

pub mod alertmanager;
pub mod audit;
pub mod courier;
pub mod deploys;
pub mod links;
pub mod mail;
pub mod message;
pub mod outbox;

mod email;
mod fingerprint;
mod hold;
mod illustration;
mod incident;
mod incidents;
mod pagerduty;
mod plain;
mod reason;
mod redact;
mod signature;
mod silences;
mod slack;
mod template;
mod webhook;
mod words;

pub use audit::Audit;
pub use courier::Couriers;
pub use deploys::{Deploy, Deploys};
pub use illustration::{Compared, Illustration, Illustrations, Picture};
pub use incident::{Ack, Change, Incident, Note, NoteKind, Told};
pub use incidents::{Acknowledged, Incidents, Moment, NoTest};
pub use message::{About, Closing, Message, Notice, NoticeKind, Undelivered};
pub use outbox::{Condition, Delivery, DeliveryId, Outbox, Outcome, Progress, Recipient, Verdict};
pub use silences::{Coverage, MissingSchedule, Refusal, Silence, Silences};

#[cfg(test)]
mod peer;
#[cfg(test)]
mod shape;
#[cfg(test)]
pub(crate) mod tests;
