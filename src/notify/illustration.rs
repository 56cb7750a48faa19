//! What is known beside a message when it is handed over: pictures, what was compared, what was put into
//! use shortly before, and links by which a reader does something.
//!
//! It is made of stored windows and is no part of the message; a message without any of it says all
//! that has to be said. How it is made is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deploys::Deploy;

/// By the ids of incidents.
pub type Illustrations = BTreeMap<Arc<str>, Illustration>;

/// Beside one notice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Illustration {
    /// What a change is one of.
    pub compared: Option<Compared>,
    /// The course of the values until now.
    pub picture: Option<Picture>,
    /// What was put into use shortly before the incident, or during it; the latest first.
    pub deploys: Vec<Deploy>,
    /// The link by which a reader says that they look after it.
    pub acknowledge: Option<String>,
    /// The link by which a reader silences it.
    pub silence: Option<String>,
}

/// What a rule compared at an instant, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The measure itself.
    pub now: String,
    /// The same of the earlier time.
    pub then: String,
    /// When that was: `last week`.
    pub when: String,
}

/// The same picture as PNG files in two sets of colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// On white.
    pub light: Vec<u8>,
    /// On something dark.
    pub dark: Vec<u8>,
    /// What it shows, for those who do not see it.
    pub title: String,
}
