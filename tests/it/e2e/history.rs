//! What was said, read back: by treatment, by payment, by user, and by its words.

use freeline::sandbox::{TECHNICAL_USER_ID, line_id, specialist_id};
use serde_json::{Value, json};

use crate::support::{TestDatabase, World, on_both};

/// What is wanted of each message on a page.
fn each(page: &Value, field: &str) -> Vec<Value> {
    page["items"].as_array().expect("items").iter().map(|one| one[field].clone()).collect()
}

/// A specialist sends a file, past the service.
async fn send_file(world: &World, line: u16, name: &str) {
    let meta = json!({"line_id": line_id(line).as_str(), "user_id": TECHNICAL_USER_ID,
        "author_id": specialist_id(1).as_str(), "bot_as_spec": true, "file_name": name,
        "comment": "Подпишите"});
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\
         \r\n\r\n{meta}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"a\"\r\n\r\ncontent\r\n--b--\r\n"
    );
    let config = world.sandbox.config();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.post(format!("{}/v1/line/send/file/", world.sandbox.url()));
    let request = request.basic_auth(&config.login, Some(&config.password));
    let request = request.header("content-type", "multipart/form-data; boundary=b").body(body);
    assert_eq!(request.send().await.expect("an answer").status().as_u16(), 200);
}

on_both!(a_conversation_tells_who_said_what_and_how_ours_got_there);
async fn a_conversation_tells_who_said_what_and_how_ours_got_there(database: TestDatabase) {
    let world = World::ready(database).await;
    let user = TECHNICAL_USER_ID.into();
    let message = json!({"key": "a", "user_id": TECHNICAL_USER_ID, "line_id": line_id(1).as_str(),
        "text": "Когда привезти?", "keyboard": [[{"text": "Сегодня"}, {"text": "Завтра"}]]});
    let (_, sent) = world.post("/messages", &message).await;
    world.settle().await;
    world.sandbox.press(&line_id(1), &user, "Завтра").await.expect("a button");
    world.settle().await;
    send_file(&world, 1, "счёт.pdf").await;
    world.settle().await;
    let of_user = world.get(&format!("/users/{TECHNICAL_USER_ID}/treatments")).await;
    let treatment = &of_user["items"][0];
    assert_eq!((&treatment["state"], &treatment["messages"]), (&json!("open"), &json!(3)));
    assert_eq!(treatment["line_id"], line_id(1).as_str());
    let id = treatment["treatment_id"].as_str().expect("its id");
    let said = world.get(&format!("/treatments/{id}/messages")).await;
    assert_eq!(each(&said, "text"), [json!("Когда привезти?"), json!("Завтра"), json!(null)]);
    assert_eq!(each(&said, "author"), [json!("bot"), json!("user"), json!("specialist")]);
    assert_eq!(treatment["last_message_at"], said["items"][2]["at"]);
    let delivered = json!({"outgoing_id": sent["id"], "mode": "bot", "payment_id": null});
    assert_eq!(each(&said, "delivered"), [delivered, json!(null), json!(null)]);
    let file = &said["items"][2]["file"];
    assert_eq!((&file["file_name"], &file["comment"]), (&json!("счёт.pdf"), &json!("Подпишите")));
    assert!(file["file_path"].as_str().is_some_and(|path| path.starts_with("http")), "{file}");
}

on_both!(a_payment_shows_what_was_said_about_it_wherever_it_moved);
async fn a_payment_shows_what_was_said_about_it_wherever_it_moved(database: TestDatabase) {
    let world = World::ready(database).await;
    let payment = world.pay("p", "m1").await;
    let before = world.get(&format!("/payments/{payment}/messages")).await;
    assert_eq!(before["items"], json!([]));
    world.settle().await;
    let shown = world.payment(&payment).await;
    let from = shown["line_id"].as_str().expect("its line").into();
    let user = TECHNICAL_USER_ID.into();
    world.sandbox.write(&from, &user, None, "Спасибо").await.expect("it is open");
    world.settle().await;
    world.sandbox.reroute(&from, &user, &line_id(9)).await.expect("another line");
    world.settle().await;
    world.sandbox.write(&line_id(9), &user, None, "И накладную").await.expect("it is open");
    world.settle().await;
    let said = world.get(&format!("/payments/{payment}/messages")).await;
    let texts = each(&said, "text");
    assert_eq!(texts[1..], [json!("Спасибо"), json!("И накладную")]);
    assert_eq!(each(&said, "delivered")[0]["payment_id"], json!(payment));
    let first = world.get(&format!("/payments/{payment}/messages?limit=1")).await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let rest = world.get(&format!("/payments/{payment}/messages?cursor={cursor}")).await;
    assert_eq!(each(&rest, "text"), texts[1..]);
}

on_both!(words_are_found_in_all_chats_page_by_page);
async fn words_are_found_in_all_chats_page_by_page(database: TestDatabase) {
    let world = World::ready(database).await;
    let user = TECHNICAL_USER_ID.into();
    for (line, words) in [(1, "Где счёт?"), (2, "Счета нет"), (3, "Груз пришёл")]
    {
        world.sandbox.write(&line_id(line), &user, None, words).await.expect("it opens");
        world.settle().await;
    }
    // "счет", as a browser writes it.
    let word = "%D1%81%D1%87%D0%B5%D1%82";
    let found = world.get(&format!("/search/messages?q={word}&limit=1")).await;
    assert_eq!(each(&found, "snippet"), [json!("Счета нет")]);
    let cursor = found["next_cursor"].as_str().expect("there is more");
    let rest = world.get(&format!("/search/messages?q={word}&cursor={cursor}")).await;
    assert_eq!(each(&rest, "text"), [json!("Где счёт?")]);
    assert_eq!(rest["next_cursor"], json!(null));
    let line = line_id(2);
    let narrowed = world.get(&format!("/search/messages?q={word}&line_id={line}")).await;
    assert_eq!(each(&narrowed, "line_id"), [json!(line.as_str())]);
    let nobody = world.get(&format!("/search/messages?q={word}&user_id=nobody")).await;
    assert_eq!(nobody["items"], json!([]));
}

on_both!(what_is_asked_wrongly_is_told);
async fn what_is_asked_wrongly_is_told(database: TestDatabase) {
    let world = World::ready(database).await;
    let long = "x".repeat(10_000);
    for (path, status) in [
        ("/search/messages".to_owned(), 422),
        ("/search/messages?q=".to_owned(), 422),
        (format!("/search/messages?q={long}"), 422),
        ("/search/messages?q=a%00b".to_owned(), 422),
        ("/search/messages?q=x&from=yesterday".to_owned(), 422),
        ("/search/messages?q=x&cursor=!".to_owned(), 422),
        ("/search/messages?q=x&limit=501".to_owned(), 422),
        ("/search/messages?q=%22%27%28*-%22".to_owned(), 200),
        ("/payments/none/messages".to_owned(), 404),
        ("/treatments/none/messages".to_owned(), 404),
        ("/users/none/treatments".to_owned(), 200),
        ("/users/none/treatments?state=open".to_owned(), 422),
    ] {
        let (answered, body) = world.call(reqwest::Method::GET, &path, None).await;
        assert_eq!(answered, status, "{path}: {body}");
    }
}
