//! Files of chats: kept in memory, the newest stay; downloaded without a password.
//!
//! Whether the platform's own links need one is not documented (`connect-api.md` 3.7).

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::world::Shared;

/// How many bytes of files are kept in all.
pub const FILES_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// How many files are kept.
pub const FILES_MAX: usize = 10_000;
/// How large the larger preview of every image is said to be.
const PREVIEW_SIZE: &str = "500x326";
/// The size of the scan that users send.
const SCAN_BYTES: usize = 12_345;

/// A file as it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NewFile {
    pub(super) name: String,
    pub(super) is_image: bool,
    pub(super) content: Bytes,
}

impl NewFile {
    /// What users of the sandbox send: a scan.
    pub(super) fn scan() -> Self {
        let content = Bytes::from(vec![b'.'; SCAN_BYTES]);
        Self { name: "scan.png".to_owned(), is_image: true, content }
    }
}

/// A file, as the sandbox shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRecord {
    /// Its id.
    pub id: String,
    /// The name that is shown.
    pub name: String,
    /// How long it is.
    pub bytes: usize,
    /// Whether it was sent as an image.
    pub is_image: bool,
}

impl FileRecord {
    pub(super) fn of(id: &str, file: &NewFile) -> Self {
        let NewFile { name, is_image, content } = file;
        Self { id: id.to_owned(), name: name.clone(), bytes: content.len(), is_image: *is_image }
    }
}

/// The newest files.
#[derive(Debug)]
pub(super) struct Files {
    /// Where the sandbox is reached, without a last slash.
    base: String,
    kept: VecDeque<(String, Bytes)>,
    bytes: usize,
}

impl Files {
    pub(super) fn at(base: String) -> Self {
        Self { base, kept: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a file; answers the `file` of its event (`connect-api.md` 3.7).
    pub(super) fn keep(&mut self, id: &str, file: &NewFile, comment: Option<&str>) -> Value {
        self.kept.push_back((id.to_owned(), file.content.clone()));
        self.bytes += file.content.len();
        while self.bytes > FILES_BYTES_MAX || self.kept.len() > FILES_MAX {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        let path = format!("{}/filetransfer/{id}", self.base);
        let preview = |kind: &str| {
            if file.is_image { format!("{path}/{kind}") } else { String::new() }
        };
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("file_id", json!(id));
        put("file_name", json!(file.name));
        put("file_path", json!(path));
        put("file_size", json!(file.content.len()));
        if let Some(comment) = comment {
            put("comment", json!(comment));
        }
        put("preview_link", json!(preview("preview")));
        put("preview_link_hi", json!(preview("preview_hi")));
        put("preview_hi_sizes", json!(if file.is_image { PREVIEW_SIZE } else { "" }));
        Value::Object(body)
    }

    fn find(&self, id: &str) -> Option<Bytes> {
        self.kept.iter().rev().find(|(kept, _)| kept == id).map(|(_, content)| content.clone())
    }
}

/// Where files and their previews are downloaded.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/filetransfer/{id}", get(download))
        .route("/filetransfer/{id}/{preview}", get(download_preview))
        .with_state(Arc::clone(shared))
}

async fn download(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    answer(shared.world().model.files.find(&id))
}

/// A preview of an image is the image itself.
async fn download_preview(
    State(shared): State<Arc<Shared>>,
    Path((id, preview)): Path<(String, String)>,
) -> Response {
    let is_preview = matches!(preview.as_str(), "preview" | "preview_hi");
    answer(shared.world().model.files.find(&id).filter(|_| is_preview))
}

fn answer(content: Option<Bytes>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
    content.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |content| (content_type, content).into_response(),
    )
}
