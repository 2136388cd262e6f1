//! The business rules: pure functions over plain values.
//!
//! Invariant: nothing in here waits, does input or output, reads a clock, rolls dice, or logs.
//! Time and randomness come in as arguments; what has to happen goes out as data.

pub mod event;
pub mod id;
pub mod money;
pub mod outcome;
pub mod time;
