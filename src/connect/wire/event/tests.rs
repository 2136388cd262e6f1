use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::connect::wire::DEPTH_MAX;
use crate::core::time::Time;

/// The nine keys that every recorded event has (`connect-api.md` 3.3).
fn common(message_type: i64) -> Value {
    json!({"event_type":"line","event_source":"line","message_type":message_type,
        "author_id":"55555555-0000-4000-8000-000000000009",
        "user_id":"11111111-aaaa-4aaa-8aaa-000000000001",
        "line_id":"22222222-bbbb-11e3-bab7-000000000001",
        "treatment_id":"33333333-cccc-4ccc-8ccc-000000000001",
        "message_id":"44444444-dddd-4ddd-8ddd-000000000001",
        "message_time":"2022-09-16T13:23:27.504499949Z"})
}

/// The nine keys and some more.
fn with(message_type: i64, extra: Value) -> Value {
    let mut body = common(message_type);
    let Value::Object(extra) = extra else { panic!("an object") };
    body.as_object_mut().unwrap().extend(extra);
    body
}

fn read(body: &Value) -> Result<Event, Unreadable> {
    read_event(body.to_string().as_bytes())
}

fn text_of(body: &str) -> Result<Event, Unreadable> {
    read_event(body.as_bytes())
}

fn field_of(body: &Value) -> &'static str {
    match read(body) {
        Err(Unreadable::Field { name, .. }) => name,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn a_users_first_message_is_read_in_full() {
    let event = read(&with(1, json!({"text":"Hello"}))).unwrap();
    assert_eq!(
        event,
        Event {
            family: Some("line".to_owned()),
            source: EventSource::Line,
            message_type: Some(1),
            message_id: Some("44444444-dddd-4ddd-8ddd-000000000001".to_owned()),
            message_time: Time::parse_rfc3339("2022-09-16T13:23:27.504499Z"),
            line: Some("22222222-bbbb-11e3-bab7-000000000001".into()),
            user: Some("11111111-aaaa-4aaa-8aaa-000000000001".into()),
            author: Some("55555555-0000-4000-8000-000000000009".into()),
            treatment: Some("33333333-cccc-4ccc-8ccc-000000000001".into()),
            text: Some("Hello".to_owned()),
            movement: None,
            initialized_at: None,
            current_specialist: None,
            file: None,
            redirect: None,
            directory: None,
        }
    );
}

#[test]
fn every_recorded_shape_is_read() {
    let treatment = json!({"treatment_id":"t","user_id":"u","line_id":"l",
        "initialized_at":"2022-09-16T13:23:27.504499Z","treatment_duration":2153,
        "current_specialist":"s"});
    let call = json!({"call":{"src":"u","dst":"s"}});
    let rda = json!({"rda":{"src":"s","dst":"u"}});
    let file = json!({"file":{"file_id":"f","file_name":"scan.png","file_path":"https://f/",
        "file_size":12345,"preview_link":"","preview_link_hi":"","preview_hi_sizes":""}});
    let assigned = json!({"text":"<buhphone><name>5555</name></buhphone>"});
    let mut shapes = vec![(1, json!({"text":"a\nb"})), (70, file), (80, assigned), (81, json!({}))];
    shapes.extend([20, 23].map(|code| (code, call.clone())));
    shapes.extend([50, 51, 54, 55, 56].map(|code| (code, rda.clone())));
    shapes.push((53, json!({"rda":{"src":"s","dst":"u","duration":4}})));
    shapes.extend([17, 82, 84, 90].map(|code| (code, json!({"treatment":treatment.clone()}))));
    shapes.push((200, json!({"data":{"redirect":"hours,level:1"}})));
    shapes.push((2, json!({"partner_notification":{"id":"p","theme":"x","text":"y"}})));
    shapes.push((121, json!({"service_request":{"request_id":"r","number":"1"}})));
    shapes.push((9_999, json!({"new":{"deep":[1,2,{"x":null}]}})));
    for (code, extra) in shapes {
        let has_treatment = extra.get("treatment").is_some();
        let event = read(&with(code, extra)).unwrap();
        assert_eq!(event.message_type, Some(code));
        assert!(event.line.is_some() && event.user.is_some() && event.treatment.is_some());
        assert_eq!(event.movement, None);
        let began = Time::parse_rfc3339("2022-09-16T13:23:27.504499Z");
        assert_eq!(event.initialized_at, began.filter(|_| has_treatment), "{code}");
    }
}

#[test]
fn a_move_names_its_other_side() {
    for (word, direction) in [
        ("to", Direction::To),
        ("from", Direction::From),
        ("to_fran", Direction::Elsewhere),
        ("to_vendor", Direction::Elsewhere),
    ] {
        let data = json!({"direction":word,"line_id":"B","treatment_id":"T2"});
        let event = read(&with(89, json!({"data":data}))).unwrap();
        let (line, treatment) = (Some("B".into()), Some("T2".into()));
        assert_eq!(event.movement, Some(Movement { direction, line, treatment }));
    }
    let event = read(&with(89, json!({"data":{"direction":"to","line_id":"B"}}))).unwrap();
    assert_eq!(event.movement.unwrap().treatment, None, "the recording of 2022");
    assert_eq!(read(&common(89)).unwrap().movement, None);
}

#[test]
fn events_without_envelope_and_of_other_families_are_read() {
    let event = text_of(r#"{"message_type":1,"line_id":"l","user_id":"u","text":"x"}"#).unwrap();
    assert_eq!((event.source, event.family), (EventSource::Unstated, None));
    let event = read(&json!({"event_type":"subscription","event_source":"line","action":"delete",
        "subscription":{"line_id":"l","user_id":"u","subscription_expire_at":null}}))
    .unwrap();
    assert_eq!(event.family.as_deref(), Some("subscription"));
    assert_eq!((event.message_type, event.line), (None, None));
    assert_eq!(text_of(r#"{"event_source":"bot"}"#).unwrap().source, EventSource::Bot);
    assert_eq!(text_of(r#"{"event_source":"api"}"#).unwrap().source, EventSource::Unstated);
    assert!(text_of(" {} \n").is_ok());
}

#[test]
fn null_and_an_empty_id_are_the_same_as_nothing() {
    let mut body = with(90, json!({"text":null,"data":null,"treatment":null}));
    for name in ["message_id", "line_id", "user_id"] {
        body[name] = json!("");
    }
    for name in ["author_id", "treatment_id", "message_time", "event_type", "event_source"] {
        body[name] = Value::Null;
    }
    let event = read(&body).unwrap();
    assert_eq!((event.message_id, event.line, event.user), (None, None, None));
    assert_eq!((event.author, event.treatment, event.message_time), (None, None, None));
    assert_eq!((event.text, event.initialized_at, event.family), (None, None, None));
    let event = text_of(r#"{"treatment":{"initialized_at":null,"current_specialist":null}}"#);
    assert_eq!(event.unwrap().initialized_at, None);
}

#[test]
fn what_is_no_json_object_is_refused() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    let abyss = format!("{{\"x\":{}", "[{\"a\":".repeat(200_000));
    let bodies = [
        "",
        " ",
        "null",
        "1",
        "\"x\"",
        "[]",
        "[{}]",
        "{",
        "}",
        "{}{}",
        "{} x",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1,}",
        "\u{FEFF}{}",
        "{\"a\":\"\n\"}",
        "{\"text\":\"\\x\"}",
        "{\"line_id\":1,\"line_id\":2",
        "{\"message_type\":01}",
        "{\"message_type\":1e999",
        &deep,
        &abyss,
    ];
    for body in bodies {
        let shown: String = body.chars().take(40).collect();
        assert_eq!(text_of(body), Err(Unreadable::NotAnObject), "{shown}");
    }
    assert_eq!(read_event(b"{\"text\":\"\xff\"}"), Err(Unreadable::NotAnObject));
    assert_eq!(read_event(b"{\"x\":\"\xff\"}"), Err(Unreadable::NotAnObject));
}

#[test]
fn what_is_read_can_be_read_by_serde_json_too() {
    let nest = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let body = nest(DEPTH_MAX - 1);
    assert!(text_of(&body).is_ok());
    assert!(serde_json::from_str::<Value>(&body).is_ok());
    assert!(text_of(r#"{"x":"[[[[{{{{\"[[["}"#).is_ok(), "brackets in texts do not count");
}

#[test]
fn a_known_field_of_a_wrong_form_is_named() {
    for name in
        ["event_type", "event_source", "message_id", "line_id", "user_id", "author_id", "text"]
    {
        for wrong in [json!(1), json!(true), json!([]), json!({"a":[]}), json!(1.5)] {
            assert_eq!(field_of(&json!({ name: wrong })), name);
        }
    }
    for wrong in [json!("1"), json!(1.0), json!(u64::MAX), json!(false), json!({}), json!([1])] {
        assert_eq!(field_of(&json!({"message_type":wrong})), "message_type");
    }
    for wrong in [json!(""), json!("2020-01-05T00:00:00Z07:00"), json!(1_663_334_607), json!({})] {
        assert_eq!(field_of(&json!({"message_time":wrong})), "message_time");
    }
    for wrong in [json!(1), json!("x"), json!([])] {
        assert_eq!(field_of(&json!({"treatment":wrong})), "treatment");
        assert_eq!(field_of(&json!({"message_type":89,"data":wrong})), "data");
    }
    let name = field_of(&json!({"treatment":{"initialized_at":"soon"}}));
    assert_eq!(name, "treatment.initialized_at");
    for inside in ["direction", "line_id", "treatment_id"] {
        let body = json!({"message_type":89,"data":{inside:7}});
        assert_eq!(field_of(&body), format!("data.{inside}"));
    }
    assert!(read(&json!({"message_type":200,"data":"x"})).is_ok(), "not a move");
}

#[test]
fn hostile_values_of_known_fields_are_named_and_of_unknown_ones_ignored() {
    for (body, name) in [
        (r#"{"message_type":1e999}"#, "message_type"),
        (r#"{"message_type":99999999999999999999}"#, "message_type"),
        (r#"{"line_id":1e999,"x":1}"#, "line_id"),
        (r#"{"text":"\ud800"}"#, "text"),
        (r#"{"line_id":"a","line_id":"b"}"#, "line_id"),
        (r#"{"line_id":null,"line_id":"b"}"#, "line_id"),
        (r#"{"message_type":89,"data":{"line_id":1e999}}"#, "data.line_id"),
        (r#"{"line_id":"a\u0000b"}"#, "line_id"),
        (r#"{"\ud800":1}"#, "(a name)"),
    ] {
        match text_of(body) {
            Err(Unreadable::Field { name: found, .. }) => assert_eq!(found, name, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    let body = r#"{"x":1e999,"y":"\ud800","x":{"line_id":5},"message_type":-9223372036854775808}"#;
    assert_eq!(text_of(body).unwrap().message_type, Some(i64::MIN));
}

#[test]
fn ids_are_opaque_but_bounded() {
    let longest = "я".repeat(128);
    for id in ["x", " x ", "../..", longest.as_str()] {
        let event = read(&json!({"line_id":id})).unwrap();
        assert_eq!(event.line, Some(id.into()));
    }
    assert_eq!(field_of(&json!({"treatment_id":"y".repeat(129)})), "treatment_id");
}

#[test]
fn a_nul_in_the_text_is_replaced() {
    let event = text_of(r#"{"text":"a\u0000b"}"#).unwrap();
    assert_eq!(event.text.as_deref(), Some("a\u{FFFD}b"));
}

#[test]
fn an_error_never_repeats_the_body() {
    let error = read(&json!({"line_id":["secret"]})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the field line_id is not a text of at most 128 characters without NUL"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(read_event(&body));
    }

    #[test]
    fn no_text_of_json_characters_makes_it_panic(
        body in r#"\{("(line_id|data|text|message_type)":)?[\[\]{}",:\\u0-9dtrueéя. -]{0,60}\}?"#,
    ) {
        if text_of(&body) != Err(Unreadable::NotAnObject) {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok());
        }
    }

    #[test]
    fn a_cut_event_is_never_read(cut in 1_usize..300) {
        let body = with(1, json!({"text":"Hello"})).to_string();
        let cut = cut.min(body.len());
        prop_assert_eq!(read_event(&body.as_bytes()[..body.len() - cut]), Err(Unreadable::NotAnObject));
    }
}

#[test]
fn a_file_is_read_as_far_as_it_can_be() {
    let body = with(
        70,
        json!({"file":{"file_id":"f","file_name":"scan.png","file_size":12345,
        "file_path":"https://f/x","comment":"look","preview_link":"https://f/p",
        "preview_link_hi":"https://f/h","preview_hi_sizes":"500x326"}}),
    );
    let event = read(&body).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let file = SentFile {
        id: text("f"),
        name: text("scan.png"),
        url: text("https://f/x"),
        bytes: Some(12_345),
        comment: text("look"),
        preview_url: text("https://f/p"),
        preview_hi_url: text("https://f/h"),
        preview_hi_size: text("500x326"),
    };
    assert_eq!(event.file.as_ref(), Some(&file));
    let shown = format!("{event:?}");
    assert!(
        !shown.contains("scan") && !shown.contains("look") && !shown.contains("https"),
        "{shown}"
    );

    let odd = json!({"file":{"file_id":["f"],"file_name":7,"file_size":-1,"preview_link":""}});
    let file = read(&with(70, odd)).unwrap().file.unwrap();
    assert_eq!((file.id, file.name, file.bytes, file.preview_url), (None, None, None, None));
    for odd in [json!({"file":null}), json!({"file":"x"}), json!({"file":[1]}), json!({})] {
        assert_eq!(read(&with(70, odd)).unwrap().file, None);
    }
    let elsewhere = json!({"file":{"file_id":"f"}});
    assert_eq!(read(&with(1, elsewhere)).unwrap().file, None, "only type 70 has a file");
}

#[test]
fn who_has_the_treatment_is_read() {
    let specialist = Some("55555555-0000-4000-8000-000000000009".into());
    for code in [80, 81] {
        assert_eq!(read(&common(code)).unwrap().assigned_specialist(), specialist.as_ref());
    }
    for code in [1, 82, 83, 86, 200] {
        assert_eq!(read(&common(code)).unwrap().assigned_specialist(), None, "{code}");
    }
    let treatment = |who: Value| json!({"treatment":{"treatment_id":"t","current_specialist":who}});
    let event = read(&with(84, treatment(json!("new")))).unwrap();
    assert_eq!(event.assigned_specialist(), Some(&"new".into()));
    assert_eq!(event.current_specialist, Some("new".into()));
    for odd in [json!(null), json!(""), json!(5), json!({"x":1})] {
        assert_eq!(read(&with(84, treatment(odd))).unwrap().current_specialist, None);
    }
}

#[test]
fn a_hand_over_to_the_bot_names_a_scenario_point() {
    let redirect = |data| read(&with(200, json!({"data":data}))).unwrap().redirect;
    let point = Some("hours,level:1".to_owned());
    assert_eq!(redirect(json!({"redirect":"hours,level:1"})), point);
    for odd in [json!(null), json!({}), json!({"redirect":5}), json!("x"), json!({"redirect":""})] {
        assert_eq!(redirect(odd), None);
    }
    let moved = json!({"data":{"direction":"to","line_id":"B","redirect":"x"}});
    assert_eq!(read(&with(89, moved)).unwrap().redirect, None);
}

#[test]
fn what_people_wrote_is_not_shown() {
    let event = read(&with(1, json!({"text":"hidden"}))).unwrap();
    let point = read(&with(200, json!({"data":{"redirect":"hidden"}}))).unwrap();
    assert!(!format!("{event:?} {point:?}").contains("hidden"));
}
