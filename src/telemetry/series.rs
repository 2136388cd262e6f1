//! The numbers that are shown to Prometheus: each name, what kind it is, and what it counts.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::AlreadyInstalled;

/// What a series is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One series.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// Breaches found since the start, by `promise`.
pub const BREACHES_TOTAL: &str = "freeline_invariant_breaches_total";
/// Promises that are broken now.
pub const BREACHES: &str = "freeline_invariant_breaches";
/// Audits since the start.
pub const AUDITS_TOTAL: &str = "freeline_audits_total";

/// All of them.
pub const ALL: &[Series] = &[
    Series {
        name: BREACHES_TOTAL,
        kind: Kind::Counter,
        help: "Broken promises that the auditor has found, by promise",
    },
    Series {
        name: BREACHES,
        kind: Kind::Gauge,
        help: "Promises that were broken at the last audit; anything but 0 needs a person",
    },
    Series {
        name: AUDITS_TOTAL,
        kind: Kind::Counter,
        help: "Audits since the start: one a minute, or nobody watches",
    },
];

/// Counts for this process from now on; answers what renders the counts. Once, at its start.
pub fn install() -> Result<PrometheusHandle, AlreadyInstalled> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| AlreadyInstalled)?;
    for series in ALL {
        match series.kind {
            Kind::Counter => metrics::describe_counter!(series.name, series.help),
            Kind::Gauge => metrics::describe_gauge!(series.name, series.help),
        }
    }
    Ok(handle)
}
