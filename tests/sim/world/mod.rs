//! The real workers over the real tables, with a model of the platform.
//!
//! One seed decides everything that happens: what comes in, what fails, who works when, who dies in
//! the middle of what. After every step all promises of `core::invariant` and some of the outside
//! world are looked at (`life`), and at the end everything has to have come right (`ending`).
//!
//! | to do | how |
//! | --- | --- |
//! | see one life | `FREELINE_SIM_SEED=7 tests/run -E 'test(world::)' --no-capture` |
//! | look for longer | `FREELINE_SIM_SECONDS=600 FREELINE_SIM_FROM=100000 tests/run -E 'test(world::)'` |
//!
//! A seed that breaks a promise is shortened to the steps that matter, which are printed in words.
//! It then belongs into `seeds.txt`, whose seeds are lived first; and its shortest steps into `found`,
//! since another way of drawing makes another life of a seed.
//!
//! What is interleaved are the calls that workers make to the database, to the platform and to the
//! mail server; each transaction is one such call. How transactions of PostgreSQL meet is the matter
//! of the tests in `it`.

use std::time::{Duration, Instant};

use futures::FutureExt as _;

use engine::Engine;
use life::{Failure, Figures, Life};
use plan::{Setting, Step};

mod clocks;
#[expect(clippy::allow_attributes, reason = "it is of another target")]
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../it/support/database.rs"]
mod database;
#[path = "../../it/support/dump.rs"]
mod dump;
mod ending;
mod engine;
mod erp;
#[expect(clippy::allow_attributes, reason = "it is of another target")]
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../it/support/event.rs"]
mod event;
mod found;
mod life;
mod outside;
mod plan;
mod platform;
mod replica;
mod shrink;
mod store;
mod truth;
mod turnstile;

/// How long each engine is tried.
const SECONDS: u64 = 60;
/// Lives that have to have been lived in that time, at the least; it takes longer if need be. Those on
/// PostgreSQL wait for another process at every statement.
const LIVES_MIN: u64 = 50;
const LIVES_MIN_ON_POSTGRES: u64 = 25;
/// Lives whose ends are compared between the engines: as many as fit into a half of that time, but
/// not fewer than a few.
const COMPARED_MIN: u64 = 4;
const COMPARED_MAX: u64 = 40;
/// Steps of a failing life that are shown before its end.
const SHOWN: usize = 400;

/// What became of a life.
struct Lived {
    ended: Result<(), Failure>,
    trace: Vec<String>,
    left: Vec<String>,
    figures: Figures,
}

/// Lives through these steps, from the beginning to the end.
async fn live(engine: &mut Engine, setting: &Setting, steps: &[Step]) -> Lived {
    let mut life = Life::begin(setting, engine).await;
    let living = async {
        for step in steps {
            life.step(*step).await?;
        }
        life.end().await
    };
    let ended = std::panic::AssertUnwindSafe(living).catch_unwind().await;
    let ended = ended.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure { promise: "no panic", words: words.unwrap_or_default() })
    });
    let left = if ended.is_ok() { life.left().await } else { Vec::new() };
    Lived { ended, trace: life.trace, left, figures: life.figures }
}

/// Lives a seed; a broken promise is shown with the shortest way to it.
async fn live_seed(engine: &mut Engine, seed: u64) -> Lived {
    let (setting, steps) = plan::draw(seed);
    let lived = live(engine, &setting, &steps).await;
    let Err(failure) = &lived.ended else { return lived };
    let steps = shrink::shrink(engine, &setting, steps, failure).await;
    let again = live(engine, &setting, &steps).await;
    let from = again.trace.len().saturating_sub(SHOWN);
    panic!(
        "seed {seed} on {}: {failure:?}\n{setting:?}\nthe shortest way found:\n{}\n{:?}\nagain: \
         FREELINE_SIM_SEED={seed} tests/run -E 'test(world::)' --no-capture",
        engine.name(),
        again.trace[from..].join("\n"),
        again.ended,
    );
}

#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn number_from(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text}: a number is expected")))
}

/// The seeds that found something once.
fn known_seeds() -> impl Iterator<Item = u64> {
    let lines = include_str!("seeds.txt").lines();
    let seeds = lines.map(|line| line.split('#').next().unwrap_or("").trim());
    seeds.filter(|seed| !seed.is_empty()).map(|seed| seed.parse().expect("a seed is a number"))
}

/// As many lives as fit into the time.
async fn live_many(mut engine: Engine, lives_min: u64) {
    if let Some(seed) = number_from("FREELINE_SIM_SEED") {
        let lived = live_seed(&mut engine, seed).await;
        println!("{}\n{:?}", lived.trace.join("\n"), lived.figures);
        return;
    }
    let asked_for = number_from("FREELINE_SIM_SECONDS");
    let (seconds, lives_min) = asked_for.map_or((SECONDS, lives_min), |seconds| (seconds, 1));
    let from = number_from("FREELINE_SIM_FROM").unwrap_or(1);
    let (began, mut lives, mut all) = (Instant::now(), 0, Figures::default());
    for seed in known_seeds() {
        all.add(live_seed(&mut engine, seed).await.figures);
        lives += 1;
    }
    for seed in from.. {
        if began.elapsed() > Duration::from_secs(seconds) && lives >= lives_min {
            break;
        }
        all.add(live_seed(&mut engine, seed).await.figures);
        lives += 1;
    }
    // What is told of fencing numbers is worth something only where they had something to refuse.
    if asked_for.is_none() {
        assert!(all.answers_refused > 0, "no answer came after its claim was another's: {all:?}");
    }
    println!("{lives} lives on {} in {:?}: {all:?}", engine.name(), began.elapsed());
}

#[tokio::test]
async fn every_promise_is_kept_in_every_life_on_sqlite() {
    live_many(Engine::sqlite().await, LIVES_MIN).await;
}

#[tokio::test]
async fn every_promise_is_kept_in_every_life_on_postgres() {
    live_many(Engine::postgres().await, LIVES_MIN_ON_POSTGRES).await;
}

#[tokio::test]
async fn the_same_life_leaves_the_same_behind_on_both_engines() {
    let (mut one, mut other) = (Engine::sqlite().await, Engine::postgres().await);
    let from = number_from("FREELINE_SIM_SEED").unwrap_or(1_000);
    let began = Instant::now();
    for seed in from..from + COMPARED_MAX {
        if began.elapsed() > Duration::from_secs(SECONDS / 2) && seed >= from + COMPARED_MIN {
            break;
        }
        let (here, there) = (live_seed(&mut one, seed).await, live_seed(&mut other, seed).await);
        for (here, there) in here.trace.iter().zip(&there.trace) {
            assert_eq!(here, there, "seed {seed}");
        }
        for (here, there) in here.left.iter().zip(&there.left) {
            assert_eq!(here, there, "seed {seed}");
        }
        assert_eq!(here.left.len(), there.left.len(), "seed {seed}");
    }
}

#[tokio::test]
async fn a_life_is_the_same_when_it_is_repeated() {
    let mut engine = Engine::sqlite().await;
    for seed in 2_000..2_005 {
        let (one, again) = (live_seed(&mut engine, seed).await, live_seed(&mut engine, seed).await);
        assert_eq!(one.trace, again.trace, "seed {seed}");
        assert_eq!(one.left, again.left, "seed {seed}");
    }
}
