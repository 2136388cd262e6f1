//! Users of the platform: which lines are open to them.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use crate::core::id::{LineId, UserId};
use crate::core::outcome::Answer;
use crate::http::Context;
use crate::http::fields::path_id;
use crate::http::problem::{Code, Problem};
use crate::store::UserLine;

/// Lines that a problem tells of at the most.
const LINES_TOLD: usize = 20;

/// A line that is open to a user.
#[derive(Serialize)]
pub(super) struct UserLineOut {
    line_id: String,
    name: Option<String>,
    ours: bool,
    manager: Option<String>,
    state: Option<&'static str>,
    bot_connected: bool,
    subscription_expires_at: Option<String>,
}

impl From<UserLine> for UserLineOut {
    fn from(line: UserLine) -> Self {
        Self {
            line_id: line.line.to_string(),
            name: line.name,
            ours: line.ours.is_some(),
            manager: line.ours.as_ref().map(|ours| ours.manager.to_string()),
            state: line.ours.as_ref().map(|ours| ours.state.as_str()),
            bot_connected: line.bot_connected,
            subscription_expires_at: line.expires_at.map(|at| at.to_string()),
        }
    }
}

/// All lines open to a user, ours first.
#[derive(Serialize)]
pub(super) struct LinesOut {
    items: Vec<UserLineOut>,
}

/// `GET /users/{user_id}/lines`.
pub(super) async fn lines(
    State(context): State<Context>,
    Path(user_id): Path<String>,
) -> Result<Json<LinesOut>, Problem> {
    let found = lines_of(&context, &path_id(user_id, "user")?).await?;
    Ok(Json(LinesOut { items: found.into_iter().map(Into::into).collect() }))
}

/// The lines open to a user: as they are known, else as the platform says.
async fn lines_of(context: &Context, user: &UserId) -> Result<Vec<UserLine>, Problem> {
    let store = &context.store;
    if let Some(known) = store.lines_of_user(user, context.clock.now()).await? {
        return Ok(known);
    }
    let requested_at = context.clock.now();
    let asked = context.chat.list_subscriptions(Some(user), None).await;
    let listed = asked.map_err(|answer| not_listed(&answer))?;
    store.put_lines_of_user(user, &listed, requested_at).await?;
    let known = store.lines_of_user(user, context.clock.now()).await?;
    known.ok_or_else(|| {
        let detail = "the lines open to the user have just changed; try again";
        Problem::new(Code::Unavailable, detail)
    })
}

fn not_listed(answer: &Answer) -> Problem {
    let why = match answer {
        Answer::Refused { status, text } if text.is_empty() => format!("it answers {status}"),
        Answer::Refused { status, text } => format!("it answers {status}, {text}"),
        Answer::NotDone { why, .. } => why.to_string(),
        Answer::Unknown { detail } => detail.clone(),
        Answer::Done => "its answer cannot be read".to_owned(),
    };
    let detail = format!("the platform does not say which lines are open to the user: {why}");
    Problem::new(Code::PlatformUnavailable, detail)
}

/// The line of a message whose sender left it open: the only one of ours that is open to the user,
/// else the only one at all.
pub(super) async fn only_line(context: &Context, user: &UserId) -> Result<LineId, Problem> {
    let open = lines_of(context, user).await?;
    let ours: Vec<&UserLine> = open.iter().filter(|line| line.ours.is_some()).collect();
    let choice = if ours.is_empty() { open.iter().collect() } else { ours };
    match choice.as_slice() {
        [only] => Ok(only.line.clone()),
        [] => {
            let detail = "no line is open to the user; subscribe the user to a line in 1C-Connect";
            Err(Problem::new(Code::LineNotOpen, detail))
        }
        several => {
            let detail =
                format!("several lines are open to the user, give line_id: {}", told(several));
            Err(Problem::new(Code::ChooseLine, detail).with_lines(named(several)))
        }
    }
}

/// Refuses a line that is surely not open to a user. Where the platform does not say, its refusal of
/// the call itself will.
pub(super) async fn must_be_open(
    context: &Context,
    user: &UserId,
    line: &LineId,
) -> Result<(), Problem> {
    let Ok(open) = lines_of(context, user).await else { return Ok(()) };
    if open.iter().any(|one| one.line == *line) {
        return Ok(());
    }
    let open: Vec<&UserLine> = open.iter().collect();
    let detail = match told(&open) {
        told if told.is_empty() => format!("no line is open to the user, {line} neither"),
        told => format!("the line {line} is not open to the user; these are: {told}"),
    };
    Err(Problem::new(Code::LineNotOpen, detail).with_lines(named(&open)))
}

/// Names and ids, for a sentence.
fn told(lines: &[&UserLine]) -> String {
    let one = |line: &&UserLine| match &line.name {
        Some(name) => format!("{} ({name})", line.line),
        None => line.line.to_string(),
    };
    lines.iter().take(LINES_TOLD).map(one).collect::<Vec<_>>().join(", ")
}

/// Ids and names, to choose from.
fn named(lines: &[&UserLine]) -> Vec<(String, Option<String>)> {
    lines.iter().take(LINES_TOLD).map(|l| (l.line.to_string(), l.name.clone())).collect()
}
