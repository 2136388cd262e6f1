//! Reasons: why a payment is where it is, as codes that people get as sentences.

use std::fmt;

use crate::core::id::LineId;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable text of it, as stored and as shown in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The one with this text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// What happened to a payment, or why it waits.
    ReasonCode {
        /// Came in with a reason to hold it.
        HeldOnArrival = "held_on_arrival",
        /// Came in with data that differ from the order.
        Mismatch = "mismatch",
        /// A person holds it.
        HeldByPerson = "held_by_person",
        /// The directory does not know the counterparty.
        CounterpartyUnknown = "counterparty_unknown",
        /// The directory does not know the manager.
        ManagerUnknown = "manager_unknown",
        /// The manager is disabled in the directory.
        ManagerDisabled = "manager_disabled",
        /// Nobody says for which user the treatment is to be opened.
        NoUser = "no_user",
        /// Nobody says as which specialist to write, and the mode needs one.
        NoAuthor = "no_author",
        /// Waits for a free line.
        Queued = "queued",
        /// A person released it.
        Released = "released",
        /// The directory has learnt what was missing.
        DirectoryChanged = "directory_changed",
        /// A person wants it sent again.
        RetriedByPerson = "retried_by_person",
        /// A line was set aside for it.
        LineReserved = "line_reserved",
        /// The platform surely did not take it; the same line is tried again.
        TryAgain = "try_again",
        /// The bot hook seems to be missing; it is set and the line is tried once more.
        HookMissing = "hook_missing",
        /// The platform refused it on this line; the next line is tried.
        LineRefused = "line_refused",
        /// The platform refuses it on every line of the manager, or as such.
        RefusedForGood = "refused_for_good",
        /// The platform took the message.
        MessageTaken = "message_taken",
        /// Our own message came back as an event.
        EchoSeen = "echo_seen",
        /// The treatment was seen to open.
        TreatmentSeen = "treatment_seen",
        /// Nobody knows whether the platform took the message.
        OutcomeUnknown = "outcome_unknown",
        /// A look at the line shows the treatment.
        FoundByLook = "found_by_look",
        /// A look at the line proves that the message did not arrive.
        ProvenAbsent = "proven_absent",
        /// A look at the line proves nothing; a person must say.
        LookInconclusive = "look_inconclusive",
        /// The treatment moved to another line.
        TreatmentMoved = "treatment_moved",
        /// The treatment was closed.
        TreatmentClosed = "treatment_closed",
        /// The treatment is no longer listed; its close was not heard.
        TreatmentGone = "treatment_gone",
        /// A person cancelled it.
        CancelledByPerson = "cancelled_by_person",
        /// A person cancelled it, and its message turns out to be on the platform.
        CancelledTooLate = "cancelled_too_late",
        /// The manager was told that all lines are busy.
        Noticed = "noticed",
        /// The notice could not be delivered for good.
        NoticeRefused = "notice_refused",
        /// The message was seen on the platform a second time.
        Doubled = "doubled",
        /// The line serves as many treatments as it may.
        LineBusy = "line_busy",
        /// The line is set aside for another payment.
        LineIsReserved = "line_is_reserved",
        /// The line is paused by a person.
        LinePaused = "line_paused",
        /// The line is disabled in the directory.
        LineDisabled = "line_disabled",
        /// What is open on the line is not known yet.
        LineUnknown = "line_unknown",
        /// The line's bot hook is not ours or not set.
        BotHookMissing = "bot_hook_missing",
        /// The platform refused this user on the line within the last hour.
        UserRefused = "user_refused",
        /// The user already has a treatment on the line.
        UserOnLine = "user_on_line",
        /// The line is no longer one of the manager.
        LineOfOther = "line_of_other",
        /// The manager has no line.
        NoLines = "no_lines",
    }
}

/// One reason, with what it is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reason {
    /// What it is.
    pub code: ReasonCode,
    /// The line it is about, if it is about one.
    pub line: Option<LineId>,
    /// Somebody's own words: a person's, the directory's, the platform's.
    pub words: Option<String>,
}

impl Reason {
    /// A reason that needs no more words.
    pub const fn plain(code: ReasonCode) -> Self {
        Self { code, line: None, words: None }
    }

    /// A reason about a line.
    pub const fn on_line(code: ReasonCode, line: LineId) -> Self {
        Self { code, line: Some(line), words: None }
    }

    /// The same with somebody's own words.
    #[must_use]
    pub fn saying(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into()).filter(|words| !words.is_empty());
        self
    }
}

impl fmt::Display for Reason {
    /// An English sentence without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(sentence(self.code))?;
        if let Some(line) = &self.line {
            write!(f, " (line {line})")?;
        }
        match &self.words {
            Some(words) => write!(f, ": {words}"),
            None => Ok(()),
        }
    }
}

const fn sentence(code: ReasonCode) -> &'static str {
    use ReasonCode as R;
    match code {
        R::HeldOnArrival => "held as the sender asked",
        R::Mismatch => "held, the notification differs from the order",
        R::HeldByPerson => "held by a person",
        R::CounterpartyUnknown => "held, the directory does not know the counterparty",
        R::ManagerUnknown => "held, the directory does not know the manager",
        R::ManagerDisabled => "held, the manager is disabled in the directory",
        R::NoUser => "held, nobody says for which user to open a treatment",
        R::NoAuthor => "held, nobody says as which specialist to write",
        R::Queued => "waits for a free line",
        R::Released => "released by a person",
        R::DirectoryChanged => "released, the directory has what was missing",
        R::RetriedByPerson => "a person wants it sent again",
        R::LineReserved => "a line is set aside for it",
        R::TryAgain => "the platform did not take it, the line is tried again",
        R::HookMissing => "refused, the bot hook is set anew and the line is tried once more",
        R::LineRefused => "the platform refused it on this line",
        R::RefusedForGood => "the platform refuses it",
        R::MessageTaken => "the platform took the message",
        R::EchoSeen => "our message was seen on the platform",
        R::TreatmentSeen => "its treatment was seen to open",
        R::OutcomeUnknown => "nobody knows whether the platform took the message",
        R::FoundByLook => "a look at the line shows its treatment",
        R::ProvenAbsent => "a look at the line proves that the message did not arrive",
        R::LookInconclusive => {
            "a look at the line proves nothing, look into the chat and say retry or cancel"
        }
        R::TreatmentMoved => "its treatment moved to another line",
        R::TreatmentClosed => "its treatment was closed",
        R::TreatmentGone => "its treatment is no longer open, the close was not heard",
        R::CancelledByPerson => "cancelled by a person",
        R::CancelledTooLate => {
            "a person had cancelled it, but its message is on the platform: it counts as dispatched"
        }
        R::Noticed => "the manager was told that all lines are busy",
        R::NoticeRefused => "the notice to the manager was refused",
        R::Doubled => "the message was seen on the platform a second time",
        R::LineBusy => "the line is busy",
        R::LineIsReserved => "the line is set aside for another payment",
        R::LinePaused => "the line is paused",
        R::LineDisabled => "the line is disabled",
        R::LineUnknown => "what is open on the line is not known yet",
        R::BotHookMissing => "the bot hook of the line is not set to our address",
        R::UserRefused => "the platform refused this user on the line a short while ago",
        R::UserOnLine => "the user already has a treatment on the line",
        R::LineOfOther => "the line is no longer one of the manager",
        R::NoLines => "the manager has no line",
    }
}
