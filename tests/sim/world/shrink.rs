//! Makes a plan that breaks a promise as short as it gets, by leaving steps out.

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::life::Failure;
use super::plan::{Setting, Step};
use super::{Lived, live};

/// How long to look for a shorter one.
const SHRINKING_MAX: Duration = Duration::from_mins(1);

/// The shortest list of steps found that breaks the same promise.
pub(super) async fn shrink(
    engine: &mut Engine,
    setting: &Setting,
    mut steps: Vec<Step>,
    failure: &Failure,
) -> Vec<Step> {
    let began = Instant::now();
    let mut size = steps.len() / 2;
    while size >= 1 {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < steps.len() {
            if began.elapsed() > SHRINKING_MAX {
                return steps;
            }
            let end = (at + size).min(steps.len());
            let mut fewer = steps.clone();
            fewer.drain(at..end);
            match live(engine, setting, &fewer).await {
                Lived { ended: Err(other), .. } if other.promise == failure.promise => {
                    steps = fewer;
                    has_shrunk = true;
                }
                _ => at = end,
            }
        }
        if !has_shrunk || size > 1 {
            size /= 2;
        }
    }
    steps
}
