//! Valid bodies, damaged a little: what comes out is close enough to get far.
//!
//! A body is kept as a tree of raw JSON, because what is wanted is what `serde_json` would never
//! write: names twice, half a surrogate pair, numbers out of every range.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

/// JSON whose plain values and names are written as they stand.
#[derive(Clone, Debug)]
enum Raw {
    Plain(String),
    List(Vec<Raw>),
    Object(Vec<(String, Raw)>),
}

impl Raw {
    fn of(value: &Value) -> Self {
        match value {
            Value::Array(list) => Self::List(list.iter().map(Self::of).collect()),
            Value::Object(object) => Self::Object(
                object
                    .iter()
                    .map(|(name, v)| (Value::from(&**name).to_string(), Self::of(v)))
                    .collect(),
            ),
            plain => Self::Plain(plain.to_string()),
        }
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Plain(plain) => text.push_str(plain),
            Self::List(list) => {
                text.push('[');
                for (index, entry) in list.iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    entry.write(text);
                }
                text.push(']');
            }
            Self::Object(fields) => {
                text.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    text.push_str(if index > 0 { "," } else { "" });
                    text.push_str(name);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
        }
    }

    /// How many values there are, this one included.
    fn size(&self) -> usize {
        1 + match self {
            Self::Plain(_) => 0,
            Self::List(list) => list.iter().map(Self::size).sum(),
            Self::Object(fields) => fields.iter().map(|(_, value)| value.size()).sum(),
        }
    }

    /// Does something to the `n`th value.
    fn at(&mut self, n: &mut usize, act: &mut dyn FnMut(&mut Self)) {
        if *n == 0 {
            act(self);
        }
        *n = n.wrapping_sub(1);
        match self {
            Self::Plain(_) => {}
            Self::List(list) => list.iter_mut().for_each(|entry| entry.at(n, act)),
            Self::Object(fields) => fields.iter_mut().for_each(|(_, value)| value.at(n, act)),
        }
    }
}

/// Something that is done to a body.
#[derive(Clone, Debug)]
enum Damage {
    /// A value is replaced by another.
    Replace(prop::sample::Index, String),
    /// A value is wrapped in so many lists.
    Nest(prop::sample::Index, usize),
    /// A value is put in the place of another.
    Copy(prop::sample::Index, prop::sample::Index),
    /// An entry of an object or a list goes.
    Drop(prop::sample::Index, prop::sample::Index),
    /// An entry of an object or a list comes twice.
    Double(prop::sample::Index, prop::sample::Index),
    /// A field of an object has another name.
    Rename(prop::sample::Index, prop::sample::Index, String),
    /// An object has one more field.
    Add(prop::sample::Index, String, String),
    /// A byte of the text is another.
    Byte(prop::sample::Index, u8),
    /// The text ends early.
    Cut(prop::sample::Index),
    /// Something stands in the middle of the text.
    Insert(prop::sample::Index, Vec<u8>),
}

impl Damage {
    /// Damage to the tree; whether there is some.
    fn tree(&self, body: &mut Raw) {
        let mut pick = |at: &prop::sample::Index, act: &mut dyn FnMut(&mut Raw)| {
            let mut n = at.index(body.size());
            body.at(&mut n, act);
        };
        match self {
            Self::Replace(at, with) => pick(at, &mut |value| *value = Raw::Plain(with.clone())),
            Self::Nest(at, levels) => pick(at, &mut |value| {
                let mut inner = String::new();
                value.write(&mut inner);
                let (open, close) = ("[".repeat(*levels), "]".repeat(*levels));
                *value = Raw::Plain(format!("{open}{inner}{close}"));
            }),
            Self::Copy(from, to) => {
                let mut copy = None;
                pick(from, &mut |value| copy = Some(value.clone()));
                if let Some(copy) = copy.filter(|copy| copy.size() < 100) {
                    pick(to, &mut |value| *value = copy.clone());
                }
            }
            Self::Drop(at, which) => pick(at, &mut |value| match value {
                Raw::List(list) if !list.is_empty() => drop(list.remove(which.index(list.len()))),
                Raw::Object(fields) if !fields.is_empty() => {
                    drop(fields.remove(which.index(fields.len())));
                }
                _ => {}
            }),
            Self::Double(at, which) => pick(at, &mut |value| match value {
                Raw::List(list) if !list.is_empty() => {
                    list.push(list[which.index(list.len())].clone());
                }
                Raw::Object(fields) if !fields.is_empty() => {
                    fields.push(fields[which.index(fields.len())].clone());
                }
                _ => {}
            }),
            Self::Rename(at, which, name) => pick(at, &mut |value| {
                if let Raw::Object(fields) = value
                    && !fields.is_empty()
                {
                    let which = which.index(fields.len());
                    fields[which].0.clone_from(name);
                }
            }),
            Self::Add(at, name, with) => pick(at, &mut |value| {
                if let Raw::Object(fields) = value {
                    fields.push((name.clone(), Raw::Plain(with.clone())));
                }
            }),
            Self::Byte(..) | Self::Cut(_) | Self::Insert(..) => {}
        }
    }

    /// Damage to the text.
    fn text(&self, body: &mut Vec<u8>) {
        match self {
            Self::Byte(at, byte) if !body.is_empty() => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Self::Cut(at) if !body.is_empty() => body.truncate(at.index(body.len())),
            Self::Insert(at, what) => {
                let at = at.index(body.len() + 1);
                body.splice(at..at, what.iter().copied());
            }
            _ => {}
        }
    }
}

/// Values as raw JSON that somebody may not have thought of.
pub(super) fn value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "9",
        "10",
        "1.0",
        "1.5",
        "1e5",
        "1e400",
        "-1e400",
        "1e-400",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "\"\"",
        "\" \"",
        "\"\\u0000\"",
        "\"a\\u0000b\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\u{202e}abc\u{2066}\"",
        "\"e\u{301}\u{200b}\u{feff}\"",
        "\"\\u0001\\u001f\\u007f\"",
        "\"a\\r\\nb\"",
        "\"\u{fffe}\u{ffff}\u{10ffff}\"",
        "\"' OR 1=1; --\"",
        "\"%00%ff\"",
        "\"{{ 7*7 }}\"",
        "\"../..\"",
        "\"<script>\"",
        "\"9999-12-31T23:59:59.999999999Z\"",
        "\"-009999-01-02T00:00:00Z\"",
        "\"0000-01-01T00:00:00Z\"",
        "\"0001-01-01T00:00:00+23:59\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-03-05T24:00:00Z\"",
        "\"2016-12-31T23:59:60Z\"",
        "\"2026-03-05\"",
        "\"2300-01-01T00:00:00Z\"",
        "\"1600-01-01T00:00:00Z\"",
        "\"1970-01-01T00:00:00Z\"",
        "\"92233720368547758.07\"",
        "\"92233720368547758.08\"",
        "\"0.01\"",
        "\"-0.00\"",
        "\"1e3\"",
        "\"٣\"",
        "\"FL-4J7Q-2M9X\"",
        "\"to\"",
        "\"from\"",
        "\"bot\"",
        "\"line\"",
        "\"m1\"",
        "\"a@b\"",
        "[]",
        "{}",
        "[null]",
        "[[],{}]",
        "{\"a\":1,\"a\":2}",
        "{\"\\ud800\":1}",
    ]);
    let long = (
        prop::sample::select(vec!["x", "я", "😀", "\\u0000", "\\\\", "9", " "]),
        prop::sample::select(vec![127_usize, 128, 129, 200, 201, 501, 1_001, 4_001, 70_000]),
    )
        .prop_map(|(part, times)| format!("\"{}\"", part.repeat(times)));
    let digits =
        prop::sample::select(vec![20_usize, 309, 400, 50_000]).prop_map(|times| "9".repeat(times));
    let code = prop::sample::select(vec![
        1_i64, 2, 17, 20, 23, 50, 70, 80, 81, 82, 84, 89, 90, 91, 92, 93, 121, 200, 9_999, -1,
    ]);
    prop_oneof![
        8 => known.prop_map(ToOwned::to_owned),
        1 => long,
        1 => digits,
        4 => code.prop_map(|code| code.to_string()),
        2 => any::<String>().prop_map(|text| Value::from(text).to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let names: Vec<&str> = vec![
        "\"line_id\"",
        "\"user_id\"",
        "\"treatment_id\"",
        "\"message_id\"",
        "\"message_type\"",
        "\"data\"",
        "\"treatment\"",
        "\"text\"",
        "\"id\"",
        "\"key\"",
        "\"manager\"",
        "\"amount\"",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"a/b~c\"",
        "\"hold\"",
        "\"reason\"",
    ];
    let name = prop::sample::select(names).prop_map(ToOwned::to_owned);
    let depth = prop::sample::select(vec![1_usize, 2, 60, 124, 125, 126, 127, 128, 1_000, 20_000]);
    prop_oneof![
        12 => (at(), value()).prop_map(|(at, with)| Damage::Replace(at, with)),
        1 => (at(), depth).prop_map(|(at, levels)| Damage::Nest(at, levels)),
        4 => (at(), at()).prop_map(|(from, to)| Damage::Copy(from, to)),
        4 => (at(), at()).prop_map(|(at, which)| Damage::Drop(at, which)),
        2 => (at(), at()).prop_map(|(at, which)| Damage::Double(at, which)),
        2 => (at(), at(), name.clone()).prop_map(|(at, which, name)| Damage::Rename(at, which, name)),
        2 => (at(), name, value()).prop_map(|(at, name, with)| Damage::Add(at, name, with)),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, what)| Damage::Insert(at, what)),
    ]
}

/// One of these bodies with up to three damages.
pub(super) fn damaged(bodies: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(bodies), prop::collection::vec(damage(), 0..4)).prop_map(
        |(body, damages)| {
            let mut tree = Raw::of(&body);
            for damage in &damages {
                damage.tree(&mut tree);
            }
            let mut text = String::new();
            tree.write(&mut text);
            let mut bytes = text.into_bytes();
            for damage in &damages {
                damage.text(&mut bytes);
            }
            bytes
        },
    )
}

/// Values of a strategy, one after the other, the same ones for the same seed.
pub(super) struct Source<S> {
    strategy: S,
    runner: TestRunner,
}

impl<S: Strategy> Source<S> {
    pub(super) fn new(strategy: S, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self { strategy, runner: TestRunner::new_with_rng(Config::default(), rng) }
    }

    pub(super) fn next(&mut self) -> S::Value {
        self.strategy.new_tree(&mut self.runner).expect("a value").current()
    }
}
