//! The settings as a whole: every text here is read by a person whose service does not start.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::*;
use crate::connect::SendMode;
use crate::connect::budget::Rate;

const REQUIRED: [(&str, &str); 5] = [
    ("FREELINE_API_TOKENS", "erp:write:0123456789abcdef"),
    ("FREELINE_HOOK_URL", "https://freeline.example.com/connect/hook/"),
    ("FREELINE_HOOK_TOKEN", "hook-token"),
    ("FREELINE_CONNECT_LOGIN", "me"),
    ("FREELINE_CONNECT_PASSWORD", "password"),
];

/// What is required, with `more` set over it.
fn env_with(more: &[(&str, &str)]) -> Env {
    REQUIRED.iter().chain(more).copied().collect()
}

fn problems(env: &Env) -> String {
    Settings::read(env).unwrap_err().to_string()
}

#[test]
fn with_what_is_required_everything_else_has_its_default() {
    let settings = Settings::read(&env_with(&[])).unwrap();
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.http.metrics_listen.unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!(settings.http.stop_grace, Duration::from_secs(1));
    assert_eq!(settings.database.to_string(), "sqlite:freeline.db");
    assert!(!settings.hook.takeover);
    assert_eq!(settings.hook.check_every, Duration::from_mins(5));
    assert_eq!(settings.connect.url.as_str(), "https://push.1c-connect.com/");
    assert_eq!(settings.connect.rate, Rate::parse("20/s,600/min").unwrap());
    assert_eq!(settings.dispatch.mode, SendMode::Bot);
    assert_eq!(settings.dispatch.user, None);
    assert_eq!(settings.dispatch.template, None);
    assert_eq!(settings.dispatch.in_doubt_after, Duration::from_secs(30));
    assert_eq!(settings.dispatch.look_after_silence, Duration::from_hours(2));
    assert_eq!(settings.feed.kept, Duration::from_hours(30 * 24));
    assert!(settings.feed.push.is_none());
    assert!(settings.mail.is_none());
    assert_eq!(settings.log, LogSettings::default());
}

#[test]
fn an_empty_value_is_not_set_but_for_the_metrics_which_it_turns_off() {
    let env = env_with(&[("FREELINE_LISTEN", ""), ("FREELINE_METRICS_LISTEN", "")]);
    let settings = Settings::read(&env).unwrap();
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.http.metrics_listen, None);
}

#[test]
fn with_nothing_set_all_that_is_missing_is_reported() {
    assert_eq!(
        problems(&Env::default()),
        r#"5 problems with the settings:
- FREELINE_API_TOKENS is not set and is required: who may call the API: `name:role:secret`, comma separated; role `read` or `write`, secret of at least 16 characters. Set it in the environment or in .env; see .env.example, section "HTTP".
- FREELINE_HOOK_URL is not set and is required: public callback URL, as it is registered at the platform. Set it in the environment or in .env; see .env.example, section "Callback".
- FREELINE_HOOK_TOKEN is not set: expected a token, or FREELINE_HOOK_LOGIN and FREELINE_HOOK_PASSWORD, or FREELINE_HOOK_AUTH=none to take events from anybody. Set it in the environment or in .env; see .env.example, section "Callback".
- FREELINE_CONNECT_LOGIN is not set and is required: login of the platform's API user. Set it in the environment or in .env; see .env.example, section "1C-Connect".
- FREELINE_CONNECT_PASSWORD is not set and is required: password of that user. Set it in the environment or in .env; see .env.example, section "1C-Connect"."#
    );
}

#[test]
fn everything_wrong_is_reported_at_once_and_no_secret_with_it() {
    let env = Env::from([
        ("FREELINE_LISTEN", "localhost"),
        ("FREELINE_METRICS_LISTEN", "9464"),
        ("FREELINE_API_TOKENS", "erp:admin:canary-canary-canary"),
        ("FREELINE_DATABASE_URL", "mysql://me:canary@db"),
        ("FREELINE_HOOK_URL", "https://me:canary@freeline.example.com/"),
        ("FREELINE_HOOK_TOKEN", "canary canary"),
        ("FREELINE_HOOK_TAKEOVER", "true"),
        ("FREELINE_HOOK_CHECK_EVERY", "1s"),
        ("FREELINE_CONNECT_URL", "push.1c-connect.com"),
        ("FREELINE_CONNECT_LOGIN", "me:canary"),
        ("FREELINE_CONNECT_PASSWORD", "canary\ncanary"),
        ("FREELINE_CONNECT_RATE", "20"),
        ("FREELINE_DISPATCH_MODE", "robot"),
        ("FREELINE_DISPATCH_USER_ID", "a b"),
        ("FREELINE_MESSAGE_TEMPLATE", "/nowhere/template"),
        ("FREELINE_IN_DOUBT_AFTER", "30"),
        ("FREELINE_SMTP_URL", "canary"),
        ("FREELINE_MAIL_FROM", "freeline"),
        ("FREELINE_LOG", "inof"),
        ("FREELINE_LOG_FORMAT", "xml"),
    ]);
    assert_eq!(
        problems(&env),
        r#"20 problems with the settings:
- FREELINE_LISTEN is "localhost": expected an IP address and a port, such as 127.0.0.1:8080 or [::]:8080. Set it in the environment or in .env; see .env.example, section "HTTP".
- FREELINE_METRICS_LISTEN is "9464": expected an IP address and a port, such as 127.0.0.1:8080 or [::]:8080. Set it in the environment or in .env; see .env.example, section "HTTP".
- FREELINE_API_TOKENS has a value that cannot be used (not shown): expected name:role:secret, comma separated; entry 1 has a role that is neither read nor write. Set it in the environment or in .env; see .env.example, section "HTTP".
- FREELINE_DATABASE_URL has a value that cannot be used (not shown): expected sqlite:FILE or postgres://user:password@host/database. Set it in the environment or in .env; see .env.example, section "Database".
- FREELINE_HOOK_URL is "…@freeline.example.com/": expected the whole public address, such as https://host/connect/hook/. Set it in the environment or in .env; see .env.example, section "Callback".
- FREELINE_HOOK_TOKEN has a value that cannot be used (not shown): expected ASCII characters without spaces. Set it in the environment or in .env; see .env.example, section "Callback".
- FREELINE_HOOK_TAKEOVER is "true": expected yes or no. Set it in the environment or in .env; see .env.example, section "Callback".
- FREELINE_HOOK_CHECK_EVERY is "1s": expected a time from 10s to 24h, such as 500ms, 30s, 2m or 1h. Set it in the environment or in .env; see .env.example, section "Callback".
- FREELINE_CONNECT_URL is "push.1c-connect.com": expected an address without user and parameters, such as https://push.1c-connect.com. Set it in the environment or in .env; see .env.example, section "1C-Connect".
- FREELINE_CONNECT_LOGIN has a value that cannot be used (not shown): expected a login without colons and line breaks. Set it in the environment or in .env; see .env.example, section "1C-Connect".
- FREELINE_CONNECT_PASSWORD has a value that cannot be used (not shown): expected a password without line breaks. Set it in the environment or in .env; see .env.example, section "1C-Connect".
- FREELINE_CONNECT_RATE is "20": expected calls in a unit of time (s, min, h), comma separated, such as 20/s,600/min. Set it in the environment or in .env; see .env.example, section "1C-Connect".
- FREELINE_DISPATCH_MODE is "robot": expected bot or specialist. Set it in the environment or in .env; see .env.example, section "Dispatch".
- FREELINE_DISPATCH_USER_ID is "a b": expected an id of the platform, without spaces. Set it in the environment or in .env; see .env.example, section "Dispatch".
- FREELINE_MESSAGE_TEMPLATE is "/nowhere/template": expected a file of text, and it cannot be read: No such file or directory (os error 2). Set it in the environment or in .env; see .env.example, section "Dispatch".
- FREELINE_IN_DOUBT_AFTER is "30": expected a time from 100ms to 1h, such as 500ms, 30s, 2m or 1h. Set it in the environment or in .env; see .env.example, section "Dispatch".
- FREELINE_SMTP_URL has a value that cannot be used (not shown): expected smtp://… or smtps://…. Set it in the environment or in .env; see .env.example, section "Mail".
- FREELINE_MAIL_FROM is "freeline": expected an address, such as freeline@example.com or Freeline <freeline@example.com>. Set it in the environment or in .env; see .env.example, section "Mail".
- FREELINE_LOG is "inof": expected error, warn, info, debug, trace or off, or by part, such as info,freeline::worker=debug. Set it in the environment or in .env; see .env.example, section "Log".
- FREELINE_LOG_FORMAT is "xml": expected text or json. Set it in the environment or in .env; see .env.example, section "Log"."#
    );
}

#[test]
fn an_unknown_name_is_refused_and_the_right_one_suggested() {
    let env = env_with(&[
        ("FREELINE_DISPATCH_USER", "u"),
        ("FREELINE_LISTEN_FILE", "/run/listen"),
        ("FREELINE_PAYMENTS", "many"),
        ("FREELINE_SMPT_URL", "smtp://localhost"),
        ("OTHER_NAME", "not ours"),
    ]);
    let expected = r#"4 problems with the settings:
- FREELINE_DISPATCH_USER is not a setting (did you mean FREELINE_DISPATCH_USER_ID?). Correct the name or take it out; .env.example lists all settings.
- FREELINE_LISTEN_FILE is not a setting: only secrets come from files, FREELINE_LISTEN does not. Set it in the environment or in .env; see .env.example, section "HTTP".
- FREELINE_PAYMENTS is not a setting. Correct the name or take it out; .env.example lists all settings.
- FREELINE_SMPT_URL is not a setting (did you mean FREELINE_SMTP_URL?). Correct the name or take it out; .env.example lists all settings."#;
    assert_eq!(problems(&env), expected);
    assert_eq!(DatabaseSettings::read(&env).unwrap_err().to_string(), expected);
}

#[test]
fn a_command_reports_only_what_it_needs() {
    let env = Env::from([("FREELINE_LISTEN", "nowhere"), ("FREELINE_CONNECT_LOGIN", "me")]);
    assert!(LogSettings::read(&env).is_ok());
    assert!(DatabaseSettings::read(&env).is_ok());
    let names: Vec<_> =
        HooksSettings::read(&env).unwrap_err().iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, ["FREELINE_HOOK_URL", "FREELINE_HOOK_TOKEN", "FREELINE_CONNECT_PASSWORD"]);
}

#[test]
fn a_secret_may_come_from_a_file_without_its_last_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let check = |content: &str, token: &str| {
        let path = folder.path().join("token");
        std::fs::write(&path, content).unwrap();
        let env = env_with(&[
            ("FREELINE_HOOK_TOKEN", ""),
            ("FREELINE_HOOK_TOKEN_FILE", path.to_str().unwrap()),
        ]);
        let HookAuth::Bearer(read) = Settings::read(&env).unwrap().hook.auth else {
            panic!("a token was set")
        };
        assert_eq!(read.expose_secret(), token);
    };
    check("from-a-file", "from-a-file");
    check("from-a-file\n", "from-a-file");
    check("from-a-file\r\n", "from-a-file");
}

#[test]
fn a_file_that_gives_no_secret_is_a_problem_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let check = |content: Option<&str>, more: &[(&str, &str)], expected: &str| {
        let path = folder.path().join("password");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let path = path.to_str().unwrap();
        let mut env = vec![("FREELINE_CONNECT_PASSWORD", "")];
        env.extend([("FREELINE_CONNECT_PASSWORD_FILE", path)]);
        env.extend(more);
        let text = problems(&env_with(&env)).replace(path, "PATH");
        let remedy = "Set it in the environment or in .env; see .env.example, section \
                      \"1C-Connect\".";
        assert_eq!(text, format!("1 problem with the settings:\n- {expected}. {remedy}"));
    };
    check(
        None,
        &[],
        "FREELINE_CONNECT_PASSWORD_FILE names \"PATH\", a file that cannot be read: No such file \
         or directory (os error 2)",
    );
    check(
        Some("\n"),
        &[],
        "FREELINE_CONNECT_PASSWORD_FILE names \"PATH\", a file with nothing in it",
    );
    check(
        Some("canary\ncanary"),
        &[],
        "FREELINE_CONNECT_PASSWORD has a value that cannot be used (not shown): expected a \
         password without line breaks",
    );
    check(
        Some("canary"),
        &[("FREELINE_CONNECT_PASSWORD", "canary")],
        "FREELINE_CONNECT_PASSWORD and FREELINE_CONNECT_PASSWORD_FILE are both set: expected one \
         of them",
    );
}

#[test]
fn the_two_addresses_must_differ() {
    let env = env_with(&[("FREELINE_METRICS_LISTEN", "127.0.0.1:8080")]);
    assert!(problems(&env).contains(
        "FREELINE_METRICS_LISTEN is \"127.0.0.1:8080\", as FREELINE_LISTEN is: expected another"
    ));
    let any = [("FREELINE_LISTEN", "127.0.0.1:0"), ("FREELINE_METRICS_LISTEN", "127.0.0.1:0")];
    assert!(Settings::read(&env_with(&any)).is_ok());
}

#[test]
fn debug_never_shows_a_secret() {
    let secrets = [
        ("FREELINE_API_TOKENS", "erp:write:canary-canary-canary"),
        ("FREELINE_DATABASE_URL", "postgres://me:canary@db/freeline"),
        ("FREELINE_CONNECT_PASSWORD", "canary"),
        ("FREELINE_SMTP_URL", "smtps://me:canary@mail.example.com"),
        ("FREELINE_MAIL_FROM", "freeline@example.com"),
    ];
    let bearer = [("FREELINE_HOOK_TOKEN", "canary")];
    let basic = [
        ("FREELINE_HOOK_TOKEN", ""),
        ("FREELINE_HOOK_LOGIN", "me"),
        ("FREELINE_HOOK_PASSWORD", "canary"),
    ];
    for hook in [bearer.as_slice(), basic.as_slice()] {
        let env = env_with(&[secrets.as_slice(), hook].concat());
        let settings = Settings::read(&env).unwrap();
        let shown = format!("{settings:?} {env:?} {}", settings.database);
        assert!(shown.contains("REDACTED"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn the_default_of_every_variable_can_be_read() {
    let defaults = VARIABLES.iter().filter_map(|it| it.default.map(|default| (it.name, default)));
    let required = REQUIRED.iter().copied();
    Settings::read(&required.chain(defaults).collect()).unwrap();
}

#[test]
fn the_example_file_explains_every_variable_in_its_section_and_no_other() {
    let mut found = Vec::new();
    let mut section = "";
    for line in include_str!("../../.env.example").lines() {
        if let Some(title) = line.strip_prefix("# --- ") {
            section = title.trim_end_matches(" ---");
        } else if let Some((name, value)) = line.trim_start_matches('#').split_once('=')
            && name.starts_with("FREELINE_")
        {
            found.push((section.to_owned(), name, value));
        }
    }
    let places = |it: &(String, &'static str, &str)| (it.0.clone(), it.1);
    let expected: Vec<_> = VARIABLES.iter().map(|it| (it.section.to_string(), it.name)).collect();
    assert_eq!(found.iter().map(places).collect::<Vec<_>>(), expected);
    for (variable, (_, name, value)) in VARIABLES.iter().zip(found) {
        if let Some(default) = variable.default {
            assert_eq!(value, default, "{name}");
        }
    }
}

#[test]
fn the_example_file_as_it_is_lacks_only_what_is_required() {
    let lines = dotenvy::from_read_iter(include_str!("../../.env.example").as_bytes());
    let env: Env = lines.map(Result::unwrap).collect();
    assert_eq!(problems(&env), problems(&Env::default()));
}

#[test]
fn the_table_of_settings_has_a_row_for_each() {
    let table = settings_table();
    assert_eq!(table.lines().count(), VARIABLES.len() + 2);
    for row in [
        "| variable | default | meaning |",
        "| `FREELINE_LISTEN` | `127.0.0.1:8080` | address of the callback, the API and the page |",
        "| `FREELINE_HOOK_URL` | required | public callback URL, as it is registered at the platform |",
        "| `FREELINE_HOOK_PASSWORD` |  | the password of that login (secret; or `FREELINE_HOOK_PASSWORD_FILE`) |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row}\n{table}");
    }
    let pipes = |line: &str| line.matches('|').count();
    assert!(table.lines().all(|line| pipes(line) == 4), "{table}");
}

#[test]
fn looking_after_a_silence_cannot_be_switched_off() {
    for value in ["0", "0s", "off", "4m", "25h"] {
        let found = problems(&env_with(&[("FREELINE_LOOK_AFTER_SILENCE", value)]));
        assert!(found.contains("expected a time from 5m to 24h"), "{value}: {found}");
    }
}
