//! What was said: written with the events that tell it, each message once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sqlx::FromRow;

use super::rows::word;
use super::{Conn, Statement, dialect, outgoing};
use crate::core::dispatch::SendMode;
use crate::core::event::SentFile;
use crate::core::search::spell;
use crate::core::time::Time;
use crate::core::utterance::{Speaker, Utterance};
use crate::store::error::Doing;
use crate::store::{Conversation, Result, Search, UtteranceFilter, UtteranceRecord};

/// Rows written in one statement, of 22 values each: SQLite binds 32,766 at the most.
const ROWS_PER_STATEMENT: usize = 1_000;

/// What a copy for the other kind of hook may tell that the first one left out.
const FILLED_IN: [&str; 11] = [
    "treatment_id",
    "author_id",
    "text",
    "file_id",
    "file_name",
    "file_url",
    "file_bytes",
    "file_comment",
    "preview_url",
    "preview_hi_url",
    "preview_hi_size",
];

/// Writes what was said; of copies one row.
pub(super) async fn write(conn: &mut Conn, said: Vec<Utterance>) -> Result<()> {
    let mut once: BTreeMap<(String, String), Utterance> = BTreeMap::new();
    for one in said {
        match once.entry((one.line.as_str().to_owned(), one.identity())) {
            Entry::Vacant(place) => {
                place.insert(one);
            }
            Entry::Occupied(first) => first.into_mut().fill_in(one),
        }
    }
    let rows: Vec<Utterance> = once.into_values().collect();
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        upsert(conn, chunk).await?;
    }
    Ok(())
}

async fn upsert(conn: &mut Conn, rows: &[Utterance]) -> Result<()> {
    let mut upsert = Statement::new(
        "INSERT INTO utterances (event_id, line_id, identity, message_id, message_type, user_id, \
         treatment_id, at, heard_at, author_id, speaker, text, file_id, file_name, file_url, \
         file_bytes, file_comment, preview_url, preview_hi_url, preview_hi_size, words) ",
    );
    upsert.push_values(rows, |mut row, one| {
        let file = one.file.as_ref();
        let bytes = file.and_then(|file| file.bytes);
        row.push_bind(one.event)
            .push_bind(one.line.as_str().to_owned())
            .push_bind(one.identity())
            .push_bind(one.message_id.clone())
            .push_bind(one.message_type)
            .push_bind(one.user.as_str().to_owned())
            .push_bind(one.treatment.as_ref().map(|id| id.as_str().to_owned()))
            .push_bind(one.at.micros())
            .push_bind(one.heard_at.micros())
            .push_bind(one.author.as_ref().map(|id| id.as_str().to_owned()))
            .push_bind(one.speaker.as_str())
            .push_bind(one.text.clone())
            .push_bind(file.and_then(|file| file.id.clone()))
            .push_bind(file.and_then(|file| file.name.clone()))
            .push_bind(file.and_then(|file| file.url.clone()))
            .push_bind(bytes.and_then(|bytes| i64::try_from(bytes).ok()))
            .push_bind(file.and_then(|file| file.comment.clone()))
            .push_bind(file.and_then(|file| file.preview_url.clone()))
            .push_bind(file.and_then(|file| file.preview_hi_url.clone()))
            .push_bind(file.and_then(|file| file.preview_hi_size.clone()))
            .push_bind(spell(&one.words()));
    });
    // A copy that tells nothing more changes nothing, and its words need no new place in the search.
    upsert.push(
        " ON CONFLICT (line_id, identity) DO UPDATE SET speaker = CASE \
         WHEN utterances.author_id IS NULL THEN excluded.speaker ELSE utterances.speaker END, \
         words = CASE WHEN utterances.words = '' THEN excluded.words ELSE utterances.words END",
    );
    for column in FILLED_IN {
        upsert.push(format!(", {column} = COALESCE(utterances.{column}, excluded.{column})"));
    }
    for (place, column) in FILLED_IN.iter().enumerate() {
        upsert.push(if place == 0 { " WHERE " } else { " OR " });
        upsert.push(format!("(utterances.{column} IS NULL AND excluded.{column} IS NOT NULL)"));
    }
    upsert.build().execute(conn).await.doing("write what was said").map(|_| ())
}

const UTTERANCE: &str = "u.event_id, u.line_id, u.message_id, u.message_type, u.user_id, \
     u.treatment_id, u.at, u.heard_at, u.author_id, u.speaker, u.text, u.file_id, u.file_name, \
     u.file_url, u.file_bytes, u.file_comment, u.preview_url, u.preview_hi_url, u.preview_hi_size, \
     (SELECT MIN(o.seq) FROM outgoing o WHERE o.echo IS NOT NULL AND o.line_id = u.line_id \
     AND o.user_id = u.user_id AND o.echo = u.message_id) AS outgoing_seq, \
     (SELECT MIN(d.payment_id) FROM dispatches d WHERE d.echo IS NOT NULL \
     AND d.echo = u.message_id AND d.user_id = u.user_id) AS payment_id";

/// Of what was found, which messages of ours it is.
const DELIVERED: &str = "SELECT found.*, o.id AS outgoing_id, o.mode AS outgoing_mode, \
     o.author_id AS outgoing_author FROM (";

#[derive(FromRow)]
struct UtteranceRow {
    event_id: i64,
    line_id: String,
    message_id: Option<String>,
    message_type: i64,
    user_id: String,
    treatment_id: Option<String>,
    at: i64,
    heard_at: i64,
    author_id: Option<String>,
    speaker: String,
    text: Option<String>,
    #[sqlx(flatten)]
    file: FileRow,
    payment_id: Option<String>,
    outgoing_id: Option<String>,
    outgoing_mode: Option<String>,
    outgoing_author: Option<String>,
}

#[derive(FromRow)]
struct FileRow {
    file_id: Option<String>,
    file_name: Option<String>,
    file_url: Option<String>,
    file_bytes: Option<i64>,
    file_comment: Option<String>,
    preview_url: Option<String>,
    preview_hi_url: Option<String>,
    preview_hi_size: Option<String>,
}

impl FileRow {
    fn into_file(self) -> Option<SentFile> {
        let file = SentFile {
            id: self.file_id,
            name: self.file_name,
            url: self.file_url,
            bytes: self.file_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            comment: self.file_comment,
            preview_url: self.preview_url,
            preview_hi_url: self.preview_hi_url,
            preview_hi_size: self.preview_hi_size,
        };
        (file != SentFile::default()).then_some(file)
    }
}

impl UtteranceRow {
    fn into_record(self) -> Result<UtteranceRecord> {
        let mode = self.outgoing_mode.as_deref();
        let mode =
            mode.map(|mode| word("outgoing", "mode", mode, outgoing::parse_mode)).transpose()?;
        // What we sent as the bot in nobody's name comes back with the bot's own id.
        let is_bots = mode == Some(SendMode::Bot) && self.outgoing_author.is_none();
        let speaker = word("utterances", "speaker", &self.speaker, Speaker::parse)?;
        Ok(UtteranceRecord {
            said: Utterance {
                event: self.event_id,
                line: self.line_id.into(),
                user: self.user_id.into(),
                message_id: self.message_id,
                message_type: self.message_type,
                treatment: self.treatment_id.map(Into::into),
                at: Time::from_micros(self.at),
                heard_at: Time::from_micros(self.heard_at),
                author: self.author_id.map(Into::into),
                speaker: if is_bots { Speaker::Bot } else { speaker },
                text: self.text,
                file: self.file.into_file(),
            },
            outgoing: self.outgoing_id.map(Into::into).zip(mode),
            payment: self.payment_id.map(Into::into),
        })
    }
}

async fn fetch(conn: &mut Conn, wanted: &mut Statement) -> Result<Vec<UtteranceRecord>> {
    let rows: Vec<UtteranceRow> =
        wanted.build_query_as().fetch_all(conn).await.doing("list what was said")?;
    rows.into_iter().map(UtteranceRow::into_record).collect()
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &UtteranceFilter,
) -> Result<Vec<UtteranceRecord>> {
    let mut wanted = match &filter.of {
        Conversation::Treatment(id) => {
            let mut wanted = Statement::new(DELIVERED);
            wanted.push("SELECT ").push(UTTERANCE);
            wanted
                .push(" FROM utterances u WHERE u.treatment_id IS NOT NULL AND u.treatment_id = ");
            wanted.push_bind(id.as_str().to_owned());
            wanted
        }
        Conversation::Payment(id) => {
            let mut wanted = Statement::new(
                "WITH RECURSIVE chain (id) AS (SELECT p.treatment_id FROM payments p \
                 WHERE p.treatment_id IS NOT NULL AND p.id = ",
            );
            wanted.push_bind(id.as_str().to_owned());
            wanted.push(
                " UNION SELECT t.treatment_id FROM chain JOIN treatments t \
                 ON t.moved_to IS NOT NULL AND t.moved_to = chain.id) ",
            );
            wanted.push(DELIVERED).push("SELECT ").push(UTTERANCE);
            wanted.push(
                " FROM chain JOIN utterances u ON u.treatment_id IS NOT NULL \
                 AND u.treatment_id = chain.id WHERE 1 = 1",
            );
            wanted
        }
    };
    if filter.after_event > 0 {
        wanted.push(" AND u.event_id > ").push_bind(filter.after_event);
    }
    if let Some((at, event)) = filter.cursor {
        wanted.push(" AND (u.at > ").push_bind(at.micros());
        wanted.push(" OR (u.at = ").push_bind(at.micros());
        wanted.push(" AND u.event_id > ").push_bind(event).push("))");
    }
    wanted.push(" ORDER BY u.at, u.event_id LIMIT ").push_bind(filter.limit);
    wanted.push(") AS found LEFT JOIN outgoing o ON o.seq = found.outgoing_seq ");
    wanted.push("ORDER BY found.at, found.event_id");
    fetch(conn, &mut wanted).await
}

pub(super) async fn search(conn: &mut Conn, search: &Search) -> Result<Vec<UtteranceRecord>> {
    let mut wanted = Statement::new(DELIVERED);
    wanted.push("SELECT ").push(UTTERANCE);
    dialect::push_search(&mut wanted, &search.query);
    if let Some(user) = &search.user {
        wanted.push(" AND u.user_id = ").push_bind(user.as_str().to_owned());
    }
    if let Some(line) = &search.line {
        wanted.push(" AND u.line_id = ").push_bind(line.as_str().to_owned());
    }
    if let Some(from) = search.from {
        wanted.push(" AND u.at >= ").push_bind(from.micros());
    }
    if let Some(to) = search.to {
        wanted.push(" AND u.at < ").push_bind(to.micros());
    }
    let place = dialect::SEARCH_PLACE;
    if let Some(before) = search.before_event {
        wanted.push(format!(" AND {place} < ")).push_bind(before);
    }
    wanted.push(format!(" ORDER BY {place} DESC LIMIT ")).push_bind(search.limit);
    wanted.push(") AS found LEFT JOIN outgoing o ON o.seq = found.outgoing_seq ");
    wanted.push("ORDER BY found.event_id DESC");
    fetch(conn, &mut wanted).await
}
