//! Input that nobody would send by good will: to the callback, to the API, in files, in the
//! platform's answers, and on the wire.
//!
//! `generate` makes it: valid bodies, damaged a little. Each target takes it for a bounded time,
//! [`duration`], from a seed that a failure tells; a body that broke something is written to
//! `corpus/`, which is replayed first ever after.

mod answers;
mod callback;
mod corpus;
mod crowd;
mod edges;
mod generate;
mod memory;
mod rest;
mod slow;
mod wire;

use std::time::Duration;

/// How long each target is fed when nobody says otherwise.
const SECONDS: u64 = 6;

/// How long each target is fed: `FREELINE_FUZZ_SECONDS`, or a few seconds.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn duration() -> Duration {
    let given = std::env::var("FREELINE_FUZZ_SECONDS").ok();
    let seconds = given.map_or(SECONDS, |text| text.parse().expect("FREELINE_FUZZ_SECONDS"));
    Duration::from_secs(seconds)
}

/// The seed of this run: `FREELINE_FUZZ_SEED`, or a new one.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn seed() -> u64 {
    use freeline::ids::{Ids as _, RandomIds};
    let given = std::env::var("FREELINE_FUZZ_SEED").ok();
    let seed = given.map(|text| text.parse().expect("FREELINE_FUZZ_SEED"));
    seed.unwrap_or_else(|| RandomIds::from_system().random())
}
