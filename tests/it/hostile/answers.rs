//! Files of the directory, and answers of the platform: read or refused, without a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use freeline::connect::wire::{read_event, read_lines, read_treatments};
use freeline::http::parse_directory;
use serde_json::{Value, json};

use super::corpus::{self, Kind};
use super::generate::{Source, damaged};

fn directories() -> Vec<Value> {
    vec![
        crate::support::directory(),
        json!({"managers": [], "lines": [], "counterparties": []}),
        json!({"managers": [{"id": "m1", "name": "A", "email": "a@b", "enabled": false}],
            "lines": [{"line_id": "l", "name": "L", "manager": "m1", "capacity": 2,
                "position": -1, "enabled": true}],
            "counterparties": [{"id": "c", "name": "C", "inn": "7707083893", "manager": "m1",
                "user_id": "u"}]}),
    ]
}

fn answers() -> Vec<Value> {
    vec![
        json!([{"line_id": "cd48", "name": "Test", "allow_bot": true, "hook_bot": "https://h/",
            "hook_line": "https://h/"}, {"line_id": "d12e", "name": null, "allow_bot": false}]),
        json!([{"treatment_id": "t", "line_id": "l", "user_id": "u", "current_specialist": null,
            "initialized_at": "2022-06-28T13:04:13.443625Z"}]),
        json!([]),
        json!({"error": "User is not a subscriber or never been online"}),
        json!(null),
    ]
}

/// What every reader of the platform's answers makes of it.
fn read_answer(body: &[u8]) {
    // Whatever a listing holds has gone through the bounds of ids.
    for line in read_lines(body).map(|listing| listing.rows).unwrap_or_default() {
        assert!(line.line.as_str().chars().count() <= 128 && !line.line.as_str().contains('\0'));
        assert!(!line.name.contains('\0'));
    }
    for row in read_treatments(body).map(|listing| listing.rows).unwrap_or_default() {
        for id in [row.treatment.as_str(), row.line.as_str(), row.user.as_str()] {
            assert!(!id.is_empty() && id.chars().count() <= 128 && !id.contains('\0'));
        }
    }
    drop(read_event(body));
}

/// A directory that is read has nothing in it that a database cannot keep.
fn read_directory(body: &[u8]) {
    match parse_directory(body) {
        Ok(directory) => {
            let managers = directory.managers.iter();
            let managers = managers.flat_map(|one| [one.id.as_str(), &one.name, &one.email]);
            let lines = directory.lines.iter();
            let lines = lines.flat_map(|one| [one.line.as_str(), &one.name, one.manager.as_str()]);
            let counterparties = directory.counterparties.iter().flat_map(|one| {
                let inn = one.inn.as_deref().unwrap_or_default();
                [one.id.as_str(), &one.name, inn, one.manager.as_str()]
            });
            for text in managers.chain(lines).chain(counterparties) {
                assert!(!text.contains('\0'), "NUL in {text:?}");
            }
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

fn check(kind: Kind, body: &[u8], what: &str, read: fn(&[u8])) {
    let is_read = catch_unwind(AssertUnwindSafe(|| read(body))).is_ok();
    assert!(is_read, "{what}: a panic, see {}", corpus::keep(kind, body));
}

fn feed(kind: Kind, bodies: Vec<Value>, read: fn(&[u8])) {
    let (seed, until) = (super::seed(), corpus::deadline());
    let what = format!("FREELINE_FUZZ_SEED={seed}");
    let mut source = Source::new(damaged(bodies), seed);
    let mut fed = 0_u64;
    while std::time::Instant::now() < until {
        check(kind, &source.next(), &what, read);
        fed += 1;
    }
    println!("{what}: {fed}");
}

#[test]
fn files_and_answers_that_once_broke_something_no_longer_do() {
    for (name, body) in corpus::read(Kind::Directory) {
        check(Kind::Directory, &body, &name, read_directory);
    }
    for (name, body) in corpus::read(Kind::Answer) {
        check(Kind::Answer, &body, &name, read_answer);
    }
}

#[test]
fn no_file_makes_the_directory_panic() {
    feed(Kind::Directory, directories(), read_directory);
}

#[test]
fn no_answer_of_the_platform_makes_its_reader_panic() {
    let mut bodies = answers();
    bodies.extend(super::callback::events());
    feed(Kind::Answer, bodies, read_answer);
}
