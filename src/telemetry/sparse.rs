//! Few lines about one trouble, however many stumble over it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::Chain;

/// The least time between two lines about the same trouble.
const APART: Duration = Duration::from_secs(1);

/// Lets one line a second through and counts the others.
#[derive(Debug)]
pub struct Sparse {
    last: Option<Instant>,
    left_out: u64,
}

impl Sparse {
    /// Nothing was told yet.
    pub const fn new() -> Self {
        Self { last: None, left_out: 0 }
    }

    /// Whether a line may be written now; if so, how many were left out since the one before.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < APART) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Default for Sparse {
    fn default() -> Self {
        Self::new()
    }
}

/// What this process tells about its database: there is one log, so there is one of these.
static OUTAGE: Mutex<Sparse> = Mutex::new(Sparse::new());

/// Whether a line about what fails for want of the database may be written now; if so, how many
/// were left out since the one before.
pub fn admit_outage() -> Option<u64> {
    OUTAGE.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now())
}

/// Tells that the database failed somebody: one line a second for the whole process, in which all
/// workers and requests fail for the same reason. What is left out is counted, and told at `debug`.
pub fn tell_outage(words: &str, error: &(dyn std::error::Error + 'static)) {
    let error = Chain(error);
    match admit_outage() {
        Some(0) => tracing::error!(%error, "{words}: {error}"),
        Some(left_out) => {
            tracing::error!(%error, left_out, "{words}: {error} (and {left_out} more like it)");
        }
        None => tracing::debug!(%error, "{words}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes_and_says_how_many_did_not() {
        let mut sparse = Sparse::new();
        let start = Instant::now();
        let told = [0, 1, 500, 999, 1_000, 1_500, 2_100, 9_000, 10_000]
            .map(|millis| sparse.admit(start + Duration::from_millis(millis)));
        let passed = [Some(0), None, None, None, Some(3), None, Some(1), Some(0), Some(0)];
        assert_eq!(told, passed);
    }
}
