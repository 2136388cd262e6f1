//! Virtual time: what is true, and what our clock shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use freeline::clock::Clock;
use freeline::core::time::{Span, Time};

/// How far our clock may be off, in milliseconds. The program allows a minute between its clock and
/// the platform's (`connect-api.md` leaves that open), and both may be off.
pub(super) const OFF_MS_MAX: i64 = 15_000;

/// The true time and our clock, which may be a little off.
#[derive(Clone, Debug)]
pub(super) struct Clocks(Arc<Both>);

#[derive(Debug)]
struct Both {
    truth: AtomicI64,
    off: AtomicI64,
}

impl Clocks {
    pub(super) fn new(start: Time) -> Self {
        Self(Arc::new(Both { truth: AtomicI64::new(start.micros()), off: AtomicI64::new(0) }))
    }

    /// What is true.
    pub(super) fn truth(&self) -> Time {
        Time::from_micros(self.0.truth.load(Ordering::SeqCst))
    }

    /// Time passes.
    pub(super) fn pass(&self, span: Span) {
        self.0.truth.fetch_add(span.micros(), Ordering::SeqCst);
    }

    /// Somebody sets our clock.
    pub(super) fn set_off(&self, millis: i64) {
        let off = millis.clamp(-OFF_MS_MAX, OFF_MS_MAX) * 1_000;
        self.0.off.store(off, Ordering::SeqCst);
    }
}

impl Clock for Clocks {
    fn now(&self) -> Time {
        let off = self.0.off.load(Ordering::SeqCst);
        Time::from_micros(self.truth().micros() + off)
    }
}
