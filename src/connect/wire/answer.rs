//! Answers of the platform: listings, and the words of a refusal.

use super::Unreadable;
use super::pick::{Known, Picked, elements, pick};
use crate::connect::OpenTreatment;
use crate::core::id::{LineId, TreatmentId, UserId};

/// The fields of an open treatment (`connect-api.md` 4.8).
const TREATMENT: &[Known] = &[
    Known::plain("treatment_id"),
    Known::plain("line_id"),
    Known::plain("user_id"),
    Known::plain("initialized_at"),
];

/// The field of a refusal (`connect-api.md` 1.3).
const ERROR: &[Known] = &[Known::plain("error")];

/// A listing: the rows that could be read, and how many could not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing<T> {
    /// The readable rows, in the order of the answer.
    pub rows: Vec<T>,
    /// How many rows were left out because they lack an id or have it in a wrong form.
    pub skipped: usize,
}

/// The answer to a listing is not a JSON array.
///
/// `null` is none either: read as "nothing is open" it would free every line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer is not a JSON array")]
pub struct NotAList;

/// Reads the answer to `GET /v1/line/treatment/` (`connect-api.md` 4.8).
///
/// The three ids are required of a row; a time that is missing or odd is `None`.
pub fn read_treatments(body: &[u8]) -> Result<Listing<OpenTreatment>, NotAList> {
    read_rows(body, TREATMENT, |mut row| {
        Ok(OpenTreatment {
            treatment: TreatmentId::new(require_id(&mut row, "treatment_id")?),
            line: LineId::new(require_id(&mut row, "line_id")?),
            user: UserId::new(require_id(&mut row, "user_id")?),
            initialized_at: row.time("initialized_at").ok().flatten(),
        })
    })
}

/// Reads the words of `{"error": "…"}`, if the body is that.
pub(in crate::connect) fn read_words(body: &[u8]) -> Option<String> {
    pick(body, ERROR).ok()?.text("error").ok()?
}

/// Reads every row by itself, so that a bad one costs nothing but itself.
pub(super) fn read_rows<T>(
    body: &[u8],
    known: &'static [Known],
    read: impl Fn(Picked) -> Result<T, Unreadable>,
) -> Result<Listing<T>, NotAList> {
    let mut listing = Listing { rows: Vec::new(), skipped: 0 };
    for element in elements(body).ok_or(NotAList)? {
        match pick(element.as_bytes(), known).and_then(&read) {
            Ok(row) => listing.rows.push(row),
            Err(_) => listing.skipped = listing.skipped.saturating_add(1),
        }
    }
    Ok(listing)
}

/// An id that a row cannot do without.
pub(super) fn require_id(row: &mut Picked, name: &'static str) -> Result<String, Unreadable> {
    row.id(name)?.ok_or(Unreadable::Field { name, expected: "given" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_row_costs_only_itself() {
        let good = r#"{"treatment_id":"t","line_id":"l","user_id":"u","current_specialist":null,
                       "initialized_at":"2022-06-28T13:04:13.443625Z"}"#;
        for bad in [
            "null",
            "1",
            "[]",
            "{}",
            r#"{"treatment_id":"t","line_id":"l"}"#,
            r#"{"treatment_id":7,"line_id":"l","user_id":"u"}"#,
            r#"{"treatment_id":"\ud800","line_id":"l","user_id":"u"}"#,
            r#"{"treatment_id":1e999,"line_id":"l","user_id":"u"}"#,
            r#"{"treatment_id":"t","treatment_id":"x","line_id":"l","user_id":"u"}"#,
        ] {
            let listing = read_treatments(format!("[{good},{bad} , {good}]").as_bytes()).unwrap();
            assert_eq!((listing.rows.len(), listing.skipped), (2, 1), "{bad}");
            assert!(listing.rows[0].initialized_at.is_some());
        }
    }

    #[test]
    fn an_odd_time_does_not_hide_an_open_treatment() {
        let body = br#"[{"treatment_id":"t","line_id":"l","user_id":"u","initialized_at":"soon"}]"#;
        let listing = read_treatments(body).unwrap();
        assert_eq!((listing.rows.len(), listing.rows[0].initialized_at), (1, None));
    }

    #[test]
    fn an_empty_list_is_a_list_and_anything_else_is_not() {
        assert_eq!(read_treatments(b" [] ").unwrap(), Listing { rows: Vec::new(), skipped: 0 });
        for body in ["", "null", "{}", "[", "[1,]", "[] []", r#"{"error":"x"}"#, "<html>"] {
            assert_eq!(read_treatments(body.as_bytes()), Err(NotAList), "{body}");
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_found() {
        assert_eq!(read_words(br#"{"error":"no","x":1}"#), Some("no".to_owned()));
        for body in ["", "null", "{}", r#"{"error":5}"#, "<p>"] {
            assert_eq!(read_words(body.as_bytes()), None, "{body}");
        }
    }
}
