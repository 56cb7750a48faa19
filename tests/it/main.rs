//! Integration tests: the real binary on real sockets, and the shape of the code base.
//!
//! One binary, so that it is linked once. Tests that need something that is not Rust are ignored and
//! say what they need; `tests/run` installs that and runs them.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests are clients: they connect, wait, read the clock and say what they saw"
)]

mod big_store;
mod conservation;
mod crash;
mod exposition;
mod full_disk;
mod harness;

mod access;
mod acts;
mod arrival;
mod backup;
mod compat;
mod crowd;
mod doctor;
mod hostile;
mod hostile_clients;
mod hostile_inputs;
mod http_access;
mod http_security;
mod import;
mod main_job;
mod metrics;
mod nrpe;
mod open_windows;
mod operation;
mod peers;
mod readme;
mod rule_cases;
mod secrets;
mod statsd;
mod tidy;
mod told;
