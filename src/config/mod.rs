//! The file.
mod model;
pub use model::*;
