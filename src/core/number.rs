//! The number of a payment: short, readable, and recognisable inside any text.
//!
//! Every message carries it, and the platform's echo of that message brings it back. It is made
//! from 40 random bits and not counted upwards, so that a database started anew never reuses a
//! number that still stands in an old chat.

use std::fmt;
use std::sync::Arc;

/// Crockford's base 32: no letter in it can be mistaken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What every number begins with.
const PREFIX: &str = "FL-";
/// Characters of one number: `FL-XXXX-XXXX`.
const LENGTH: usize = 12;
/// Where the second dash stands.
const DASH_AT: usize = 7;

/// A payment's number, such as `FL-4J7Q-2M9X`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Number(Arc<str>);

impl Number {
    /// Makes a number from the lowest 40 of `random` bits.
    pub fn from_random(random: u64) -> Self {
        let letter = |index: u32| {
            let bits = usize::try_from((random >> (5 * index)) & 31).unwrap_or(0);
            ALPHABET.get(bits).copied().map_or('0', char::from)
        };
        let mut text = String::with_capacity(LENGTH);
        text.push_str(PREFIX);
        (0..4).for_each(|index| text.push(letter(index)));
        text.push('-');
        (4..8).for_each(|index| text.push(letter(index)));
        Self(text.into())
    }

    /// Takes a text that is exactly one number.
    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::find_all(text);
        match found.as_slice() {
            [only] if text.len() == LENGTH => Some(only.clone()),
            _ => None,
        }
    }

    /// Finds every number that stands in `text` as a word of its own, each once, at most 16.
    ///
    /// Letters may be lower case: people retype numbers.
    pub fn find_all(text: &str) -> Vec<Self> {
        /// A message quotes a handful of payments at the most.
        const FOUND_MAX: usize = 16;
        let mut found = Vec::new();
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
        for word in words.filter(|word| word.len() == LENGTH && word.is_ascii()) {
            let word = word.to_ascii_uppercase();
            let is_number = word.starts_with(PREFIX)
                && word.bytes().enumerate().skip(PREFIX.len()).all(|(at, byte)| {
                    if at == DASH_AT { byte == b'-' } else { ALPHABET.contains(&byte) }
                });
            let number = Self(word.into());
            if is_number && !found.contains(&number) {
                found.push(number);
                if found.len() == FOUND_MAX {
                    break;
                }
            }
        }
        found
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_found_in_a_message_and_nothing_else_is() {
        let found = |text: &str| {
            Number::find_all(text).iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        assert_eq!(found("Оплата. № FL-4J7Q-2M9X."), "FL-4J7Q-2M9X");
        assert_eq!(found("fl-4j7q-2m9x и FL-0000-0000"), "FL-4J7Q-2M9X,FL-0000-0000");
        assert_eq!(found("FL-4J7Q-2M9X FL-4J7Q-2M9X"), "FL-4J7Q-2M9X");
        assert_eq!(found("FL-4J7Q-2M9XA, XFL-4J7Q-2M9X, FL-4J7Q-2M9, FL-4J7U-2M9X"), "");
        assert_eq!(found("FL-4J7Q-2M9X-1"), "");
        assert_eq!(found(""), "");
    }

    proptest! {
        #[test]
        fn every_number_is_found_again_in_any_surroundings(random: u64, before: String, after: String) {
            let number = Number::from_random(random);
            let text = format!("{before} {number}\n{after}");
            prop_assert!(Number::find_all(&text).contains(&number));
            prop_assert_eq!(Number::parse(number.as_str()), Some(number));
        }
    }
}
