//! `tallyd rules`: what rules are, how they stand, and what they would do.

mod backtest;
mod list;
mod test;

pub(super) use backtest::backtest;
pub(super) use list::{list, show, tag};
pub(super) use test::test;
