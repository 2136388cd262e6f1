//! Pages of lists: `{items, next_cursor}`, `?limit=&cursor=`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::core::time::Time;
use crate::http::fields::Query;
use crate::store::Cursor;
use crate::store::bounds::PAGE_MAX;

/// Entries of a page when nobody says how many.
const PAGE_DEFAULT: i64 = 100;

/// One page of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Of at most `limit` of the `limit + 1` entries that were asked for; the one too many says
    /// that there is a next page, which begins behind the cursor of the last entry shown.
    pub(super) fn of<R>(
        mut found: Vec<R>,
        limit: i64,
        cursor: impl Fn(&R) -> String,
        show: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| has_more).map(cursor);
        Self { items: found.into_iter().map(show).collect(), next_cursor }
    }
}

/// How many entries a page has.
pub(super) fn limit(query: &Query) -> i64 {
    let parse = |text: &str| text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    let expected = format!("a whole number from 1 to {PAGE_MAX}");
    query.parsed("limit", &expected, parse).unwrap_or(PAGE_DEFAULT)
}

/// A cursor that means a time and an id.
pub(super) fn cursor(query: &Query) -> Option<Cursor> {
    query.parsed("cursor", "the next_cursor of the page before", |text| {
        let text = decode(text)?;
        let (at, id) = text.split_once(' ')?;
        Some(Cursor { at: Time::from_micros(at.parse().ok()?), id: id.to_owned() })
    })
}

/// A cursor that means a time and a number.
pub(super) fn numbered_cursor(query: &Query) -> Option<(Time, i64)> {
    query.parsed("cursor", "the next_cursor of the page before", |text| {
        let text = decode(text)?;
        let (at, number) = text.split_once(' ')?;
        Some((Time::from_micros(at.parse().ok()?), number.parse().ok()?))
    })
}

/// A cursor that means a number.
pub(super) fn number_cursor(query: &Query) -> Option<i64> {
    query.parsed("cursor", "the next_cursor of the page before", |text| decode(text)?.parse().ok())
}

/// A cursor that means a name.
pub(super) fn name_cursor(query: &Query) -> Option<String> {
    query.parsed("cursor", "the next_cursor of the page before", decode)
}

/// The text of a cursor; one with NUL is none of ours, and PostgreSQL would choke on it.
fn decode(cursor: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// A cursor behind this time and id.
pub(super) fn after(at: Time, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {id}", at.micros()))
}

/// A cursor behind this name.
pub(super) fn after_name(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}
