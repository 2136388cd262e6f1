//! From a history that fails to the shortest one that fails in the same way.

use super::step::{History, Step};

/// Tries of histories at the most.
const TRIES_MAX: usize = 5_000;

/// Leaves out of `history` whatever `fails` does not need: chunks that become smaller and smaller,
/// then the numbers of the steps, then the habits of the world.
pub(super) fn shrink(history: &History, fails: impl Fn(&History) -> bool) -> History {
    let mut best = history.clone();
    let mut tries = 0;
    let mut attempt = |best: &mut History, candidate: History| {
        tries += 1;
        let is_better = tries <= TRIES_MAX && fails(&candidate);
        if is_better {
            *best = candidate;
        }
        is_better
    };
    let mut size = best.steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        let mut any = false;
        while at < best.steps.len() {
            let mut candidate = best.clone();
            let end = (at + size).min(candidate.steps.len());
            candidate.steps.drain(at..end);
            if attempt(&mut best, candidate) {
                any = true;
            } else {
                at += size;
            }
        }
        // What was needed by what is gone now may go too.
        size = if any && size == 1 { 1 } else { size / 2 };
    }
    for bit in 0..32 {
        let world = best.world & !(1 << bit);
        if world != best.world {
            let candidate = History { world, ..best.clone() };
            attempt(&mut best, candidate);
        }
    }
    for at in 0..best.steps.len() {
        let zero: [fn(Step) -> Step; 3] = [
            |step| Step { a: 0, ..step },
            |step| Step { b: 0, ..step },
            |step| Step { c: 0, ..step },
        ];
        for zero in zero {
            let mut candidate = best.clone();
            candidate.steps[at] = zero(best.steps[at]);
            if candidate != best {
                attempt(&mut best, candidate);
            }
        }
    }
    best
}
