//! Input that nobody would send by good will: to the callback, to the API, in files, in the
//! platform's answers, and on the wire.
//!
//! `generate` makes it: valid bodies, damaged a little. Each target takes it for a bounded time,
//! [`duration`], from a [`seed`] that a failure tells; a body that broke something is written to
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
/// What the bodies are made from when nobody says otherwise.
const SEED: u64 = 3_870_126_694_411;

/// How long each target is fed: `FREELINE_FUZZ_SECONDS`, or a few seconds.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn duration() -> Duration {
    let given = std::env::var("FREELINE_FUZZ_SECONDS").ok();
    let seconds = given.map_or(SECONDS, |text| text.parse().expect("FREELINE_FUZZ_SECONDS"));
    Duration::from_secs(seconds)
}

/// The seed of this run: `FREELINE_FUZZ_SEED`, a number or `random`. Without it always the same, so
/// that a run of all tests says something about the change at hand and not about luck.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn seed() -> u64 {
    use freeline::ids::{Ids as _, RandomIds};
    match std::env::var("FREELINE_FUZZ_SEED") {
        Ok(text) if text == "random" => RandomIds::from_system().random(),
        Ok(text) => text.parse().expect("FREELINE_FUZZ_SEED: a number, or `random`"),
        Err(_) => SEED,
    }
}
