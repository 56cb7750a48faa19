//! tallyd: a counter daemon that applications increment over the memcached text protocol, and that
//! tells people when the numbers go wrong.
//!
//! The modules below are layers. Data goes one way through them, and each one imports only from the
//! ones above it in this list; `tests/it/tidy.rs` holds that order. ARCHITECTURE.md tells the story.

pub mod time;

pub mod series;

pub mod limits;

pub mod reason;

pub mod trust;

pub mod varint;

pub mod histogram;

pub mod disk;

pub mod config;

pub mod protocol;

pub mod counters;

pub mod rollup;

pub mod store;

pub mod query;

pub mod chart;

pub mod rules;

pub mod notify;

pub mod engine;

pub mod faces;

pub mod daemon;

pub mod cli;
