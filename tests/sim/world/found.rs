//! The shortest ways to what lives have found, as lives of their own: each broke a promise once.

use freeline::connect::SendMode;

use super::engine::Engine;
use super::life::Figures;
use super::plan::{DISPATCHER, RECONCILER, SENDER, Setting, Step};
use super::platform::Manners;
use super::turnstile::{Calls, Fate};
use super::{Lived, live};

/// One replica, two lines, and a platform that does what is documented.
const PLAIN: Setting = Setting {
    seed: 0,
    replicas: 1,
    lines: 2,
    users: 2,
    mode: SendMode::Bot,
    manners: Manners { bot_without_id: 0, bot_bare: false, moves_name: true, clock_off_ms: 0 },
};

async fn check(setting: &Setting, steps: &[Step]) -> Lived {
    let mut engine = Engine::sqlite().await;
    let lived = live(&mut engine, setting, steps).await;
    assert_eq!(lived.ended, Ok(()), "{}", lived.trace.join("\n"));
    lived
}

/// A worker of the first replica goes on until its call number `count`, which has this fate.
const fn until(worker: usize, count: u32, fate: Fate) -> Step {
    Step::Go { replica: 0, worker, calls: Calls { count, fate, goes_on: true } }
}

#[tokio::test]
async fn a_lead_that_could_not_be_taken_over_is_taken_over_by_the_next_step() {
    for fate in [Fate::FailsBefore, Fate::FailsAfter] {
        for call in 1..=2 {
            check(&PLAIN, &[Step::PutWhole { without: 0 }, until(RECONCILER, call, fate)]).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_could_not_be_written_down_is_written_by_the_next_step_and_leaves_no_doubt()
{
    for fate in [Fate::FailsBefore, Fate::FailsAfter] {
        let steps = [
            Step::PutWhole { without: 0 },
            Step::Round { replica: 0 },
            Step::Pay { n: 1, user: 0, whose: 3, priority: 0, hold: false, fate: Fate::Fine },
            until(DISPATCHER, 1, Fate::Fine),
            // It claims, sends, and hears the answer.
            until(SENDER, 4, fate),
            until(SENDER, 1, Fate::Fine),
        ];
        let lived = check(&PLAIN, &steps).await;
        assert_eq!((lived.figures.early, lived.figures.doubted), (1, 0));
        let written = lived.trace.iter().find(|words| words.contains("sender: record_answer"));
        assert!(written.is_some(), "{}", lived.trace.join("\n"));
    }
}

#[tokio::test]
async fn an_answer_that_is_written_down_again_is_refused_once_another_has_claimed_the_call() {
    let steps = [
        Step::PutWhole { without: 0 },
        Step::Round { replica: 0 },
        Step::Pay { n: 1, user: 0, whose: 3, priority: 0, hold: false, fate: Fate::Fine },
        Step::AnswerAgain { replica: 0, other: 1 },
    ];
    let lived = check(&Setting { replicas: 2, ..PLAIN }, &steps).await;
    let Figures { answers_refused, messages, doubted, .. } = lived.figures;
    assert_eq!((answers_refused, messages, doubted), (1, 1, 0), "{}", lived.trace.join("\n"));
}

#[tokio::test]
async fn somebody_is_told_of_a_payment_beside_lines_that_were_paused_before_they_were_known() {
    let steps = [
        Step::PutWhole { without: 0 },
        Step::Pause { line: 0, resumed: false },
        Step::Pause { line: 1, resumed: false },
        // It leads, and cannot look at the lines yet.
        Step::PlatformDown { secs: 20 },
        Step::Round { replica: 0 },
        Step::Pay { n: 1, user: 0, whose: 3, priority: 0, hold: false, fate: Fate::Fine },
    ];
    assert!(check(&PLAIN, &steps).await.figures.letters > 0);
}
