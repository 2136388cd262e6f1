//! A compact notation of events for the tests: `@191 89s T7 L1 to T8 L2`.
//!
//! `@` and a number is the platform's time in seconds (else the place in the story, times ten),
//! then `message_type` and who wrote (`u`ser, `s`pecialist, `-` nobody), then the treatment and the
//! line (`L1` unless given), `to`/`from`/`to_vendor` and the other side of a move. `bot` is the
//! bot's copy, without treatment id unless `bot T1`; `bare` has no envelope; `begun=5` is
//! `initialized_at`, `m=x` the message id, `says=x` the text, `U2` another user.

use crate::core::dispatch::{Dispatch, Phase, Rehook};
use crate::core::event::{Direction, Event, EventSource, Movement};
use crate::core::id::{LineId, ManagerId, PaymentId, TreatmentId, UserId};
use crate::core::number::Number;
use crate::core::occupancy::{View, apply_event};
use crate::core::payment::{Payment, PaymentState};
use crate::core::time::Time;
use crate::core::treatment::Treatments;
use crate::core::why::{Reason, ReasonCode};

/// Noon of some day, where the stories begin.
pub(crate) const NOON: i64 = 1_700_000_000;

/// `seconds` into the story.
pub(crate) fn at(seconds: i64) -> Time {
    Time::from_micros((NOON + seconds) * 1_000_000)
}

/// Reads one event.
pub(crate) fn event(text: &str, place: usize) -> Event {
    let mut event = Event {
        family: Some("line".to_owned()),
        source: EventSource::Line,
        message_type: None,
        message_id: Some(format!("m{place}")),
        message_time: Some(at(i64::try_from(place).unwrap() * 10)),
        line: Some(LineId::from("L1")),
        user: Some(UserId::from("U1")),
        author: None,
        treatment: None,
        text: None,
        movement: None,
        initialized_at: None,
        current_specialist: None,
        file: None,
        redirect: None,
        directory: None,
    };
    for word in text.split_whitespace() {
        read_word(&mut event, word);
    }
    event
}

fn read_word(event: &mut Event, word: &str) {
    let direction = match word {
        "to" => Some(Direction::To),
        "from" => Some(Direction::From),
        "to_vendor" | "to_fran" => Some(Direction::Elsewhere),
        _ => None,
    };
    let (head, rest) = word.split_at(1);
    if let Some(direction) = direction {
        event.movement = Some(Movement { direction, line: None, treatment: None });
    } else if word == "bot" {
        event.source = EventSource::Bot;
    } else if word == "bare" {
        (event.source, event.family) = (EventSource::Unstated, None);
    } else if let Some(seconds) = word.strip_prefix("begun=") {
        event.initialized_at = Some(at(seconds.parse().unwrap()));
    } else if let Some(id) = word.strip_prefix("m=") {
        event.message_id = Some(id.to_owned());
    } else if let Some(text) = word.strip_prefix("says=") {
        event.text = Some(text.to_owned());
    } else if head == "@" {
        let tenths = rest.parse::<f64>().unwrap() * 10.0;
        // Tenths of a second are fine enough for a story.
        let tenths: i64 = format!("{tenths:.0}").parse().unwrap();
        event.message_time = Some(Time::from_micros(at(0).micros() + tenths * 100_000));
    } else if head == "T" {
        let id = Some(TreatmentId::from(word));
        match &mut event.movement {
            Some(movement) => movement.treatment = id,
            None => event.treatment = id,
        }
    } else if head == "L" {
        let id = Some(LineId::from(word));
        match &mut event.movement {
            Some(movement) => movement.line = id,
            None => event.line = id,
        }
    } else if head == "U" {
        event.user = Some(UserId::from(word));
    } else {
        let (code, author) = word.split_at(word.len() - 1);
        event.message_type = Some(code.parse().unwrap_or_else(|_| panic!("{word} in a story")));
        event.author = match author {
            "u" => event.user.clone(),
            "s" => Some(UserId::from("specialist")),
            _ => None,
        };
    }
}

/// Reads a story: events with `|` between them.
pub(crate) fn story(text: &str) -> Vec<Event> {
    text.split('|').enumerate().map(|(place, text)| event(text, place)).collect()
}

/// Hears the events in this order, the first an hour into the story.
pub(crate) fn hear<'a>(view: &mut View, events: impl IntoIterator<Item = &'a Event>) {
    for (place, event) in events.into_iter().enumerate() {
        apply_event(view, event, at(3_600 + i64::try_from(place).unwrap()));
    }
}

/// What is open, with its line, and which real treatments are over: `T1 L1, ~ L2; T3`.
pub(crate) fn outcome(treatments: &Treatments) -> String {
    let mut open: Vec<String> = Vec::new();
    let mut over: Vec<String> = Vec::new();
    for treatment in treatments.all() {
        let name = if treatment.is_provisional() { "~" } else { treatment.id.as_str() };
        if treatment.is_open() {
            let user = treatment.user.as_str();
            let of = if user == "U1" { String::new() } else { format!(" {user}") };
            open.push(format!("{name} {}{of}", treatment.line));
        } else if !treatment.is_provisional() {
            over.push(name.to_owned());
        }
    }
    open.sort();
    over.sort();
    format!("{}; {}", open.join(", "), over.join(" "))
}

/// The number of the payment whose key is the digit `key`.
pub(crate) fn number(key: u8) -> String {
    format!("FL-0000-000{key}")
}

/// A payment `P1` of manager `M1` for `U1`.
pub(crate) fn payment(key: u8, state: PaymentState) -> Payment {
    Payment {
        id: PaymentId::new(format!("P{key}")),
        number: Number::parse(&number(key)).unwrap(),
        state,
        reason: Reason::plain(ReasonCode::Queued),
        manager: Some(ManagerId::from("M1")),
        user: Some(UserId::from("U1")),
        author: Some(UserId::from("specialist")),
        hold: None,
        line: None,
        treatment: None,
        dispatched_at: None,
        closed_at: None,
        episode: 1,
        attempts: 0,
        happened: Vec::new(),
    }
}

/// A dispatch of payment `P1` on a line for `U1`, claimed when the story begins.
pub(crate) fn dispatch(id: i64, line: &str, phase: Phase) -> Dispatch {
    Dispatch {
        id,
        payment: PaymentId::from("P1"),
        line: LineId::from(line),
        user: UserId::from("U1"),
        author: Some(UserId::from("specialist")),
        slot: Some(0),
        capacity: 1,
        phase,
        treatment: None,
        fence: 1,
        due_at: at(30),
        lease_until: Some(at(60)),
        failures: 0,
        claimed_at: Some(at(0)),
        sent_at: (phase == Phase::Sent).then(|| at(1)),
        rehook: Rehook::No,
        echo: None,
        proof_at: None,
    }
}
