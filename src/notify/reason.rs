//! How an attempt ends that did not succeed: with a reason in plain words, for now or for good.

use super::outbox::Outcome;

pub(super) use crate::reason::of;

/// Not now, because of this.
pub(super) fn later(reason: impl Into<String>) -> Outcome {
    Outcome::Later { reason: reason.into(), after: None }
}

/// Never, because of this.
pub(super) fn refused(reason: impl Into<String>) -> Outcome {
    Outcome::Refused { reason: reason.into() }
}
