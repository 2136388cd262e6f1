//! One exchange with the platform: permit, request, answer, verdict, log line.

use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::Url;

use super::last_look::LastLook;
use super::upload::Upload;
use super::verdict::{self, Reply};
use super::{COMMAND_BYTES_MAX, ConnectClient};
use crate::connect::budget::Priority;
use crate::core::outcome::{Answer, NotDone};
use crate::core::time::Time;

/// A request, before it is one.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The path with its slashes at both ends; `{id}` stands for the first of `ids`.
    pub(super) template: &'static str,
    /// The ids of the call, wherever they stand in it: none of them may be empty.
    pub(super) ids: Vec<&'a str>,
    pub(super) query: Vec<(&'static str, &'a str)>,
    pub(super) body: Content,
    /// The longest answer that is read.
    pub(super) bytes_max: usize,
    pub(super) priority: Priority,
    /// From this time on it must not be begun.
    pub(super) deadline: Option<Time>,
}

/// What a request carries.
pub(super) enum Content {
    Nothing,
    Json(String),
    File(Upload),
}

impl Default for Call<'_> {
    fn default() -> Self {
        Self {
            method: Method::GET,
            template: "/",
            ids: Vec::new(),
            query: Vec::new(),
            body: Content::Nothing,
            bytes_max: COMMAND_BYTES_MAX,
            priority: Priority::Housekeeping,
            deadline: None,
        }
    }
}

impl Call<'_> {
    /// The address to call; `None` if an id cannot stand in it.
    ///
    /// An empty id would address another method: `DELETE /v1/hook/` takes every hook away, and a
    /// `line` hook without id is one for all lines. `.` and `..` vanish from a path, encoded or not.
    fn address(&self, base: &Url) -> Option<Url> {
        if self.ids.iter().any(|id| id.is_empty()) {
            return None;
        }
        let mut url = base.clone();
        {
            let mut path = url.path_segments_mut().ok()?;
            path.pop_if_empty();
            for segment in self.template.split('/').skip(1) {
                if segment != "{id}" {
                    path.push(segment);
                    continue;
                }
                let id = self.ids.first().filter(|id| !matches!(**id, "." | ".."))?;
                path.push(id);
            }
        }
        for (name, value) in &self.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        Some(url)
    }
}

impl ConnectClient {
    /// Makes one call. `Ok` is the body of a 200, whole.
    pub(super) async fn exchange(&self, call: Call<'_>) -> Result<Vec<u8>, Answer> {
        let Some(url) = call.address(&self.settings.base_url) else {
            return Err(verdict::refused_here("an id is empty or cannot stand in an address"));
        };
        let (method, path) = (call.method.clone(), call.template);
        let Some(permit) = self.budget.take(call.priority).await else {
            let why = if self.budget.is_closed() { NotDone::Stopping } else { NotDone::NoBudget };
            let refused = Err(Answer::NotDone { why, retry_after: None });
            let outcome = verdict::word(&refused);
            tracing::debug!(%method, path, outcome, "{method} {path}: {outcome}");
            return refused;
        };
        let started = Instant::now();
        // The wait for the permit may have used the time up.
        let (status, result) = match call.deadline {
            Some(deadline) if self.clock.now() >= deadline => (None, Err(verdict::too_late())),
            _ => self.send(call, url).await,
        };
        let never_began = matches!(
            &result,
            Err(Answer::NotDone { why: NotDone::NeverConnected(_) | NotDone::TooLate, .. })
        );
        if never_began {
            permit.give_back();
        } else {
            drop(permit);
        }
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome = verdict::word(&result);
        tracing::debug!(
            %method, path, status, outcome, duration_ms,
            "{method} {path}: {outcome} after {duration_ms} ms"
        );
        result
    }

    /// Sends the request and reads the answer; the status is for the log.
    async fn send(&self, call: Call<'_>, url: Url) -> (Option<u16>, Result<Vec<u8>, Answer>) {
        let password = self.settings.password.expose_secret();
        let mut request =
            self.http.request(call.method, url).basic_auth(&self.settings.login, Some(password));
        let clock = || Arc::clone(&self.clock);
        match (call.body, call.deadline) {
            (Content::Nothing, _) => {}
            (Content::Json(body), deadline) => {
                let body = match deadline {
                    Some(deadline) => LastLook::body(body, deadline, clock()),
                    None => body.into(),
                };
                request = request.header(CONTENT_TYPE, "application/json").body(body);
            }
            (Content::File(form), deadline) => {
                let content_type = form.content_type.clone();
                let body = form.body(deadline.unwrap_or(Time::NEVER), clock());
                request = request.timeout(self.settings.timeouts.file);
                request = request.header(CONTENT_TYPE, content_type).body(body);
            }
        }
        match request.send().await {
            Ok(response) => {
                let reply = read_reply(response, call.bytes_max).await;
                (Some(reply.status), verdict::judge_reply(reply, self.clock.now()))
            }
            Err(error) => (None, Err(verdict::judge_failure(&error))),
        }
    }
}

/// Reads an answer as far as `bytes_max`.
async fn read_reply(mut response: Response, bytes_max: usize) -> Reply {
    let mut reply = Reply {
        status: response.status().as_u16(),
        retry_after: header(&response, RETRY_AFTER),
        content_type: header(&response, CONTENT_TYPE).unwrap_or_default(),
        body: Vec::new(),
        broken: None,
    };
    loop {
        match response.chunk().await {
            Ok(None) => return reply,
            Ok(Some(chunk)) => {
                let room = bytes_max.saturating_sub(reply.body.len());
                reply.body.extend(chunk.iter().take(room));
                if chunk.len() > room {
                    reply.broken = Some(format!("the answer is longer than {bytes_max} bytes"));
                    return reply;
                }
            }
            Err(error) => {
                reply.broken = Some(format!("the answer broke off: {}", verdict::causes(&error)));
                return reply;
            }
        }
    }
}

/// A header's text, if it is one.
fn header(response: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &str, template: &'static str, id: &str) -> Option<String> {
        let call = Call { template, ids: vec![id], ..Call::default() };
        call.address(&base.parse().unwrap()).map(String::from)
    }

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        for (id, expected) in [
            ("6ef0e090-676a", "https://h/v1/hook/bot/6ef0e090-676a/"),
            ("a/b?c#d%2F e", "https://h/v1/hook/bot/a%2Fb%3Fc%23d%252F%20e/"),
            ("../..", "https://h/v1/hook/bot/..%2F../"),
            ("%2e%2e", "https://h/v1/hook/bot/%252e%252e/"),
            ("я", "https://h/v1/hook/bot/%D1%8F/"),
        ] {
            let found = address("https://h", "/v1/hook/bot/{id}/", id);
            assert_eq!(found.as_deref(), Some(expected));
        }
    }

    #[test]
    fn an_id_that_would_change_the_meaning_of_a_call_has_no_address() {
        for id in ["", ".", ".."] {
            assert_eq!(address("https://h", "/v1/hook/bot/{id}/", id), None);
        }
        assert_eq!(address("https://h", "/v1/hook/", ""), None);
    }

    #[test]
    fn the_platform_may_live_below_a_path() {
        for base in ["http://h:81/a/b", "http://h:81/a/b/"] {
            let found = address(base, "/v1/line/", "x");
            assert_eq!(found.as_deref(), Some("http://h:81/a/b/v1/line/"));
        }
    }

    #[test]
    fn a_query_is_encoded() {
        let call =
            Call { template: "/v1/", query: vec![("line_id", "a&b=c d")], ..Call::default() };
        let url = call.address(&"https://h".parse().unwrap()).unwrap();
        assert_eq!(url.as_str(), "https://h/v1/?line_id=a%26b%3Dc+d");
    }
}
