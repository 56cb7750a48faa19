//! The configuration file: TOML text in, checked values out.
//!
//! A file is taken whole or not at all, and everything that is wrong with it is told at once, each
//! problem with its line. No key is ever ignored: one that is unknown is an error. What is read by the rest of the program is [`Config`]; nothing outside this
//! module sees TOML.
//!
//! It knows nothing of sockets and threads. Files and environment variables are reached through
//! [`Surroundings`] alone, so that a test, or a check of somebody else's file, decides what is there.

mod access;
mod contact;
mod depends;
mod email;
mod excerpt;
mod extract;
mod http;
mod inlets;
mod metric;
mod model;
mod nearest;
mod network;
mod nrpe;
mod problem;
mod read;
mod rule;
mod schedule;
mod script;
mod section;
mod sink;
mod surroundings;
mod template;
#[cfg(test)]
mod tests;
mod threshold;
mod tier;
mod unmatched;
mod value;
mod webhook;

pub use access::{TlsFault, server_config};
pub use extract::rules_alone;
pub use http::{Http, Role, Token, TokenDigest, Tokens};
pub use metric::usual_layout;
pub use model::*;
pub use nearest::nearest;
pub use network::Network;
pub use problem::{Problem, Problems};
pub use script::{
    Act, Case, Deed, Expectation, Input, InputKind, Reload, Script, StateWord, Step, Steps, Whose,
    load_script, parse_script,
};
pub use surroundings::{FileRead, Surroundings};
pub use template::{Template, TemplateError, samples};
pub use unmatched::{Unmatched, warn_unmatched};

use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::limits;
use crate::time::Span;
use read::Reader;
use section::Section;
use sink::Sink;

/// A file that is good.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What its author may not have meant.
    pub warnings: Problems,
}

/// Why a file did not become a configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing is at that path.
    #[error("there is no configuration file {}", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// It is there, but cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It is larger than any configuration.
    #[error(
        "the configuration file {} is larger than {} MiB",
        path.display(),
        limits::CONFIG_BYTES / 1024 / 1024
    )]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
    },
    /// It is not text.
    #[error("the configuration file {} is not UTF-8 text: see line {line}", path.display())]
    NotUtf8 {
        /// The path as it was given.
        path: PathBuf,
        /// The first line that holds other bytes, counted from 1.
        line: usize,
    },
    /// It is text with mistakes.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Reads the file at `path`, which must hold at most [`limits::CONFIG_BYTES`] bytes of UTF-8, and
/// checks it as [`parse`] does.
///
/// # Errors
///
/// See [`LoadError`].
pub fn load(path: &Path, surroundings: &Surroundings<'_>) -> Result<Loaded, LoadError> {
    let text = text_of(path, surroundings)?;
    Ok(parse(&text, path, surroundings)?)
}

/// What is in a file, as far as it may be a configuration.
fn text_of(path: &Path, surroundings: &Surroundings<'_>) -> Result<String, LoadError> {
    let here = || path.to_owned();
    let bytes = match (surroundings.file)(path, limits::CONFIG_BYTES) {
        Ok(Some(file)) => file.bytes,
        Ok(None) => return Err(LoadError::TooLarge { path: here() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::Missing { path: here() });
        }
        Err(error) => return Err(LoadError::Unreadable { path: here(), error }),
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        LoadError::NotUtf8 { path: here(), line: 1 + valid.filter(|byte| **byte == b'\n').count() }
    })
}

/// The rules of a text, with the schedules and metrics that are in it; the rest of it is not read. They may
/// tell anybody. `reach` is how long the longest tier keeps its windows.
///
/// # Errors
/// Every problem of these, in the order of its lines.
pub fn parse_rules(text: &str, reach: Span) -> Result<Vec<Rule>, Problems> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let sink = Sink::new(&syntax);
    let mut root = Section::root(tree.get_ref(), &sink);
    root.only(&["rule", "schedule", "metric"]);
    let metrics = metric::metrics(&mut root, &sink);
    let schedules = schedule::schedules(&mut root, &sink);
    let context = rule::Context {
        contacts: None,
        schedules: &schedules,
        metrics: &metrics,
        reach,
        somebody_by_default: true,
        sink: &sink,
    };
    let rules = rule::rules(&mut root, &context);
    drop(root);
    let (errors, _) = sink.finish(text, Path::new("rules"));
    if errors.is_empty() { Ok(rules) } else { Err(errors) }
}

/// Checks the text of a configuration file. `origin` is its path: messages name it, and relative
/// paths inside it begin at its folder.
///
/// # Errors
///
/// Every problem of the file, in the order of its lines. Where the TOML itself is broken, problems
/// behind the break are left out, since nobody knows what was meant there.
pub fn parse(
    text: &str,
    origin: &Path,
    surroundings: &Surroundings<'_>,
) -> Result<Loaded, Problems> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let sink = Sink::new(&syntax);
    let folder = origin.parent().unwrap_or(Path::new(""));
    let reader = Reader { sink: &sink, surroundings, folder };
    let config = read::config(Section::root(tree.get_ref(), &sink), &reader);
    let (errors, warnings) = sink.finish(text, origin);
    if errors.is_empty() { Ok(Loaded { config, warnings }) } else { Err(errors) }
}
