//! The table of all variables: what is not in it is refused, what is in it is documented.
//!
//! `.env.example`, the README's table and the check for unknown names follow from it, so a
//! setting cannot exist without being explained.

use std::fmt;

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "FREELINE_";

/// What a secret's variable ends with when it names a file.
pub(super) const FILE_SUFFIX: &str = "_FILE";

/// One variable of the environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variable {
    /// Its name, with the prefix.
    pub name: &'static str,
    /// The text that is read when it is not set.
    pub default: Option<&'static str>,
    /// Whether the service cannot start without it.
    pub required: bool,
    /// Whether its value is never shown, and may also come from a file.
    pub secret: bool,
    /// Where `.env.example` explains it.
    pub section: Section,
    /// One line of explanation, in Markdown.
    pub help_en: &'static str,
}

impl Variable {
    const fn new(section: Section, name: &'static str, help_en: &'static str) -> Self {
        Self { name, default: None, required: false, secret: false, section, help_en }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The variable that may name a file with the value, for a secret.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}{FILE_SUFFIX}", self.name))
    }
}

/// A group of variables; a heading of `.env.example`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Where we listen, and who may call the API.
    Http,
    /// Where everything is kept.
    Database,
    /// The callback that the platform sends its events to.
    Hook,
    /// The platform's API.
    Connect,
    /// How a payment is sent to a line.
    Dispatch,
    /// What is told of changes.
    Changes,
    /// The notices.
    Mail,
    /// The log.
    Log,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Database => "Database",
            Self::Hook => "Callback",
            Self::Connect => "1C-Connect",
            Self::Dispatch => "Dispatch",
            Self::Changes => "Changes",
            Self::Mail => "Mail",
            Self::Log => "Log",
        })
    }
}

/// All variables, section by section.
pub const VARIABLES: &[Variable] = &[
    LISTEN,
    METRICS_LISTEN,
    API_TOKENS,
    STOP_GRACE,
    DATABASE_URL,
    HOOK_URL,
    HOOK_TOKEN,
    HOOK_LOGIN,
    HOOK_PASSWORD,
    HOOK_AUTH,
    HOOK_TAKEOVER,
    HOOK_CHECK_EVERY,
    CONNECT_URL,
    CONNECT_LOGIN,
    CONNECT_PASSWORD,
    CONNECT_RATE,
    DISPATCH_MODE,
    DISPATCH_USER_ID,
    DISPATCH_AUTHOR_ID,
    MESSAGE_TEMPLATE,
    IN_DOUBT_AFTER,
    HAND_OVER,
    LOOK_AFTER_SILENCE,
    CHANGES_KEPT,
    PUSH_URL,
    PUSH_SECRET,
    SMTP_URL,
    MAIL_FROM,
    LOG,
    LOG_FORMAT,
];

pub(super) const LISTEN: Variable = Variable::new(
    Section::Http,
    "FREELINE_LISTEN",
    "address of the callback, the API and the page",
)
.or("127.0.0.1:8080");

pub(super) const METRICS_LISTEN: Variable =
    Variable::new(Section::Http, "FREELINE_METRICS_LISTEN", "address of `/metrics`; empty = off")
        .or("127.0.0.1:9464");

pub(super) const API_TOKENS: Variable = Variable::new(
    Section::Http,
    "FREELINE_API_TOKENS",
    "who may call the API: `name:role:secret`, comma separated; role `read` or `write`, secret of \
     at least 16 characters",
)
.required()
.secret();

pub(super) const STOP_GRACE: Variable = Variable::new(
    Section::Http,
    "FREELINE_STOP_GRACE",
    "how long a service that was told to stop still takes requests, so that whoever watches \
     `/readyz` sends no more; from 0s to 1m",
)
.or("1s");

pub(super) const DATABASE_URL: Variable = Variable::new(
    Section::Database,
    "FREELINE_DATABASE_URL",
    "`sqlite:FILE`, or `postgres://user:password@host/database`",
)
.or("sqlite:freeline.db")
.secret();

pub(super) const HOOK_URL: Variable = Variable::new(
    Section::Hook,
    "FREELINE_HOOK_URL",
    "public callback URL, as it is registered at the platform",
)
.required();

pub(super) const HOOK_TOKEN: Variable = Variable::new(
    Section::Hook,
    "FREELINE_HOOK_TOKEN",
    "bearer token that the platform must send with every event; this, or login and password, or \
     `FREELINE_HOOK_AUTH=none`",
)
.secret();

pub(super) const HOOK_LOGIN: Variable = Variable::new(
    Section::Hook,
    "FREELINE_HOOK_LOGIN",
    "login that the platform must send with every event (basic authentication)",
);

pub(super) const HOOK_PASSWORD: Variable =
    Variable::new(Section::Hook, "FREELINE_HOOK_PASSWORD", "the password of that login").secret();

pub(super) const HOOK_AUTH: Variable = Variable::new(
    Section::Hook,
    "FREELINE_HOOK_AUTH",
    "`none` takes events from anybody who knows the URL; dangerous outside a private network",
);

pub(super) const HOOK_TAKEOVER: Variable = Variable::new(
    Section::Hook,
    "FREELINE_HOOK_TAKEOVER",
    "a hook of one of our lines that points at somebody else's address: `no` reports it and \
     leaves it alone, `yes` replaces it",
)
.or("no");

pub(super) const HOOK_CHECK_EVERY: Variable = Variable::new(
    Section::Hook,
    "FREELINE_HOOK_CHECK_EVERY",
    "how often the platform's list of hooks is compared with ours, from 10s to 24h",
)
.or("5m");

pub(super) const CONNECT_URL: Variable =
    Variable::new(Section::Connect, "FREELINE_CONNECT_URL", "address of the platform's API")
        .or("https://push.1c-connect.com");

pub(super) const CONNECT_LOGIN: Variable =
    Variable::new(Section::Connect, "FREELINE_CONNECT_LOGIN", "login of the platform's API user")
        .required();

pub(super) const CONNECT_PASSWORD: Variable =
    Variable::new(Section::Connect, "FREELINE_CONNECT_PASSWORD", "password of that user")
        .required()
        .secret();

pub(super) const CONNECT_RATE: Variable = Variable::new(
    Section::Connect,
    "FREELINE_CONNECT_RATE",
    "budget of calls to the platform: `CALLS/UNIT`, comma separated, all of them hold; unit `s`, \
     `min` or `h`",
)
.or("20/s,600/min");

pub(super) const DISPATCH_MODE: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_DISPATCH_MODE",
    "`bot`: the bot writes on behalf of the specialist; `specialist`: the specialist writes",
)
.or("bot");

pub(super) const DISPATCH_USER_ID: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_DISPATCH_USER_ID",
    "user that treatments are opened for, unless the payment or its counterparty names one",
);

pub(super) const DISPATCH_AUTHOR_ID: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_DISPATCH_AUTHOR_ID",
    "specialist to write as, unless the manager has one",
);

pub(super) const MESSAGE_TEMPLATE: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_MESSAGE_TEMPLATE",
    "file with the template of the message, at most 64 KiB; unset = built in, Russian",
);

pub(super) const IN_DOUBT_AFTER: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_IN_DOUBT_AFTER",
    "how long to wait for the echo of a message before looking at its line, from 100ms to 1h; a look \
     sooner than 25s after the call finds the message but does not prove it absent",
)
.or("30s");

pub(super) const HAND_OVER: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_HAND_OVER",
    "`yes`: a treatment that a payment opened, and one in which the user writes to our bot, is given \
     at once to the specialist of the line's manager, or to any who is free; `no`: the platform \
     does so after 30 s",
)
.or("yes");

pub(super) const LOOK_AFTER_SILENCE: Variable = Variable::new(
    Section::Dispatch,
    "FREELINE_LOOK_AFTER_SILENCE",
    "how long a treatment may be open without any event before its line is looked at, in case its \
     close was lost; again after twice the time, up to once a day; from 5m to 24h",
)
.or("2h");

pub(super) const CHANGES_KEPT: Variable = Variable::new(
    Section::Changes,
    "FREELINE_CHANGES_KEPT",
    "how long changes are kept for `GET /changes`, from 1h to 365d: longer than a reader may be away",
)
.or("30d");

pub(super) const PUSH_URL: Variable = Variable::new(
    Section::Changes,
    "FREELINE_PUSH_URL",
    "where changes are posted to: `https://host/path`, or `https://user:password@host/path` for \
     basic authentication; unset = changes are only read",
)
.secret();

pub(super) const PUSH_SECRET: Variable = Variable::new(
    Section::Changes,
    "FREELINE_PUSH_SECRET",
    "what posted changes are signed with (Standard Webhooks): `whsec_` and base64 of 24 to 64 \
     bytes; two with a space between while one is exchanged for the other",
)
.secret();

pub(super) const SMTP_URL: Variable = Variable::new(
    Section::Mail,
    "FREELINE_SMTP_URL",
    "mail server of the notices: `smtps://user:password@host`, or `smtp://…?tls=required` for \
     STARTTLS; unset = notices are only shown",
)
.secret();

pub(super) const MAIL_FROM: Variable = Variable::new(
    Section::Mail,
    "FREELINE_MAIL_FROM",
    "sender of the notices, such as `Freeline <freeline@example.com>`",
);

pub(super) const LOG: Variable = Variable::new(
    Section::Log,
    "FREELINE_LOG",
    "`error`, `warn`, `info`, `debug`, `trace` or `off`; also by part: `info,freeline::worker=debug`",
)
.or("info");

pub(super) const LOG_FORMAT: Variable =
    Variable::new(Section::Log, "FREELINE_LOG_FORMAT", "`text` for people, `json` for machines")
        .or("text");

/// The table of settings in Markdown, for the README.
pub fn settings_table() -> String {
    let mut table = String::from("| variable | default | meaning |\n| --- | --- | --- |\n");
    for variable in VARIABLES {
        let default = match variable.default {
            Some(default) => format!("`{default}`"),
            None if variable.required => "required".to_owned(),
            None => String::new(),
        };
        let secret = match variable.file_name() {
            Some(file) => format!(" (secret; or `{file}`)"),
            None => String::new(),
        };
        let line = format!("| `{}` | {default} | {}{secret} |\n", variable.name, variable.help_en);
        table.push_str(&line);
    }
    table
}

/// Finds what `name`, which is not in the table, was probably meant to be.
pub(super) fn suggest(name: &str) -> Option<&'static Variable> {
    // Without the prefix, which is always right and would make everything look alike.
    let typed = name.strip_prefix(PREFIX).unwrap_or(name);
    let distance_max = (typed.chars().count() / 5).max(1);
    let near = |variable: &&Variable| {
        let known = variable.name.strip_prefix(PREFIX).unwrap_or(variable.name);
        let distance = strsim::damerau_levenshtein(typed, known);
        // A forgotten last word (`DISPATCH_USER`) is far away in letters, yet clear.
        let cut_short = known.strip_prefix(typed).is_some_and(|rest| rest.starts_with('_'));
        (distance <= distance_max || cut_short).then_some(distance)
    };
    VARIABLES
        .iter()
        .filter_map(|variable| near(&variable).map(|distance| (distance, variable)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, variable)| variable)
}
