//! The integration tests, one binary.

mod hostile;
mod hostile_inputs;
