//! The business rules: pure functions over plain values.
//!
//! Invariant: nothing in here waits, does input or output, reads a clock, rolls dice, or logs.
//! Time and randomness come in as arguments; what has to happen goes out as data.

pub mod dispatch;
pub mod event;
pub mod holding;
pub mod hook;
pub mod id;
pub mod invariant;
pub mod keyboard;
pub mod line;
pub mod money;
pub mod number;
pub mod occupancy;
pub mod outcome;
pub mod outgoing;
pub mod payment;
pub mod platform;
pub mod retry;
pub mod search;
pub mod silence;
pub mod time;
pub mod treatment;
pub mod utterance;
pub mod why;

#[cfg(test)]
mod script;
