//! Histories: made from seeds, played, and told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::dice::Dice;
use super::service::Done;
use super::setting::Setting;
use super::shrink::shrink;
use super::step::{History, Kind, Step};
use super::world::{Tally, World};

/// Seeds played by the tests of every change.
const SEEDS: u64 = 10_000;
/// Steps of one history before the calm at its end.
const STEPS: std::ops::Range<u32> = 20..110;

/// Every seed that ever failed, and the histories they were shrunk to.
const KNOWN: &str = include_str!("seeds.txt");

/// Plays one step and checks everything after it.
fn play(world: &mut World, step: Step) -> Done {
    let happened = world.step(step)?;
    world.tally.steps += u64::from(happened);
    world.check()
}

/// Plays a whole history; answers what it broke first.
fn replay(history: &History, story: bool) -> (World, Done) {
    let mut world = World::new(Setting(history.world));
    world.story = story.then(Vec::new);
    play_to_the_end(world, history)
}

fn play_to_the_end(mut world: World, history: &History) -> (World, Done) {
    for step in &history.steps {
        world.tell(|| step.to_string());
        if let Err(broken) = play(&mut world, *step) {
            return (world, Err(broken));
        }
    }
    world.tell(|| "calm".to_owned());
    let end = world.calm();
    (world, end)
}

/// Draws what happens next among what can happen.
fn draw(dice: &mut Dice, world: &World, total: u32) -> Step {
    let mut kind = Kind::Pass;
    for _ in 0..4 {
        let mut at = dice.below(total);
        let drawn = Kind::ALL.iter().copied().find(|kind| {
            let hit = at < kind.weight();
            at = at.saturating_sub(kind.weight());
            hit
        });
        kind = drawn.unwrap_or(Kind::Pass);
        if world.can(kind) {
            break;
        }
    }
    Step { kind, a: dice.byte(), b: dice.byte(), c: dice.byte() }
}

/// Makes the history of a seed while it plays it.
fn explore(seed: u64) -> (History, World, Done) {
    let mut dice = Dice::new(seed);
    let total = Kind::ALL.iter().map(|kind| kind.weight()).sum();
    let setting = Setting(u32::try_from(dice.roll() >> 32).unwrap());
    let mut world = World::new(setting);
    let count = STEPS.start + dice.below(STEPS.end - STEPS.start);
    let count = usize::try_from(count).unwrap();
    let mut history = History { world: setting.0, steps: Vec::with_capacity(128) };
    // Most of the time the hooks are set before anything else happens.
    for line in 0..setting.lines() {
        let set = Step { kind: Kind::SyncHooks, a: line, b: 0, c: 0 };
        history.steps.push(set);
    }
    for number in 0..2 {
        let kind = if number == 0 { Kind::LookAsk } else { Kind::LookAnswer };
        for _ in 0..setting.lines() {
            history.steps.push(Step { kind, a: 0, b: 1, c: 0 });
        }
    }
    let mut at = 0;
    loop {
        let step = match history.steps.get(at) {
            Some(step) => *step,
            None if at < count => {
                history.steps.push(draw(&mut dice, &world, total));
                history.steps[at]
            }
            None => break,
        };
        at += 1;
        if let Err(broken) = play(&mut world, step) {
            return (history, world, Err(broken));
        }
    }
    let end = world.calm();
    (history, world, end)
}

/// Shrinks a history that fails and tells it in words.
fn report(seed: Option<u64>, history: &History, broken: &str) -> String {
    let wanted = kind_of(broken);
    let is_same = |history: &History| matches!(replay(history, false).1, Err(broken) if kind_of(&broken) == wanted);
    let short = shrink(history, is_same);
    let (world, end) = replay(&short, true);
    let story = world.story.unwrap_or_default().join("\n");
    let seed = seed.map_or_else(String::new, |seed| format!("seed {seed}: "));
    let end = end.err().unwrap_or_default();
    format!("{seed}{broken}\n{story}\n=> {end}\nsteps: {short}")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::vars().find(|(key, _)| key == name).map(|(_, text)| text)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Failures of different kinds that are told of at the most.
const TOLD_MAX: usize = 5;

/// What a failure says without its names and numbers: one of each kind is enough to read.
fn kind_of(broken: &str) -> String {
    let is_name = |word: &str| word.contains(|c: char| c.is_ascii_digit() || c == '{');
    let words = broken.split_whitespace().take_while(|word| !word.contains('{'));
    words.filter(|word| !is_name(word)).collect::<Vec<_>>().join(" ")
}

/// How long this thread has kept a processor busy, in nanoseconds; 0 where Linux does not tell.
fn cpu_nanos() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// Plays the seeds from `from` on, on all processors if there are many.
///
/// Answers besides how long they have kept processors busy, in nanoseconds.
fn play_all(from: u64, count: u64) -> (Tally, u64) {
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    let threads = if count > SEEDS { processors } else { 1 };
    let (next, cpu) = (AtomicU64::new(from), AtomicU64::new(0));
    let failures: Mutex<BTreeMap<String, String>> = Mutex::default();
    let work = || {
        let mut sum = Tally::default();
        while failures.lock().unwrap().len() < TOLD_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                break;
            }
            let (history, world, end) = explore(seed);
            if let Err(broken) = end {
                let kind = kind_of(&broken);
                let told = || report(Some(seed), &history, &broken);
                failures.lock().unwrap().entry(kind).or_insert_with(told);
            }
            sum.add(&world.tally);
        }
        cpu.fetch_add(cpu_nanos(), Ordering::Relaxed);
        sum
    };
    let sum = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut sum = Tally::default();
        for thread in threads {
            sum.add(&thread.join().unwrap());
        }
        sum
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.into_values().collect::<Vec<_>>().join("\n\n"));
    (sum, cpu.into_inner())
}

#[test]
fn no_promise_is_broken_in_any_history() {
    let (from, count) = match number("FREELINE_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            number("FREELINE_SIM_FROM").unwrap_or(0),
            number("FREELINE_SIM_SEEDS").unwrap_or(SEEDS),
        ),
    };
    let started = Instant::now();
    let (tally, cpu) = play_all(from, count);
    let taken = started.elapsed();
    // On a machine that has more to do the second figure says what the first one would be.
    let rate = |nanos: u128| u128::from(tally.steps) * 1_000_000_000 / nanos.max(1);
    println!(
        "{count} seeds, {taken:.1?}, {} steps/s, {} steps/s of a processor, {tally:?}",
        rate(taken.as_nanos()),
        rate(u128::from(cpu)),
    );
}

#[test]
fn what_was_broken_once_is_never_broken_again() {
    for line in KNOWN.lines() {
        let text = line.split('#').next().unwrap_or_default().trim();
        if let Some(steps) = text.strip_prefix("steps:") {
            let history = History::parse(steps.trim());
            assert_eq!(History::parse(&history.to_string()), history);
            if let Err(broken) = replay(&history, false).1 {
                panic!("{}", report(None, &history, &broken));
            }
        } else if !text.is_empty() {
            let seed = text.parse().unwrap_or_else(|_| panic!("{line:?} is no seed"));
            let (history, _, end) = explore(seed);
            if let Err(broken) = end {
                panic!("{}", report(Some(seed), &history, &broken));
            }
        }
    }
}

#[test]
fn a_history_is_the_same_each_time_it_is_played() {
    for seed in 0..50 {
        let (history, first, _) = explore(seed);
        let (second, _) = replay(&history, false);
        assert_eq!(first.tables.payments, second.tables.payments, "seed {seed}");
        assert_eq!(first.tables.treatments, second.tables.treatments, "seed {seed}");
        assert_eq!(first.tables.dispatches, second.tables.dispatches, "seed {seed}");
    }
}

#[test]
fn checking_only_what_was_written_finds_what_checking_always_finds() {
    for seed in 0..200 {
        let (history, _, end) = explore(seed);
        let world = World { checks_always: true, ..World::new(Setting(history.world)) };
        assert_eq!(play_to_the_end(world, &history).1, end, "seed {seed}");
    }
}

#[test]
fn a_history_is_shrunk_to_the_steps_that_matter() {
    let (history, ..) = explore(1);
    assert_eq!(History::parse(&history.to_string()), history);
    let matters = |history: &History| {
        let has = |kind| history.steps.iter().any(|step| step.kind == kind);
        has(Kind::Arrive) && has(Kind::Dispatch)
    };
    assert!(matters(&history));
    let short = shrink(&history, matters).to_string();
    assert!(["arrive 0 0 0", "dispatch 0 0 0"].iter().all(|step| short.contains(step)), "{short}");
    assert_eq!(short.split(';').count(), 3, "{short}");
}
