//! Payments: their states, and what people may do with them.

use crate::core::id::{CounterpartyId, LineId, ManagerId, PaymentId, TreatmentId, UserId};
use crate::core::number::Number;
use crate::core::time::Time;
use crate::core::why::{Reason, ReasonCode, codes};

codes! {
    /// Where a payment is on its way.
    PaymentState {
        /// Waits for a person or for the directory.
        Held = "held",
        /// Waits for a free line.
        Queued = "queued",
        /// A line is set aside for it; its message is about to go out.
        Sending = "sending",
        /// The platform may or may not have its message.
        InDoubt = "in_doubt",
        /// The platform has its message; its treatment is open.
        Dispatched = "dispatched",
        /// Its treatment is over.
        Closed = "closed",
        /// The platform refuses it for good; a person must act.
        Rejected = "rejected",
        /// A person took it back.
        Cancelled = "cancelled",
    }
}

/// A payment as the rules see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// The number its message carries.
    pub number: Number,
    /// Where it is.
    pub state: PaymentState,
    /// Why it is there.
    pub reason: Reason,
    /// Whose it is, once the directory says so.
    pub manager: Option<ManagerId>,
    /// The user a treatment is opened for.
    pub user: Option<UserId>,
    /// The specialist to write as.
    pub author: Option<UserId>,
    /// Held by a person or on arrival: for this reason.
    pub hold: Option<Reason>,
    /// The line it went to.
    pub line: Option<LineId>,
    /// The treatment it opened.
    pub treatment: Option<TreatmentId>,
    /// When the platform took it.
    pub dispatched_at: Option<Time>,
    /// When its treatment ended.
    pub closed_at: Option<Time>,
    /// Counts the times it began to wait for a line: one notice for each.
    pub episode: i64,
    /// Calls that were made for it.
    pub attempts: i64,
    /// What happened to it in this decision, oldest first.
    pub happened: Vec<(PaymentState, Reason)>,
}

impl Payment {
    /// Moves it to `state` and remembers why.
    pub fn become_(&mut self, state: PaymentState, reason: Reason) {
        if state == PaymentState::Queued && self.state != PaymentState::Queued {
            self.episode += 1;
        }
        self.state = state;
        self.reason = reason.clone();
        self.happened.push((state, reason));
    }

    /// Remembers something that does not move it.
    pub fn note(&mut self, reason: Reason) {
        self.happened.push((self.state, reason));
    }
}

/// What the directory and the settings say about one payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The payment names a counterparty that the directory knows, or names none.
    pub counterparty: Known<CounterpartyId>,
    /// The manager that the payment names, else the counterparty's main manager.
    pub manager: Known<ManagerId>,
    /// Whether that manager is enabled.
    pub manager_enabled: bool,
    /// The payment's own user, else the counterparty's, else the settings'.
    pub user: Option<UserId>,
    /// The payment's own author, else the manager's specialist, else the settings'.
    pub author: Option<UserId>,
    /// Whether a message needs an author.
    pub author_required: bool,
}

/// Whether the directory knows something that a payment names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known<T> {
    /// It does.
    Yes(T),
    /// The payment names this, and the directory does not know it.
    No(T),
    /// The payment names none.
    NotNamed,
}

/// Puts a waiting payment where the directory and its holds say: held or queued.
///
/// Answers whether anything changed. Payments that are beyond waiting stay as they are.
pub fn admit(payment: &mut Payment, standing: &Standing, released: ReasonCode) -> bool {
    if !matches!(payment.state, PaymentState::Held | PaymentState::Queued) {
        return false;
    }
    let before = payment.clone();
    payment.manager = match &standing.manager {
        Known::Yes(manager) => Some(manager.clone()),
        Known::No(_) | Known::NotNamed => None,
    };
    payment.user.clone_from(&standing.user);
    payment.author.clone_from(&standing.author);
    match obstacle(payment, standing) {
        Some(reason) if payment.state != PaymentState::Held || payment.reason != reason => {
            payment.become_(PaymentState::Held, reason);
        }
        None if payment.state == PaymentState::Held => {
            payment.become_(PaymentState::Queued, Reason::plain(released));
        }
        Some(_) | None => {}
    }
    *payment != before
}

/// What keeps a payment from waiting for a line.
fn obstacle(payment: &Payment, standing: &Standing) -> Option<Reason> {
    if let Some(hold) = &payment.hold {
        return Some(hold.clone());
    }
    match (&standing.manager, &standing.counterparty) {
        (Known::No(manager), _) => {
            Some(Reason::plain(ReasonCode::ManagerUnknown).saying(manager.as_str()))
        }
        // A payment that names its manager does not need its counterparty to be known.
        (Known::NotNamed, Known::No(counterparty)) => {
            Some(Reason::plain(ReasonCode::CounterpartyUnknown).saying(counterparty.as_str()))
        }
        (Known::NotNamed, Known::Yes(_) | Known::NotNamed) => {
            Some(Reason::plain(ReasonCode::ManagerUnknown))
        }
        (Known::Yes(manager), _) if !standing.manager_enabled => {
            Some(Reason::plain(ReasonCode::ManagerDisabled).saying(manager.as_str()))
        }
        (Known::Yes(_), _) if standing.user.is_none() => Some(Reason::plain(ReasonCode::NoUser)),
        (Known::Yes(_), _) if standing.author_required && standing.author.is_none() => {
            Some(Reason::plain(ReasonCode::NoAuthor))
        }
        (Known::Yes(_), _) => None,
    }
}

/// What a person may do with a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Keep it from being sent.
    Hold,
    /// Let a held one go.
    Release,
    /// Take it back.
    Cancel,
    /// Send a rejected one again, or one in doubt after a look into the chat.
    Retry,
}

/// Why a command cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandRefused {
    /// Its message is under way at this moment.
    #[error("its message is being sent at this moment; try again in a few seconds")]
    BeingSent,
    /// It is past the point where this could be done.
    #[error("it is {}, and {command} is possible only while it is {allowed}", state.as_str())]
    WrongState {
        /// Where it is.
        state: PaymentState,
        /// What was asked.
        command: &'static str,
        /// Where it would have to be.
        allowed: &'static str,
    },
}

/// What has to happen to a payment's dispatch for a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow {
    /// Nothing.
    Nothing,
    /// Its reservation is given back.
    GiveBack,
}

/// Carries out a person's command; `may_be_sent` tells that a call for it may be under way.
///
/// Repeating a command that has its effect already changes nothing. A released payment is only
/// `Held` without its hold afterwards: [`admit`] decides where it goes.
pub fn command(
    payment: &mut Payment,
    command: Command,
    words: &str,
    may_be_sent: bool,
) -> Result<Follow, CommandRefused> {
    use PaymentState as S;
    let wrong =
        |state, command, allowed| Err(CommandRefused::WrongState { state, command, allowed });
    match (command, payment.state) {
        (Command::Hold, S::Held) if payment.hold.is_some() => Ok(Follow::Nothing),
        (Command::Cancel, S::Cancelled) | (Command::Release | Command::Retry, S::Queued) => {
            Ok(Follow::Nothing)
        }
        (Command::Hold | Command::Cancel, S::Sending) if may_be_sent => {
            Err(CommandRefused::BeingSent)
        }
        (Command::Hold, S::Held | S::Queued | S::Sending) => {
            let reason = Reason::plain(ReasonCode::HeldByPerson).saying(words);
            payment.hold = Some(reason.clone());
            payment.become_(S::Held, reason);
            Ok(Follow::GiveBack)
        }
        (Command::Release, S::Held) => {
            payment.hold = None;
            payment.note(Reason::plain(ReasonCode::Released).saying(words));
            Ok(Follow::Nothing)
        }
        (Command::Cancel, S::Held | S::Queued | S::Sending | S::InDoubt | S::Rejected) => {
            let reason = Reason::plain(ReasonCode::CancelledByPerson).saying(words);
            payment.become_(S::Cancelled, reason);
            Ok(Follow::GiveBack)
        }
        (Command::Retry, S::Rejected | S::InDoubt) => {
            let reason = Reason::plain(ReasonCode::RetriedByPerson).saying(words);
            payment.become_(S::Queued, reason);
            Ok(Follow::GiveBack)
        }
        (Command::Hold, state) => wrong(state, "hold", "held, queued or not yet sent"),
        (Command::Release, state) => wrong(state, "release", "held"),
        (Command::Cancel, state) => {
            wrong(state, "cancel", "held, queued, not yet sent, in_doubt or rejected")
        }
        (Command::Retry, state) => wrong(state, "retry", "rejected or in_doubt"),
    }
}

#[cfg(test)]
mod tests;
