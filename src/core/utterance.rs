//! What is said in a treatment: a text or a file, by the user, a specialist or the bot.

use std::fmt;

use crate::core::event::{Event, FILE, SentFile, TEXT};
use crate::core::id::{LineId, TreatmentId, UserId};
use crate::core::occupancy::believable;
use crate::core::time::Time;
use crate::core::why::codes;

codes! {
    /// Who says something.
    Speaker {
        /// The client's user.
        User = "user",
        /// Somebody of the support side, or our message in that name.
        Specialist = "specialist",
        /// The bot, in nobody's name.
        Bot = "bot",
    }
}

/// A text or a file in a chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Utterance {
    /// The event that told of it first.
    pub event: i64,
    /// The line it is on.
    pub line: LineId,
    /// Whose chat it is.
    pub user: UserId,
    /// `message_id`.
    pub message_id: Option<String>,
    /// `message_type`: [`TEXT`] or [`FILE`].
    pub message_type: i64,
    /// Its treatment; a copy for the bot's hook may leave it out (`connect-api.md` 3.2).
    pub treatment: Option<TreatmentId>,
    /// When it was written on the platform.
    pub at: Time,
    /// When we heard of it.
    pub heard_at: Time,
    /// `author_id`.
    pub author: Option<UserId>,
    /// Who says it.
    pub speaker: Speaker,
    /// The words of a text.
    pub text: Option<String>,
    /// The file.
    pub file: Option<SentFile>,
}

impl fmt::Debug for Utterance {
    /// Without what was said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Utterance")
            .field("event", &self.event)
            .field("line", &self.line)
            .field("message_id", &self.message_id)
            .field("treatment", &self.treatment)
            .field("at", &self.at)
            .field("speaker", &self.speaker)
            .field("text_chars", &self.text.as_ref().map(|text| text.chars().count()))
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Utterance {
    /// What an event tells that was said, if it is about that.
    pub fn of(id: i64, event: &Event, heard_at: Time) -> Option<Self> {
        let message_type = event.message_type.filter(|kind| matches!(*kind, TEXT | FILE))?;
        if event.family.as_deref().is_some_and(|family| family != "line") {
            return None;
        }
        let user = event.user.clone()?;
        // The user is the author of his own; what has no author is the bot's (`connect-api.md` 3.9,
        // 4.1).
        let speaker = match &event.author {
            Some(author) if *author == user => Speaker::User,
            Some(_) => Speaker::Specialist,
            None => Speaker::Bot,
        };
        Some(Self {
            event: id,
            line: event.line.clone()?,
            user,
            message_id: event.message_id.clone(),
            message_type,
            treatment: event.treatment.clone(),
            at: believable(event.message_time, heard_at),
            heard_at,
            author: event.author.clone(),
            speaker,
            text: event.text.clone(),
            file: event.file.clone(),
        })
    }

    /// What its copies share on a line: the id of the message; one without has none.
    pub fn identity(&self) -> String {
        // No id of the platform holds a blank.
        self.message_id.clone().unwrap_or_else(|| format!("event {}", self.event))
    }

    /// Takes over what only its copy tells.
    pub fn fill_in(&mut self, copy: Self) {
        self.treatment = self.treatment.take().or(copy.treatment);
        if self.author.is_none() {
            (self.author, self.speaker) = (copy.author, copy.speaker);
        }
        self.text = self.text.take().or(copy.text);
        self.file = self.file.take().or(copy.file);
    }

    /// All words that it can be found by: the text, a file's name and comment.
    pub fn words(&self) -> String {
        let file = self.file.as_ref();
        let name = file.and_then(|file| file.name.as_deref());
        let comment = file.and_then(|file| file.comment.as_deref());
        let said: Vec<&str> = [self.text.as_deref(), name, comment].into_iter().flatten().collect();
        said.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::EventSource;

    fn event() -> Event {
        Event {
            family: Some("line".to_owned()),
            source: EventSource::Line,
            message_type: Some(TEXT),
            message_id: Some("m".to_owned()),
            message_time: Some(Time::from_micros(5)),
            line: Some("l".into()),
            user: Some("u".into()),
            author: Some("u".into()),
            treatment: Some("t".into()),
            text: Some("words".to_owned()),
            movement: None,
            initialized_at: None,
            current_specialist: None,
            file: None,
            redirect: None,
            directory: None,
        }
    }

    fn said(event: &Event) -> Utterance {
        Utterance::of(7, event, Time::from_micros(9)).expect("something was said")
    }

    #[test]
    fn the_author_tells_who_speaks() {
        let by = |author: Option<&str>| said(&Event { author: author.map(Into::into), ..event() });
        assert_eq!(by(Some("u")).speaker, Speaker::User);
        assert_eq!(by(Some("s")).speaker, Speaker::Specialist);
        assert_eq!(by(None).speaker, Speaker::Bot);
    }

    #[test]
    fn only_texts_and_files_in_chats_are_said() {
        for other in [
            Event { message_type: Some(82), ..event() },
            Event { message_type: None, ..event() },
            Event { line: None, ..event() },
            Event { user: None, ..event() },
            Event { family: Some("subscriber".to_owned()), ..event() },
        ] {
            assert_eq!(Utterance::of(7, &other, Time::from_micros(9)), None);
        }
        assert_eq!(said(&Event { family: None, ..event() }).event, 7);
    }

    #[test]
    fn a_copy_fills_in_only_what_was_left_out() {
        let mut first = said(&Event { treatment: None, author: None, ..event() });
        first.fill_in(said(&Event { text: Some("others".to_owned()), ..event() }));
        assert_eq!(first, said(&event()));
    }

    #[test]
    fn what_has_no_id_is_like_no_other() {
        assert_eq!(said(&event()).identity(), "m");
        assert_eq!(said(&Event { message_id: None, ..event() }).identity(), "event 7");
    }

    #[test]
    fn what_was_said_is_not_shown_in_logs() {
        assert!(!format!("{:?}", said(&event())).contains("words"));
    }
}
