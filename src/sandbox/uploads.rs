//! Messages and files into chats (`connect-api.md` 4.1, 4.2).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::connect::HookKind;
use crate::core::id::{LineId, UserId};

use super::files::NewFile;
use super::keyboards::{ShownKeyboard, is_keyboard};
use super::refusal::{Answer, Refusal, read, refuse_if_told};
use super::sending::{MessageFlags, Sent};
use super::world::Shared;

/// The paths that take files, without their last slash.
pub(super) const PATHS: [&str; 2] = ["/v1/line/send/file", "/v1/line/send/image"];

/// What a message and the `meta` of a file say alike.
#[derive(Deserialize)]
pub(super) struct Manner {
    line_id: String,
    user_id: String,
    author_id: Option<String>,
    keyboard: Option<ShownKeyboard>,
    #[serde(default)]
    general_settings: bool,
    #[serde(default)]
    bot_as_spec: bool,
    #[serde(default)]
    notification_only: bool,
}

/// Takes a message or a file, or refuses it.
pub(super) async fn send(
    shared: &Shared,
    manner: Manner,
    text: String,
    file: Option<NewFile>,
) -> Answer {
    let flags = MessageFlags {
        general_settings: manner.general_settings,
        bot_as_spec: manner.bot_as_spec,
        notification_only: manner.notification_only,
    };
    let keyboard = manner.keyboard;
    let needs_no_bot = flags.bot_as_spec || flags.notification_only;
    if (needs_no_bot && keyboard.is_some())
        || (flags.bot_as_spec && manner.author_id.is_none())
        || keyboard.as_ref().is_some_and(|keyboard| !is_keyboard(keyboard))
    {
        return Err(Refusal::Malformed);
    }
    let line = LineId::new(manner.line_id);
    refuse_if_told(shared, &line)?;
    if file.as_ref().is_some_and(|file| file.content.len() > shared.file_bytes_max()) {
        return Err(Refusal::TooLarge);
    }
    let has_bot = shared.world().hooks.of_line(HookKind::Bot, &line).is_some();
    if !needs_no_bot && !has_bot {
        return Err(Refusal::Forbidden);
    }
    let user = UserId::new(manner.user_id);
    let author = manner.author_id.map(UserId::new);
    shared.send_message(Sent { line, user, author, text, flags, keyboard, file }).await?;
    Ok(StatusCode::OK)
}

/// The part `meta` of a file.
#[derive(Deserialize)]
struct Meta {
    #[serde(flatten)]
    manner: Manner,
    file_name: String,
    comment: Option<String>,
}

/// `POST /v1/line/send/file/`
pub(super) async fn send_file(
    State(shared): State<Arc<Shared>>,
    form: Result<Multipart, MultipartRejection>,
) -> Answer {
    take(&shared, form, false).await
}

/// `POST /v1/line/send/image/`
pub(super) async fn send_image(
    State(shared): State<Arc<Shared>>,
    form: Result<Multipart, MultipartRejection>,
) -> Answer {
    take(&shared, form, true).await
}

async fn take(
    shared: &Shared,
    form: Result<Multipart, MultipartRejection>,
    is_image: bool,
) -> Answer {
    let mut form = form.map_err(|_| Refusal::Malformed)?;
    let (mut meta, mut content) = (None, None);
    while let Some(part) = form.next_field().await.map_err(|_| Refusal::Malformed)? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_json = part.content_type().is_some_and(|kind| kind.starts_with("application/json"));
        let has_name = part.file_name().is_some();
        let bytes: Bytes = part.bytes().await.map_err(|_| Refusal::Malformed)?;
        match name.as_str() {
            "meta" if is_json && meta.is_none() => meta = Some(read::<Meta>(&bytes)?),
            "file" if has_name && content.is_none() => content = Some(bytes),
            "meta" | "file" => return Err(Refusal::Malformed),
            _ => {}
        }
    }
    let (Some(meta), Some(content)) = (meta, content) else { return Err(Refusal::Malformed) };
    let Meta { manner, file_name: name, comment } = meta;
    if name.is_empty() {
        return Err(Refusal::Malformed);
    }
    let file = NewFile { name, is_image, content };
    send(shared, manner, comment.unwrap_or_default(), Some(file)).await
}
