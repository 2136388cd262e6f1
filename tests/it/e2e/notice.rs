//! "All lines are busy": one e-mail for each payment and busy episode, over a real mail server.

use freeline::sandbox::{TECHNICAL_USER_ID, line_id};

use crate::support::{MailServer, Setup, TestDatabase, World, on_both};

fn mailing(server: &MailServer) -> Setup {
    Setup::default()
        .with("FREELINE_SMTP_URL", server.url())
        .with("FREELINE_MAIL_FROM", "Freeline <freeline@example.org>")
}

/// Three payments that fill the lines of the first manager.
async fn fill(world: &World) {
    for n in 0..3 {
        world.pay(&format!("full-{n}"), "m1").await;
    }
    world.settle().await;
}

on_both!(a_payment_without_a_free_line_is_told_to_the_manager_once);
async fn a_payment_without_a_free_line_is_told_to_the_manager_once(database: TestDatabase) {
    let server = MailServer::start().await;
    let world = World::ready_with(database, mailing(&server)).await;
    fill(&world).await;
    assert_eq!(server.mails(), Vec::<String>::new());

    let id = world.pay("k", "m1").await;
    world.settle().await;
    world.pass(3_600).await;
    let [mail] = server.mails().try_into().expect("one mail");
    assert!(mail.contains("To: m1@example.org"), "{mail}");
    let payment = world.payment(&id).await;
    assert_ne!(payment["notified_at"], serde_json::Value::Null);
    assert_eq!(payment["state"], "queued");

    world.sandbox.close(&line_id(2), &TECHNICAL_USER_ID.into(), 82).await.unwrap();
    world.settle().await;
    assert_eq!(world.state(&id).await, "dispatched", "it goes out the moment a line frees");
    assert_eq!(server.mails().len(), 1);
}

on_both!(a_mail_server_that_is_down_delays_the_notice_and_loses_none);
async fn a_mail_server_that_is_down_delays_the_notice_and_loses_none(database: TestDatabase) {
    let server = MailServer::start().await;
    let setup = mailing(&server);
    let port = server.stop();
    let world = World::ready_with(database, setup).await;
    fill(&world).await;
    world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.plain("/readyz").await.1["status"], "degraded");

    let server = MailServer::start_on(port).await;
    world.pass(700).await;
    assert_eq!(server.mails().len(), 1);
    world.pass(3_600).await;
    assert_eq!(server.mails().len(), 1);
}

on_both!(without_a_mail_server_notices_are_only_shown);
async fn without_a_mail_server_notices_are_only_shown(database: TestDatabase) {
    let world = World::ready(database).await;
    fill(&world).await;
    world.pay("k", "m1").await;
    world.settle().await;
    assert_eq!(world.get("/status").await["notices"]["shown"], 1);
}
