//! The feed: how a change is told to the ERP, whoever asks for it or has it sent.
//!
//! [`ChangeOut`] is the one wire form of a change. [`Receiver`] sends it, signed by
//! [`PushSecrets`].

use serde::Serialize;

use crate::core::treatment::EndKind;
use crate::store::Change;

pub use receiver::{CallLimits, NoClient, Receiver};
pub use signature::PushSecrets;

mod receiver;
mod signature;

/// A change as JSON. Every field is always there; `null` where it does not apply.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ChangeOut {
    seq: i64,
    at: String,
    kind: &'static str,
    id: String,
    state: String,
    reason: Option<String>,
    reason_code: Option<&'static str>,
    end_kind: Option<&'static str>,
    line_id: Option<String>,
    user_id: Option<String>,
    treatment_id: Option<String>,
    moved_to: Option<String>,
    payment_id: Option<String>,
    number: Option<String>,
    key: Option<String>,
    order: Option<String>,
    counterparty: Option<String>,
}

impl From<Change> for ChangeOut {
    fn from(change: Change) -> Self {
        let payment = change.payment.as_ref();
        Self {
            payment_id: payment.map(|payment| payment.id.to_string()),
            number: payment.map(|payment| payment.number.to_string()),
            key: payment.map(|payment| payment.key.clone()),
            order: payment.and_then(|payment| payment.order.clone()),
            counterparty: payment.and_then(|p| p.counterparty.as_ref()).map(ToString::to_string),
            seq: change.seq,
            at: change.at.to_string(),
            kind: change.kind.as_str(),
            id: change.id,
            state: change.state,
            reason: change.reason.as_ref().map(ToString::to_string),
            reason_code: change.reason.map(|reason| reason.code.as_str()),
            end_kind: change.end_kind.map(EndKind::as_str),
            line_id: change.line.map(|id| id.to_string()),
            user_id: change.user.map(|id| id.to_string()),
            treatment_id: change.treatment.map(|id| id.to_string()),
            moved_to: change.moved_to.map(|id| id.to_string()),
        }
    }
}
