//! Integration tests: the real binary on real sockets, and the shape of the code base.
//!
//! One binary, so that it is linked once. Tests that need something that is not Rust are ignored and
//! say what they need; `tests/run` installs that and runs them.

mod harness;

mod hostile;
mod hostile_inputs;
mod main_job;
mod tidy;
