//! What the auditor found: promises that are broken, as this process sees them.

use std::sync::{Mutex, PoisonError};

use crate::core::invariant::Breach;
use crate::core::time::Time;
use crate::telemetry::series::{AUDITS_TOTAL, BREACHES, BREACHES_TOTAL};

/// Findings kept and shown at the most; more are only counted.
pub const FINDINGS_MAX: usize = 100;
/// Findings of one audit that get a log line of their own.
const LOGGED_MAX: usize = 10;

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which.
    pub breach: Breach,
    /// When it was found first.
    pub since: Time,
}

/// What an audit came to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// When the last audit ended; `None` before the first one.
    pub audited_at: Option<Time>,
    /// What is broken, the oldest first.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub others: usize,
}

/// The findings of this process, written by the auditor and read by the status.
#[derive(Debug, Default)]
pub struct Findings(Mutex<Report>);

impl Findings {
    /// The last report.
    pub fn report(&self) -> Report {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what an audit found in place of what is known. Logs and counts what is new.
    pub fn replace(&self, breaches: &[Breach], now: Time) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut findings, mended): (Vec<Finding>, Vec<Finding>) =
            report.findings.iter().cloned().partition(|one| breaches.contains(&one.breach));
        if !mended.is_empty() {
            tracing::info!("{} broken promises hold again", mended.len());
        }
        let is_known = |breach: &&Breach| !findings.iter().any(|one| one.breach == **breach);
        let not_kept: Vec<Breach> = breaches.iter().filter(is_known).cloned().collect();
        // Those that were only counted may be among them.
        let new = not_kept.get(report.others..).unwrap_or_default();
        tell(new);
        let room = FINDINGS_MAX.saturating_sub(findings.len());
        let others = not_kept.len().saturating_sub(room);
        let kept = not_kept.into_iter().take(room);
        findings.extend(kept.map(|breach| Finding { breach, since: now }));
        *report = Report { audited_at: Some(now), findings, others };
        metrics::counter!(AUDITS_TOTAL).increment(1);
        let broken = u32::try_from(breaches.len()).unwrap_or(u32::MAX);
        metrics::gauge!(BREACHES).set(f64::from(broken));
    }
}

/// One line and one count for each.
fn tell(new: &[Breach]) {
    for breach in new {
        metrics::counter!(BREACHES_TOTAL, "promise" => breach.code()).increment(1);
    }
    for breach in new.iter().take(LOGGED_MAX) {
        let code = breach.code();
        tracing::error!(promise = code, "a promise is broken ({code}): {breach}");
    }
    if new.len() > LOGGED_MAX {
        tracing::error!("{} more promises are broken", new.len() - LOGGED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn twice(payment: usize) -> Breach {
        Breach::SentTwice(format!("p{payment:04}").into())
    }

    #[test]
    fn a_breach_is_counted_once_kept_while_it_lasts_and_forgotten_when_it_is_mended() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let findings = Findings::default();
            let at = Time::from_micros;
            findings.replace(&[], at(1));
            assert_eq!(findings.report().audited_at, Some(at(1)));
            for now in [2, 3] {
                findings.replace(&[twice(1), twice(2)], at(now));
                let expected = [1, 2].map(|n| Finding { breach: twice(n), since: at(2) });
                assert_eq!(findings.report().findings, expected);
            }
            findings.replace(&[twice(2)], at(4));
            assert_eq!(findings.report().findings, [Finding { breach: twice(2), since: at(2) }]);
        });
        let shown = handle.render();
        let total = "freeline_invariant_breaches_total{promise=\"sent_twice\"} 2";
        for line in [total, "freeline_invariant_breaches 1", "freeline_audits_total 4"] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
    }

    #[test]
    fn a_flood_of_breaches_is_counted_and_only_its_beginning_kept() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let flood: Vec<Breach> = (0..FINDINGS_MAX + 50).map(twice).collect();
        metrics::with_local_recorder(&recorder, || {
            let findings = Findings::default();
            for now in [1, 2] {
                findings.replace(&flood, Time::from_micros(now));
                let report = findings.report();
                assert_eq!((report.findings.len(), report.others), (FINDINGS_MAX, 50));
            }
        });
        let total = "freeline_invariant_breaches_total{promise=\"sent_twice\"} 150";
        assert!(handle.render().lines().any(|shown| shown == total), "{}", handle.render());
    }
}
