use super::*;
use crate::connect::wire::read_event;
use crate::core::time::Time;

#[test]
fn lines_are_read_with_and_without_hooks() {
    let body = br#"[
        {"line_id":"cd48","name":"Test, [1] \"x\"","allow_bot":true,"hook_bot":"https://h/","new":{"a":[1,2]}},
        {"line_id":"d12e","name":"Manager","allow_bot":true,"hook_bot":null,"hook_line":""},
        {"line_id":"b55c","name":null,"allow_bot":false}]"#;
    let listing = read_lines(body).unwrap();
    assert_eq!(listing.skipped, 0);
    assert_eq!(
        listing.rows[0],
        PlatformLine {
            line: "cd48".into(),
            name: "Test, [1] \"x\"".to_owned(),
            allow_bot: true,
            hook_line: None,
            hook_bot: Some("https://h/".to_owned()),
        }
    );
    assert_eq!((&listing.rows[1].hook_bot, &listing.rows[1].hook_line), (&None, &None));
    assert_eq!((listing.rows[2].name.as_str(), listing.rows[2].allow_bot), ("", false));
}

fn time(text: &str) -> Option<Time> {
    Time::parse_rfc3339(text)
}

#[test]
fn people_are_read_with_whatever_is_missing() {
    let body = r#"[
        {"user_id":"u1","name":"A","surname":"B","patronymic":"C","avatar_url":"","post":"D",
         "phone":"+7","email":"a@b","counterpart_id":"c"},
        {"user_id":"u2","name":null,"surname":7,"phone":["x"],"email":"a\u0000b"},
        {"user_id":""}, {"name":"x"}, {"user_id":5}, null, "u"]"#;
    let listing = read_people(body.as_bytes()).unwrap();
    assert_eq!((listing.rows.len(), listing.skipped), (2, 5));
    let [full, bare] = listing.rows.as_slice() else { panic!("two rows") };
    let texts = |person: &Person| {
        let Person { name, surname, patronymic, post, phone, email, .. } = person.clone();
        [name, surname, patronymic, post, phone, email]
    };
    assert_eq!(
        (full.id.as_str(), texts(full)),
        ("u1", ["A", "B", "C", "D", "+7", "a@b"].map(str::to_owned))
    );
    assert_eq!(texts(bare), ["", "", "", "", "", "a\u{fffd}b"].map(str::to_owned));
    assert_eq!(read_person(br#"{"user_id":"u"}"#).unwrap().id.as_str(), "u");
    for odd in ["", "[]", "null", "{}", r#"{"user_id":null}"#] {
        assert!(read_person(odd.as_bytes()).is_err(), "{odd}");
    }
}

#[test]
fn subscriptions_are_read_in_both_revisions() {
    let body = br#"[
        {"line_id":"l","user_id":"u","subscription_set":"2024-02-01T00:00:00Z",
         "subscription_expire_at":null},
        {"service_id":"l","service_user_id":"u","activate_date":"2024-02-01T00:00:00Z",
         "expires_date":"2025-02-01T00:00:00Z"},
        {"line_id":"l","user_id":"u","subscription_set":"2020-01-05T00:00:00Z07:00",
         "subscription_expire_at":5},
        {"line_id":"l"}, {"user_id":"u"}, {"line_id":[],"user_id":"u"}]"#;
    let listing = read_subscriptions(body).unwrap();
    let times: Vec<_> = listing.rows.iter().map(|row| (row.set_at, row.expires_at)).collect();
    let (set, expires) = (time("2024-02-01T00:00:00Z"), time("2025-02-01T00:00:00Z"));
    assert_eq!(times, [(set, None), (set, expires), (None, None)]);
    assert_eq!(listing.skipped, 3);
    assert!(listing.rows.iter().all(|row| row.line.as_str() == "l" && row.user.as_str() == "u"));
}

#[test]
fn competences_are_read() {
    let body = br#"[
        {"line_id":"l","specialist_id":"s","pool_priority":0,"is_franch_spec":true},
        {"line_id":"l","specialist_id":"s","pool_priority":"high","is_franch_spec":null},
        {"line_id":"l"}]"#;
    let listing = read_competences(body).unwrap();
    let read: Vec<_> =
        listing.rows.iter().map(|row| (row.pool_priority, row.is_franch_spec)).collect();
    assert_eq!((read, listing.skipped), (vec![(Some(0), true), (None, false)], 1));
}

#[test]
fn available_specialists_are_an_array_of_ids() {
    let body =
        format!(r#"["a", "", 5, null, ["b"], "c\u0000", "{}", "\u044f,[\"]"]"#, "x".repeat(129));
    let listing = read_ids(body.as_bytes()).unwrap();
    assert_eq!((listing.rows, listing.skipped), (vec!["a".into(), "я,[\"]".into()], 6));
    assert_eq!(read_ids(b"[]").unwrap().rows, []);
    for odd in ["", "null", "{}", r#""a""#, "[a]"] {
        assert_eq!(read_ids(odd.as_bytes()), Err(NotAList), "{odd}");
    }
}

/// The change that an event tells.
fn change(body: &str) -> Option<DirectoryChange> {
    read_event(body.as_bytes()).unwrap().directory.map(|change| *change)
}

#[test]
fn a_change_of_the_directory_says_what_was_done_to_what() {
    let found = change(
        r#"{"event_type":"subscription","event_source":"line","action":"delete",
            "subscription":{"line_id":"l","user_id":"u","subscription_set":"2024-02-01T00:00:00Z",
            "subscription_expire_at":null}}"#,
    );
    let set_at = time("2024-02-01T00:00:00Z");
    let entry = Subscription { user: "u".into(), line: "l".into(), set_at, expires_at: None };
    let entry = DirectoryEntry::Subscription(entry);
    assert_eq!(found, Some(DirectoryChange { action: DirectoryAction::Deleted, entry }));
    for (word, action) in [
        (r#""add""#, DirectoryAction::Added),
        (r#""update""#, DirectoryAction::Updated),
        (r#""rename""#, DirectoryAction::Unknown),
        ("null", DirectoryAction::Unknown),
        ("[7]", DirectoryAction::Unknown),
    ] {
        for (family, object, is_it) in [
            ("subscriber", r#""user":{"user_id":"u"}"#, 0),
            ("support_line", r#""line":{"line_id":"l","name":"n","allow_bot":true}"#, 1),
            ("competence", r#""competence":{"line_id":"l","specialist_id":"s"}"#, 2),
        ] {
            let body =
                format!(r#"{{"event_type":"{family}","action":{word},{object},"x":[{{}}]}}"#);
            let found = change(&body).unwrap();
            let place = match found.entry {
                DirectoryEntry::Person(_) => 0,
                DirectoryEntry::Line(_) => 1,
                DirectoryEntry::Competence(_) => 2,
                DirectoryEntry::Subscription(_) => 3,
            };
            assert_eq!((found.action, place), (action, is_it), "{body}");
        }
    }
}

#[test]
fn an_odd_change_of_the_directory_is_none_and_no_error() {
    for body in [
        r#"{"event_type":"subscriber","action":"add"}"#,
        r#"{"event_type":"subscriber","user":null}"#,
        r#"{"event_type":"subscriber","user":"u"}"#,
        r#"{"event_type":"subscriber","user":{}}"#,
        r#"{"event_type":"subscriber","user":{"user_id":7}}"#,
        r#"{"event_type":"subscriber","line":{"line_id":"l"}}"#,
        r#"{"event_type":"holiday","user":{"user_id":"u"}}"#,
        r#"{"event_type":"line","user":{"user_id":"u"}}"#,
        r#"{"user":{"user_id":"u"}}"#,
    ] {
        assert_eq!(change(body), None, "{body}");
    }
}
