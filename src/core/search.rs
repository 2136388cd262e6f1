//! Looking for words in what was said: how words are spelt for it, what a person may type, and the
//! piece of a text that is shown of what was found.
//!
//! A person types words; all have to be there. Words in `"quotes"` stand beside each other in that
//! order, and a word or quotation behind a `-` must not be there. Nothing else has a meaning, and
//! nothing that can be typed is wrong: marks only part words.

use std::fmt;

/// Characters of a message that it can be found by: a message has at most 4,000 in practice, and
/// PostgreSQL refuses to keep the words of a megabyte.
pub const WORDS_CHARS_MAX: usize = 20_000;
/// Longest query, in characters.
pub const QUERY_CHARS_MAX: usize = 500;
/// Words and quotations of a query that are looked for; those behind are passed over.
pub const TERMS_MAX: usize = 32;
/// Letters from which on the beginning of a word finds it.
pub const PREFIX_CHARS_MIN: usize = 3;
/// Characters of the piece that is shown.
pub const SNIPPET_CHARS: usize = 160;
/// Characters of it that stand before the first word found.
const SNIPPET_BEFORE: usize = 40;

/// A text in the spelling of the search: small letters, `е` for `ё`, no accents written apart, and a
/// blank for whatever is neither letter nor digit.
pub fn spell(text: &str) -> String {
    let mut spelt = String::new();
    let mut count = 0;
    let mut push = |c: char, spelt: &mut String| {
        if count < WORDS_CHARS_MAX {
            spelt.push(c);
            count += 1;
        }
    };
    for c in text.chars() {
        match c {
            // «й» written as two characters is a letter of its own; all else only loses its accent.
            '\u{306}' if spelt.ends_with('и') => {
                spelt.pop();
                spelt.push('й');
            }
            '\u{300}'..='\u{36f}' => {}
            c if c.is_alphanumeric() => {
                for small in c.to_lowercase() {
                    push(if small == 'ё' { 'е' } else { small }, &mut spelt);
                }
            }
            _ if spelt.is_empty() || spelt.ends_with(' ') => {}
            _ => push(' ', &mut spelt),
        }
    }
    spelt.truncate(spelt.trim_end().len());
    spelt
}

/// A word or a quotation that is looked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Term {
    /// Its words as [`spell`] spells them, a blank between them.
    pub words: String,
    /// It stands as it is: neither beginnings nor other endings are meant.
    pub is_quoted: bool,
    /// It must not be there.
    pub is_unwanted: bool,
}

/// What is looked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Term>,
}

impl fmt::Debug for Query {
    /// Without what a person typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("terms", &self.terms.len()).finish()
    }
}

impl Query {
    /// Reads what a person typed.
    pub fn read(typed: &str) -> Self {
        let mut terms = Vec::new();
        let mut rest = typed.trim_start();
        while !rest.is_empty() && terms.len() < TERMS_MAX {
            let wanted = rest.strip_prefix('-');
            let begun = wanted.unwrap_or(rest);
            let (said, is_quoted, behind) = if let Some(quoted) = begun.strip_prefix(is_quote) {
                // Quotation marks that nobody closes go to the end.
                let (inside, behind) = quoted.split_once(is_quote).unwrap_or((quoted, ""));
                (inside, true, behind)
            } else {
                let ends = |c: char| c.is_whitespace() || is_quote(c);
                let (word, behind) = begun.split_at(begun.find(ends).unwrap_or(begun.len()));
                (word, false, behind)
            };
            let words = spell(said);
            if !words.is_empty() {
                terms.push(Term { words, is_quoted, is_unwanted: wanted.is_some() });
            }
            rest = behind.trim_start();
        }
        Self { terms }
    }

    /// What has to be there, then what must not.
    pub fn terms(&self, is_unwanted: bool) -> impl Iterator<Item = &Term> {
        self.terms.iter().filter(move |term| term.is_unwanted == is_unwanted)
    }

    /// Whether there is nothing that has to be there: then nothing is found.
    pub fn finds_nothing(&self) -> bool {
        self.terms(false).next().is_none()
    }
}

const fn is_quote(c: char) -> bool {
    matches!(c, '"' | '«' | '»' | '“' | '”' | '„')
}

/// The piece of a text around the first word that is looked for, on one line.
pub fn snippet(text: &str, query: &Query) -> String {
    let mut words = text.split_whitespace();
    let whole = words.by_ref().collect::<Vec<_>>().join(" ");
    let place = whole
        .split(' ')
        .scan(0, |at, word| {
            let begins = *at;
            *at += word.chars().count() + 1;
            Some((begins, word))
        })
        .find(|(_, word)| is_looked_for(word, query))
        .map_or(0, |(begins, _)| begins);
    let count = whole.chars().count();
    let from = place.saturating_sub(SNIPPET_BEFORE).min(count.saturating_sub(SNIPPET_CHARS));
    let mut piece: String = whole.chars().skip(from).take(SNIPPET_CHARS).collect();
    if from > 0 {
        piece.insert(0, '…');
    }
    if from + SNIPPET_CHARS < count {
        piece.push('…');
    }
    piece
}

/// Whether a word of a text is one that is looked for, or one like it with another ending.
fn is_looked_for(word: &str, query: &Query) -> bool {
    let word = spell(word);
    word.split(' ').filter(|part| !part.is_empty()).any(|part| {
        let mut looked_for = query.terms(false).flat_map(|term| term.words.split(' '));
        looked_for.any(|wanted| is_like(part, wanted))
    })
}

/// Whether two words are the same, but for an ending of at most three letters in longer ones.
fn is_like(word: &str, wanted: &str) -> bool {
    let same = word.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    let chars = wanted.chars().count();
    same == chars && (chars >= PREFIX_CHARS_MIN || word == wanted) || same >= 4 && same + 3 >= chars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &str) -> Vec<(String, bool, bool)> {
        let query = Query::read(typed);
        let shown = |term: &Term| (term.words.clone(), term.is_quoted, term.is_unwanted);
        query.terms.iter().map(shown).collect()
    }

    #[test]
    fn words_are_spelt_alike_however_they_were_written() {
        for (text, spelt) in [
            ("Счёт", "счет"),
            ("СЧЕ\u{308}Т", "счет"),
            ("и\u{306}од", "йод"),
            ("Йод", "йод"),
            ("№ FL-4J7Q-2M9X!", "fl 4j7q 2m9x"),
            ("  12 345,67 ₽ ", "12 345 67"),
            ("a\0b", "a b"),
            ("…", ""),
            ("", ""),
        ] {
            assert_eq!(spell(text), spelt, "{text:?}");
        }
        assert_eq!(spell(&"ж".repeat(WORDS_CHARS_MAX * 2)).chars().count(), WORDS_CHARS_MAX);
    }

    #[test]
    fn words_quotations_and_what_must_not_be_there() {
        let word = |text: &str| (text.to_owned(), false, false);
        let quoted = |text: &str| (text.to_owned(), true, false);
        for (typed, terms) in [
            ("Оплата счёта", vec![word("оплата"), word("счета")]),
            ("\"Не пришёл\" счёт", vec![quoted("не пришел"), word("счет")]),
            ("«не пришёл»", vec![quoted("не пришел")]),
            ("\"open to the end", vec![quoted("open to the end")]),
            ("a\"b\"c", vec![word("a"), quoted("b"), word("c")]),
            ("-Акт счёт", vec![("акт".to_owned(), false, true), word("счет")]),
            ("-\"за март\"", vec![("за март".to_owned(), true, true)]),
            ("FL-4J7Q", vec![word("fl 4j7q")]),
            ("a OR b* NEAR(c) w:d", ["a", "or", "b", "near c", "w d"].map(word).to_vec()),
            ("\"\" - -- \"-\" ' ( ) * ^ \\ %", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(read(typed), terms, "{typed:?}");
        }
        assert_eq!(read(&"a ".repeat(1_000)).len(), TERMS_MAX);
    }

    #[test]
    fn without_a_word_that_has_to_be_there_nothing_is_found() {
        assert!(Query::read("-a").finds_nothing() && Query::read("?!").finds_nothing());
        assert!(!Query::read("-a b").finds_nothing());
    }

    #[test]
    fn the_piece_shown_stands_around_the_first_word_found() {
        let piece = |text: &str, typed: &str| snippet(text, &Query::read(typed));
        assert_eq!(piece("Пришлите\n счёт", "счета"), "Пришлите счёт");
        let text = format!("{}платежи, {}", "слово ".repeat(50), "дальше ".repeat(50));
        let shown = piece(&text, "платеж");
        assert!(shown.starts_with('…') && shown.ends_with('…'), "{shown}");
        assert_eq!(shown.chars().count(), SNIPPET_CHARS + 2);
        assert_eq!(shown.chars().position(|c| c == 'п'), Some(SNIPPET_BEFORE + 1), "{shown}");
        assert_eq!(piece("", "x"), "");
        assert!(piece(&"ж".repeat(900), "x").ends_with('…'));
    }

    #[test]
    fn what_a_person_typed_is_not_shown_in_logs() {
        assert_eq!(format!("{:?}", Query::read("тайна")), "Query { terms: 1 }");
    }
}
