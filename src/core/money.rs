//! Exact money: whole kopecks, never a fraction of one.
//!
//! Invariant: no floating point, and a [`Money`] is always more than zero.

use std::fmt;

/// Longest amount that is looked at, in bytes.
pub const AMOUNT_BYTES_MAX: usize = 32;

/// Kopecks in a rouble: the hundredth part stands behind the decimal point.
const KOPECKS_PER_UNIT: i64 = 100;

/// Keeps the groups of a number and its currency on one line.
const NO_BREAK_SPACE: char = '\u{a0}';

/// An amount of money, more than zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    kopecks: i64,
}

impl Money {
    /// From whole kopecks, as they are stored.
    pub const fn from_kopecks(kopecks: i64) -> Result<Self, MoneyError> {
        match kopecks {
            i64::MIN..0 => Err(MoneyError::Negative),
            0 => Err(MoneyError::NotPositive),
            1.. => Ok(Self { kopecks }),
        }
    }

    /// Whole kopecks.
    pub const fn kopecks(self) -> i64 {
        self.kopecks
    }

    /// Reads `12345`, `12345.6` or `12345.67`, and nothing looser than that.
    ///
    /// A looser reading would guess: `1,234` is a thousand in one country and a rouble in another.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        if text.is_empty() {
            return Err(MoneyError::Empty);
        }
        if text.len() > AMOUNT_BYTES_MAX {
            return Err(MoneyError::TooLong);
        }
        if let Some(rest) = text.strip_prefix('-') {
            return Err(if is_decimal(rest) {
                MoneyError::Negative
            } else {
                MoneyError::NotDecimal
            });
        }
        if !is_decimal(text) {
            return Err(MoneyError::NotDecimal);
        }
        let (units, fraction) = text.split_once('.').unwrap_or((text, ""));
        let hundredths = match fraction.len() {
            0 => 0,
            1 => digits_value(fraction)?.saturating_mul(10),
            2 => digits_value(fraction)?,
            _ => return Err(MoneyError::TooPrecise),
        };
        let kopecks = digits_value(units)?
            .checked_mul(KOPECKS_PER_UNIT)
            .and_then(|kopecks| kopecks.checked_add(hundredths))
            .ok_or(MoneyError::TooLarge)?;
        Self::from_kopecks(kopecks)
    }

    /// As a Russian reader expects it: `12 345,67 ₽`, with no-break spaces.
    pub fn to_russian(self, currency: Currency) -> String {
        let units = (self.kopecks / KOPECKS_PER_UNIT).to_string();
        let mut text = String::with_capacity(units.len().saturating_mul(2));
        for (index, digit) in units.chars().enumerate() {
            let digits_left = units.len() - index;
            if index > 0 && digits_left.is_multiple_of(3) {
                text.push(NO_BREAK_SPACE);
            }
            text.push(digit);
        }
        let hundredths = self.kopecks % KOPECKS_PER_UNIT;
        format!("{text},{hundredths:02}{NO_BREAK_SPACE}{}", currency.symbol())
    }
}

/// Whether `text` is digits, optionally followed by a point and more digits.
fn is_decimal(text: &str) -> bool {
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((units, fraction)) => all_digits(units) && all_digits(fraction),
        None => all_digits(text),
    }
}

/// The value of ASCII digits.
fn digits_value(digits: &str) -> Result<i64, MoneyError> {
    digits.parse().map_err(|_| MoneyError::TooLarge)
}

impl fmt::Display for Money {
    /// The form of the API: `12345.67`, always with two decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.kopecks / KOPECKS_PER_UNIT, self.kopecks % KOPECKS_PER_UNIT)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text or number is no amount or no currency of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoneyError {
    /// There is no text.
    Empty,
    /// The text is longer than [`AMOUNT_BYTES_MAX`].
    TooLong,
    /// The text is not digits with an optional decimal point.
    NotDecimal,
    /// There are more than two decimals.
    TooPrecise,
    /// The amount is below zero.
    Negative,
    /// The amount is zero.
    NotPositive,
    /// The amount is more than the largest number of kopecks that can be kept.
    TooLarge,
    /// The currency is not three upper-case letters.
    NotACurrency,
}

impl fmt::Display for MoneyError {
    /// What is wrong and how to write it right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "The amount is empty. Write it in digits, for example \"12345.67\".",
            Self::TooLong => {
                "The amount is longer than 32 characters. \
                 Write digits and a decimal point only, for example \"12345.67\"."
            }
            Self::NotDecimal => {
                "The amount is not a plain decimal number. Write digits and, if needed, a point \
                 with one or two decimals, without spaces, sign or exponent, \
                 for example \"12345.67\"."
            }
            Self::TooPrecise => {
                "The amount has more than two decimals. \
                 Round it to hundredths, for example \"12345.67\"."
            }
            Self::Negative => {
                "The amount is negative. Send incoming payments only, with an amount above zero."
            }
            Self::NotPositive => "The amount is zero. Send an amount above zero.",
            Self::TooLarge => {
                "The amount is too large. The largest one is 92233720368547758.07; \
                 check that it is not written in hundredths."
            }
            Self::NotACurrency => {
                "The currency is not a three-letter code. \
                 Write an ISO 4217 code in upper case, for example \"RUB\"."
            }
        })
    }
}

impl std::error::Error for MoneyError {}

/// A currency, by its three-letter code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The Russian rouble.
    pub const RUB: Self = Self(*b"RUB");

    /// Reads three upper-case ASCII letters; whether such a currency exists is not checked.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        match *text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(MoneyError::NotACurrency),
        }
    }

    /// The code.
    #[expect(clippy::missing_panics_doc, reason = "`parse` lets ASCII letters in only")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is three ASCII letters")
    }

    /// The sign if it is the rouble, otherwise the code.
    fn symbol(&self) -> &str {
        if *self == Self::RUB { "₽" } else { self.as_str() }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rub(text: &str) -> String {
        Money::parse(text).unwrap().to_russian(Currency::RUB)
    }

    #[test]
    fn plain_decimal_amounts_are_read_to_the_kopeck() {
        for (text, kopecks, written) in [
            ("12345.67", 1_234_567, "12345.67"),
            ("12345", 1_234_500, "12345.00"),
            ("12345.6", 1_234_560, "12345.60"),
            ("0.01", 1, "0.01"),
            ("0.1", 10, "0.10"),
            ("007.05", 705, "7.05"),
            ("92233720368547758.07", i64::MAX, "92233720368547758.07"),
        ] {
            let money = Money::parse(text).unwrap();
            assert_eq!(money.kopecks(), kopecks, "{text}");
            assert_eq!(money.to_string(), written, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        use MoneyError::*;
        for (text, error) in [
            ("", Empty),
            ("123456789012345678901234567890.12", TooLong),
            ("12 345,67", NotDecimal),
            ("12345,67", NotDecimal),
            ("12\u{a0}345.67", NotDecimal),
            ("1e3", NotDecimal),
            ("+1", NotDecimal),
            (".5", NotDecimal),
            ("5.", NotDecimal),
            (".", NotDecimal),
            ("1.2.3", NotDecimal),
            (" 1", NotDecimal),
            ("1 ", NotDecimal),
            ("1\n", NotDecimal),
            ("1_000", NotDecimal),
            ("0x10", NotDecimal),
            ("NaN", NotDecimal),
            ("١٢٣", NotDecimal),
            ("１２", NotDecimal),
            ("-", NotDecimal),
            ("--1", NotDecimal),
            ("-1", Negative),
            ("-0.01", Negative),
            ("1.234", TooPrecise),
            ("1.000", TooPrecise),
            ("0", NotPositive),
            ("0.00", NotPositive),
            ("92233720368547758.08", TooLarge),
            ("92233720368547759", TooLarge),
            ("99999999999999999999999999999999", TooLarge),
        ] {
            assert_eq!(Money::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn stored_kopecks_are_checked_too() {
        assert_eq!(Money::from_kopecks(0), Err(MoneyError::NotPositive));
        assert_eq!(Money::from_kopecks(-1), Err(MoneyError::Negative));
        assert_eq!(Money::from_kopecks(1).unwrap().kopecks(), 1);
    }

    #[test]
    fn every_refusal_is_a_sentence_with_a_remedy() {
        use MoneyError::*;
        for error in
            [Empty, TooLong, NotDecimal, TooPrecise, Negative, NotPositive, TooLarge, NotACurrency]
        {
            let text = error.to_string();
            let remedy = ["Write ", "Round ", "Send ", "check "].iter().any(|w| text.contains(w));
            assert!(text.starts_with("The ") && text.ends_with('.') && remedy, "{text}");
            assert!(!text.contains("  "), "{text}");
        }
    }

    #[test]
    fn russian_amounts_are_grouped_by_no_break_spaces() {
        assert_eq!(rub("12345.67"), "12\u{a0}345,67\u{a0}₽");
        assert_eq!(rub("0.05"), "0,05\u{a0}₽");
        assert_eq!(rub("999"), "999,00\u{a0}₽");
        assert_eq!(rub("1000"), "1\u{a0}000,00\u{a0}₽");
        assert_eq!(rub("1234567"), "1\u{a0}234\u{a0}567,00\u{a0}₽");
        let kzt = Currency::parse("KZT").unwrap();
        assert_eq!(Money::parse("12.5").unwrap().to_russian(kzt), "12,50\u{a0}KZT");
    }

    #[test]
    fn a_currency_is_three_upper_case_letters() {
        assert_eq!(Currency::parse("RUB"), Ok(Currency::RUB));
        assert_eq!(Currency::parse("EUR").unwrap().to_string(), "EUR");
        for text in ["", "RU", "RUBL", "rub", "Rub", "R1B", "RU ", "РУБ", "₽"] {
            assert_eq!(Currency::parse(text), Err(MoneyError::NotACurrency), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(kopecks in 1..=i64::MAX) {
            let money = Money::from_kopecks(kopecks).unwrap();
            prop_assert_eq!(Money::parse(&money.to_string()), Ok(money));
        }

        #[test]
        fn the_russian_form_has_the_same_digits(kopecks in 1..=i64::MAX) {
            let money = Money::from_kopecks(kopecks).unwrap();
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            prop_assert_eq!(digits(&money.to_russian(Currency::RUB)), digits(&money.to_string()));
        }

        #[test]
        fn no_text_makes_the_reading_panic(text in ".{0,40}") {
            if let Ok(money) = Money::parse(&text) {
                prop_assert!(money.kopecks() > 0);
            }
        }

        #[test]
        fn decimal_text_is_read_as_its_two_parts(units in 0..1_000_000_i64, part in 0..100_i64) {
            prop_assume!(units + part > 0);
            let money = Money::parse(&format!("{units}.{part:02}")).unwrap();
            prop_assert_eq!(money.kopecks(), units * 100 + part);
        }
    }
}
