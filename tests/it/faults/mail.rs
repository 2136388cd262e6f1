//! The mail server is down for a day.

use freeline::core::time::Span;

use crate::support::{MailServer, Setup, TestDatabase, World, on_both};

/// Steps of a day, and how long each is.
const STEPS: i64 = 144;
const STEP: Span = Span::from_secs(600);
/// The longest wait between two tries.
const LONGEST: Span = Span::from_secs(600);
/// Payments that wait, each with its notice.
const WAITING: usize = 3;

on_both!(a_mail_server_that_is_down_for_a_day_loses_no_notice_and_doubles_none);
async fn a_mail_server_that_is_down_for_a_day_loses_no_notice_and_doubles_none(
    database: TestDatabase,
) {
    let server = MailServer::start().await;
    let setup = Setup::default()
        .with("FREELINE_SMTP_URL", server.url())
        .with("FREELINE_MAIL_FROM", "Freeline <freeline@example.org>");
    let port = server.stop();
    let world = World::ready_with(database, setup).await;
    // Three take the lines of the manager, the others wait.
    let mut waiting = Vec::new();
    for n in 0..3 + WAITING {
        let id = world.pay(&format!("k{n}"), "m1").await;
        world.settle().await;
        waiting.push(id);
    }
    let waiting = waiting.split_off(3);
    for _ in 0..STEPS {
        world.clock.advance(STEP);
        world.settle().await;
    }
    let (status, ready) = world.plain("/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (200, Some("degraded")), "{ready}");
    for id in &waiting {
        let payment = world.payment(id).await;
        assert_eq!(payment["notified_at"], serde_json::Value::Null, "{payment}");
        let entries = payment["timeline"].as_array().expect("a timeline").len();
        assert!(entries < 10, "a day of tries fills the timeline: {payment}");
    }

    let server = MailServer::start_on(port).await;
    world.clock.advance(LONGEST);
    world.settle().await;
    assert_eq!(server.mails().len(), WAITING, "one for each, once it is back");
    world.clock.advance(LONGEST);
    world.settle().await;
    assert_eq!(server.mails().len(), WAITING);
    for id in &waiting {
        assert_ne!(world.payment(id).await["notified_at"], serde_json::Value::Null);
    }
    assert_eq!(world.plain("/readyz").await.1["status"], "ready");
}
