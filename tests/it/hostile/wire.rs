//! Requests that are no proper ones: each is refused at once, and nothing else suffers.

use std::time::Duration;

use super::memory::{Victim, event_request, payment_request, verdict};
use crate::support::{HOOK_TOKEN, TOKEN};

/// How long a refusal may take: a megabyte is read by a program without optimisation.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of the largest body.
const MIB: usize = 1024 * 1024;

/// An event's head up to what says how long its body is.
fn head(more: &str) -> String {
    format!(
        "POST /connect/hook/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {HOOK_TOKEN}\r\n\
         Content-Type: application/json\r\nConnection: close\r\n{more}\r\n"
    )
}

fn nested(levels: usize) -> Vec<u8> {
    format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels)).into_bytes()
}

fn digits(count: usize) -> Vec<u8> {
    format!("{{\"message_type\":{}}}", "9".repeat(count)).into_bytes()
}

/// A chunked body of so many bytes.
fn chunked(bytes: usize) -> Vec<u8> {
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    let mut body = head("Transfer-Encoding: chunked\r\n");
    for _ in 0..bytes / 0x1_0000 {
        body.push_str(&chunk);
    }
    body.push_str("2\r\n{}\r\n0\r\n\r\n");
    body.into_bytes()
}

/// What is said, the status that comes back, 0 for an end without one, and the code where the
/// answer is ours.
type Case = (&'static str, Vec<u8>, u16, Option<&'static str>);

fn bodies() -> Vec<Case> {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let big = vec![b' '; MIB + 1];
    let encoding = "Content-Encoding: gzip\r\n";
    vec![
        ("100,000 levels in an event", nested_event(100_000), 400, Some("invalid_json")),
        ("as many levels as are read", nested_event(126), 200, None),
        (
            "100,000 levels in a payment",
            payment_request(&nested(100_000), ""),
            400,
            Some("invalid_json"),
        ),
        (
            "invalid UTF-8 in an event",
            event_request(b"{\"x\":\"\xff\xfe\"}", ""),
            400,
            Some("invalid_json"),
        ),
        (
            "invalid UTF-8 in a payment",
            payment_request(b"{\"key\":\"\xc0\x80\"}", ""),
            400,
            Some("invalid_json"),
        ),
        ("a million digits in an event", event_request(&digits(1_000_000), ""), 200, None),
        (
            "ten million digits in an event",
            event_request(&digits(10_000_000), ""),
            413,
            Some("body_too_large"),
        ),
        (
            "a million digits in a payment",
            payment_request(&digits(1_000_000), ""),
            400,
            Some("invalid_json"),
        ),
        (
            "ten million digits in a payment",
            payment_request(&digits(10_000_000), ""),
            413,
            Some("body_too_large"),
        ),
        ("a body one byte too large", event_request(&big, ""), 413, Some("body_too_large")),
        ("an event of gzip", event_request(&gzip, encoding), 415, Some("unsupported_media_type")),
        (
            "a payment of gzip",
            payment_request(&gzip, encoding),
            415,
            Some("unsupported_media_type"),
        ),
        (
            "plain JSON said to be gzip",
            event_request(b"{}", encoding),
            415,
            Some("unsupported_media_type"),
        ),
        (
            "an identity that is none",
            event_request(b"{}", "Content-Encoding: identity\r\n"),
            200,
            None,
        ),
        ("chunks within the limit", chunked(MIB - 0x1_0000), 200, None),
        ("chunks over the limit", chunked(MIB), 413, Some("body_too_large")),
        ("chunks far over the limit", chunked(8 * MIB), 413, Some("body_too_large")),
        (
            "a chunk of a size that is no number",
            format!("{}zz\r\n{{}}\r\n0\r\n\r\n", head("Transfer-Encoding: chunked\r\n"))
                .into_bytes(),
            400,
            Some("bad_request"),
        ),
        (
            "a chunk larger than numbers go",
            format!("{}fffffffffffffffff\r\n{{}}", head("Transfer-Encoding: chunked\r\n"))
                .into_bytes(),
            400,
            Some("bad_request"),
        ),
    ]
}

fn nested_event(levels: usize) -> Vec<u8> {
    event_request(&nested(levels), "")
}

fn heads() -> Vec<Case> {
    let with_body = |more: &str| format!("{}{{}}", head(more)).into_bytes();
    let many = (0..500).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let huge = format!("X-Huge: {}\r\n", "y".repeat(MIB));
    let get = |target: &str, more: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
             Connection: close\r\n{more}\r\n"
        )
        .into_bytes()
    };
    vec![
        ("a length that is negative", with_body("Content-Length: -1\r\n"), 400, None),
        ("a length that is no number", with_body("Content-Length: two\r\n"), 400, None),
        ("a length with a sign", with_body("Content-Length: +2\r\n"), 400, None),
        (
            "a length beyond numbers",
            with_body("Content-Length: 99999999999999999999\r\n"),
            400,
            None,
        ),
        ("two lengths", with_body("Content-Length: 2\r\nContent-Length: 3\r\n"), 400, None),
        (
            "a length that is too large to wait for",
            with_body("Content-Length: 9999999999\r\n"),
            413,
            Some("body_too_large"),
        ),
        (
            "a length that cuts the body",
            with_body("Content-Length: 1\r\n"),
            400,
            Some("invalid_json"),
        ),
        ("an encoding that is not chunked", with_body("Transfer-Encoding: gzip\r\n"), 400, None),
        (
            "chunks that are not last",
            with_body("Transfer-Encoding: chunked, identity\r\n"),
            400,
            None,
        ),
        ("many headers", with_body(&many), 431, None),
        ("a huge header", with_body(&huge), 431, None),
        ("a huge credential", get("/api/v1/lines", &format!("Authorization: {huge}")), 431, None),
        (
            "a long address",
            get(&format!("/api/v1/{}", "x".repeat(20_000)), ""),
            404,
            Some("not_found"),
        ),
        ("a longer address", get(&format!("/api/v1/{}", "x".repeat(MIB)), ""), 431, None),
        (
            "a long query",
            get(&format!("/api/v1/lines?{}", "x&".repeat(10_000)), ""),
            422,
            Some("validation_failed"),
        ),
        ("a header with a NUL", get("/livez", "X-A: a\0b\r\n"), 400, None),
        ("a header that is folded", get("/livez", "X-A: a\r\n b\r\n"), 400, None),
        ("a header without a name", get("/livez", ": a\r\n"), 400, None),
        ("an address with a NUL", get("/live\0z", ""), 400, None),
        ("a version that is none", b"GET /livez HTTP/9.9\r\n\r\n".to_vec(), 400, None),
        (
            "something else than HTTP",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            400,
            None,
        ),
        ("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 0, None),
        (
            "a method that is unknown",
            b"BREW /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
            405,
            Some("method_not_allowed"),
        ),
    ]
}

async fn refused(cases: Vec<Case>) {
    let victim = Victim::start().await;
    for (what, said, status, code) in cases {
        let heard = victim.say(&said, REFUSED_WITHIN).await;
        let heard = heard.unwrap_or_else(|| panic!("{what}: no answer in time"));
        assert_eq!(verdict(&heard), (status, code.map(ToOwned::to_owned)), "{what}: {heard}");
    }
    let took = victim.is_well().await;
    println!("{} KiB more; a good request took {took:?}", victim.kept_its_memory());
    victim.logged_no_error();
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_in_bounded_time_and_memory() {
    refused(bodies()).await;
}

#[tokio::test]
async fn heads_that_are_none_are_refused_in_bounded_time_and_memory() {
    refused(heads()).await;
}

#[tokio::test]
async fn a_second_request_cannot_hide_in_the_body_of_the_first() {
    let victim = Victim::start().await;
    let hidden =
        format!("GET /api/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let keep = head("").replace("Connection: close\r\n", "").trim_end().to_owned();
    for lengths in [
        "Content-Length: 7\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 7",
    ] {
        let said = format!("{keep}\r\n{lengths}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{hidden}");
        let heard = victim.say(said.as_bytes(), REFUSED_WITHIN).await.expect("an end");
        assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{heard}");
        assert!(heard.starts_with("HTTP/1.1 200"), "by its chunks it is whole: {heard}");
    }
    // Where the first is refused before its body was read, nothing behind it is read either.
    let said = format!(
        "POST /connect/hook/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}{hidden}",
        hidden.len() + 2 * MIB,
        " ".repeat(2 * MIB),
    );
    let heard = victim.say(said.as_bytes(), REFUSED_WITHIN).await.expect("an end");
    assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{heard}");
    assert_eq!(verdict(&heard), (401, Some("unauthorized".to_owned())));
    victim.is_well().await;
}

#[tokio::test]
async fn requests_that_come_together_are_answered_one_after_the_other() {
    let victim = Victim::start().await;
    let one = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let said = one.repeat(2_000) + last;
    let heard = victim.say(said.as_bytes(), REFUSED_WITHIN).await.expect("an end");
    assert_eq!(heard.matches("HTTP/1.1 200").count(), 2_001);
    victim.is_well().await;
    victim.kept_its_memory();
}
