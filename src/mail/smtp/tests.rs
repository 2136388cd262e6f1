use futures::future::{Either, join_all, select};

use super::scripted::{Act, Heard, Script, ScriptedServer, WILLING};
use super::*;
use crate::clock::ManualClock;
use crate::core::time::Time;

/// For servers that answer: never reached, however busy the machine is.
const PATIENT: SmtpLimits = SmtpLimits {
    connect: Duration::from_secs(20),
    step: Duration::from_secs(20),
    whole: Duration::from_secs(20),
    goodbye: Duration::from_secs(20),
};

/// For servers that are silent at one step.
const HASTY: SmtpLimits = SmtpLimits { step: Duration::from_millis(700), ..PATIENT };

fn mail() -> Mail {
    Mail {
        id: "0198-abc".into(),
        to: "ivanova@shop.example".into(),
        subject: "Все линии заняты".into(),
        body: ".\nТекст\n..конец".into(),
    }
}

fn mailer(url: &str) -> SmtpMailer {
    let now = Time::parse_rfc3339("2026-03-05T11:07:00Z").unwrap();
    let from = "Freeline <freeline@pay.example>".parse().unwrap();
    SmtpMailer::new(&SecretString::from(url), from, Arc::new(ManualClock::new(now)))
        .unwrap()
        .with_limits(PATIENT)
}

/// Sends `mail` to a server with `script`; `user` is `name:password@` or nothing.
async fn exchange(
    script: Script,
    user: &str,
    limits: SmtpLimits,
    mail: &Mail,
) -> (Delivery, Heard) {
    let server = ScriptedServer::start(script);
    let mailer = mailer(&format!("smtp://{user}127.0.0.1:{}", server.port)).with_limits(limits);
    tokio::join!(mailer.send(mail), server.serve())
}

fn text(delivery: &Delivery) -> (&'static str, String) {
    match delivery {
        Delivery::Sent => ("sent", String::new()),
        Delivery::NotSent(text) => ("not sent", text.clone()),
        Delivery::Refused(text) => ("refused", text.clone()),
        Delivery::Unknown(text) => ("unknown", text.clone()),
    }
}

/// Every step, with its name and a script in which `act` happens there.
fn at_every_step(act: Act) -> [(&'static str, Script); 7] {
    [
        ("greeting", Script { greeting: act, ..WILLING }),
        ("greeting", Script { ehlo: act, ..WILLING }),
        ("AUTH", Script { auth: act, ..WILLING }),
        ("MAIL FROM", Script { mail: act, ..WILLING }),
        ("RCPT TO", Script { rcpt: act, ..WILLING }),
        ("DATA", Script { data: act, ..WILLING }),
        ("content", Script { content: act, ..WILLING }),
    ]
}

async fn check_every_step(act: Act, limits: SmtpLimits, before: &str, after: &str) {
    let mail = mail();
    let exchanges = at_every_step(act).map(|(step, script)| {
        let mail = &mail;
        async move { (step, exchange(script, "user:secret@", limits, mail).await.0) }
    });
    for (step, delivery) in join_all(exchanges).await {
        let (kind, text) = text(&delivery);
        let expected = if step == "content" { after } else { before };
        assert_eq!(kind, expected, "{step}: {text}");
        assert!(text.contains(step), "{step}: {text}");
        assert!(!text.contains('@') && !text.contains("ivanova"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_4xx_answer_at_any_step_means_not_sent() {
    let act = Act::Say("451 4.3.0 <ivanova@shop.example> try later");
    check_every_step(act, PATIENT, "not sent", "not sent").await;
}

#[tokio::test]
async fn a_5xx_answer_means_refused_only_where_the_mail_itself_is_spoken_of() {
    let act = Act::Say("550-5.1.1 <ivanova@shop.example>\n550 5.1.1 mailbox ivanova unknown");
    let mail = mail();
    for (step, script) in at_every_step(act) {
        let (delivery, _heard) = exchange(script, "user:secret@", PATIENT, &mail).await;
        let (kind, text) = text(&delivery);
        let is_of_the_mail = ["RCPT TO", "DATA", "content"].contains(&step);
        assert_eq!(kind, if is_of_the_mail { "refused" } else { "not sent" }, "{step}: {text}");
        assert!(text.contains(step), "{step}: {text}");
        assert!(!text.contains("ivanova") && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_password_or_a_relay_that_is_not_ours_loses_no_mail() {
    let scripts = [
        Script { auth: Act::Say("535 5.7.8 authentication failed"), ..WILLING },
        Script { mail: Act::Say("553 5.7.1 sender address rejected"), ..WILLING },
        Script { mail: Act::Say("530 5.7.0 authentication required"), ..WILLING },
        Script {
            rcpt: Act::Say("554 5.7.1 <ivanova@shop.example>: relay access denied"),
            ..WILLING
        },
        Script { rcpt: Act::Say("530 authentication required"), ..WILLING },
    ];
    for script in scripts {
        let (delivery, _heard) = exchange(script, "user:secret@", PATIENT, &mail()).await;
        let (kind, text) = text(&delivery);
        assert_eq!(kind, "not sent", "{text}");
    }
    for script in [
        Script { rcpt: Act::Say("550 5.1.1 no such user"), ..WILLING },
        Script { rcpt: Act::Say("550 no such user"), ..WILLING },
        Script { content: Act::Say("554 5.7.1 this looks like spam"), ..WILLING },
    ] {
        let (delivery, _heard) = exchange(script, "", PATIENT, &mail()).await;
        let (kind, text) = text(&delivery);
        assert_eq!(kind, "refused", "{text}");
    }
}

#[tokio::test]
async fn a_closed_connection_is_a_doubt_only_after_the_content() {
    check_every_step(Act::Close, PATIENT, "not sent", "unknown").await;
}

#[tokio::test]
async fn silence_is_a_doubt_only_after_the_content() {
    check_every_step(Act::Silence, HASTY, "not sent", "unknown").await;
}

#[tokio::test]
async fn an_answer_that_is_no_smtp_is_a_doubt_only_after_the_content() {
    check_every_step(Act::Say("HTTP/1.1 400 ivanova"), PATIENT, "not sent", "unknown").await;
}

#[tokio::test]
async fn the_whole_time_is_bounded_too() {
    for (script, expected) in [
        (Script { rcpt: Act::Silence, ..WILLING }, "not sent"),
        (Script { content: Act::Silence, ..WILLING }, "unknown"),
    ] {
        let limits = SmtpLimits { whole: Duration::from_millis(700), ..PATIENT };
        let (delivery, _heard) = exchange(script, "", limits, &mail()).await;
        let (kind, text) = text(&delivery);
        assert_eq!(kind, expected);
        assert_eq!(text, "The mail server took too long over the whole mail.");
    }
}

#[tokio::test]
async fn a_content_that_did_not_get_through_is_not_sent() {
    // The answer to DATA is there before the client asks: then the server stops reading.
    let script = Script { rcpt: Act::Say("250 ok\n354 go on"), data: Act::Deafness, ..WILLING };
    let server = ScriptedServer::start(script);
    let mailer = mailer(&format!("smtp://127.0.0.1:{}", server.port)).with_limits(HASTY);
    // More than all buffers between the two can hold.
    let large = Mail { body: "0123456789\n".repeat(700_000), ..mail() };
    let sending = Box::pin(mailer.send(&large));
    let Either::Left((delivery, _server)) = select(sending, Box::pin(server.serve())).await else {
        panic!("the server does not end by itself");
    };
    let (kind, text) = text(&delivery);
    assert_eq!(
        (kind, &*text),
        ("not sent", "The mail server did not answer in time at the content.")
    );
}

#[tokio::test]
async fn a_taken_mail_is_sent_whatever_the_goodbye() {
    for quit in [Act::Say("221 bye"), Act::Say("451 no"), Act::Close, Act::Silence] {
        let limits = SmtpLimits { goodbye: Duration::from_millis(100), ..PATIENT };
        let (delivery, heard) = exchange(Script { quit, ..WILLING }, "", limits, &mail()).await;
        assert_eq!(delivery, Delivery::Sent);
        assert_eq!(heard.verbs(), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
    }
}

#[tokio::test]
async fn the_commands_and_the_content_go_out_exactly() {
    let (delivery, heard) = exchange(WILLING, "user:secret@", PATIENT, &mail()).await;
    assert_eq!(delivery, Delivery::Sent);
    assert_eq!(
        heard.commands[1..],
        [
            // NUL user NUL secret
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "MAIL FROM:<freeline@pay.example>",
            "RCPT TO:<ivanova@shop.example>",
            "DATA",
            "QUIT",
        ]
    );
    assert_eq!(
        heard.content,
        "Message-ID: <0198-abc@pay.example>\r\n\
         Date: Thu, 05 Mar 2026 11:07:00 +0000\r\n\
         From: Freeline <freeline@pay.example>\r\n\
         To: ivanova@shop.example\r\n\
         Subject: =?utf-8?b?0JLRgdC1INC70LjQvdC40Lgg0LfQsNC90Y/RgtGL?=\r\n\
         Auto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: base64\r\n\
         \r\n\
         Lg0K0KLQtdC60YHRgg0KLi7QutC+0L3QtdGG\r\n"
    );
}

#[tokio::test]
async fn a_line_of_one_dot_does_not_end_the_content() {
    let dots = Mail { body: "a\n.\n..b\n.c".into(), ..mail() };
    let (delivery, heard) = exchange(WILLING, "", PATIENT, &dots).await;
    assert_eq!(delivery, Delivery::Sent);
    let (_head, body) = heard.content.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "a\r\n..\r\n...b\r\n..c\r\n", "each leading dot is doubled on the wire");
}

#[tokio::test]
async fn an_answer_to_data_other_than_354_sends_no_content() {
    let script = Script { data: Act::Say("250 2.0.0 ok"), ..WILLING };
    let (delivery, heard) = exchange(script, "", PATIENT, &mail()).await;
    let expected = "The mail server answered 250 to DATA instead of 354.";
    assert_eq!(delivery, Delivery::NotSent(expected.to_owned()));
    assert_eq!(heard.content, "");
}

#[tokio::test]
async fn an_invalid_recipient_is_refused_without_a_connection() {
    for to in ["", "ivanova", "a@b>\r\nRCPT TO:<c@d", "иванова@shop.example"] {
        // Nobody listens on this port.
        let delivery = mailer("smtp://127.0.0.1:1").send(&Mail { to: to.into(), ..mail() }).await;
        let expected = "The recipient's address is not a valid e-mail address.";
        assert_eq!(delivery, Delivery::Refused(expected.to_owned()));
    }
}

#[tokio::test]
async fn an_absent_server_means_not_sent() {
    let port = ScriptedServer::start(WILLING).port;
    for url in [format!("smtp://127.0.0.1:{port}"), format!("smtps://127.0.0.1:{port}")] {
        let (kind, text) = text(&mailer(&url).send(&mail()).await);
        assert_eq!(kind, "not sent");
        assert!(text.contains("refused"), "{text}");
    }
}

#[tokio::test]
async fn a_password_is_not_sent_in_the_clear_to_another_machine() {
    let server = ScriptedServer::start(WILLING);
    let mut mailer = mailer(&format!("smtp://user:secret@127.0.0.1:{}", server.port));
    mailer.server.loopback = false;
    let mail = mail();
    let (delivery, heard) = tokio::join!(mailer.send(&mail), server.serve());
    let (kind, text) = text(&delivery);
    assert_eq!(kind, "not sent");
    assert!(text.contains("not sent in the clear"), "{text}");
    assert_eq!(heard.verbs(), ["EHLO"]);
}

#[test]
fn nothing_secret_is_shown_for_debugging() {
    let shown = format!("{:?}", mailer("smtps://user:secret@mail.example"));
    for word in ["secret", "user", "freeline@"] {
        assert!(!shown.contains(word), "{shown}");
    }
}

#[test]
fn a_sender_that_cannot_be_written_is_refused_at_the_start() {
    let from = "иван@pay.example".parse().unwrap();
    let clock = Arc::new(ManualClock::new(Time::from_micros(0)));
    let problem = SmtpMailer::new(&SecretString::from("smtp://h"), from, clock).unwrap_err();
    assert_eq!(problem, SmtpSetupProblem::BadSender);
}
