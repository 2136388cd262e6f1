//! Managers, lines and counterparties, as the ERP gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;
use serde_json::Value;

use crate::http::Context;
use crate::http::fields::{
    ERRORS_MAX, Errors, Fields, ID_CHARS, NAME_CHARS, Query, parse_json, path_id,
};
use crate::http::page::{self, Page};
use crate::http::problem::{ERRORS_TOLD, FieldError, Problem};
use crate::store::{Counterparty, Directory, LineEntry, Manager};

/// Longest e-mail address, in characters (RFC 5321, section 4.5.3.1.3).
const EMAIL_CHARS: usize = 254;
/// Most treatments that a line may serve at once.
const CAPACITY_MAX: i64 = 1_000;
/// How far a line's position may be from zero.
const POSITION_MAX: i64 = 1_000_000;

const MANAGER: &[&str] = &["id", "name", "email", "specialist_id", "enabled"];
const LINE: &[&str] = &["line_id", "name", "manager", "capacity", "position", "enabled"];
const COUNTERPARTY: &[&str] = &["id", "name", "inn", "manager", "user_id"];

/// What is wrong with a directory, one line for each mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryErrors(Vec<FieldError>);

impl fmt::Display for DirectoryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(ERRORS_TOLD).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let at = if error.pointer.is_empty() { "(as a whole)" } else { &error.pointer };
            write!(f, "  {at}: {}", error.message)?;
        }
        // Beyond the last that is kept nobody has counted.
        let least = if self.0.len() < ERRORS_MAX { "" } else { "at least " };
        match self.0.len().saturating_sub(ERRORS_TOLD) {
            0 => Ok(()),
            more => write!(f, "\n  and {least}{more} more"),
        }
    }
}

impl std::error::Error for DirectoryErrors {}

/// Reads a whole directory, as `PUT /directory` takes it.
pub fn parse_directory(body: &[u8]) -> Result<Directory, DirectoryErrors> {
    let value = serde_json::from_slice(body).map_err(|error| {
        DirectoryErrors(vec![FieldError::new("", format!("it is not JSON: {error}"))])
    })?;
    read_directory(&value).map_err(DirectoryErrors)
}

fn read_directory(value: &Value) -> Result<Directory, Vec<FieldError>> {
    let errors = Errors::default();
    let directory = directory_of(value, &errors);
    check_unique(value, "managers", "id", &errors);
    check_unique(value, "lines", "line_id", &errors);
    check_unique(value, "counterparties", "id", &errors);
    check_managers(value, "lines", &errors);
    check_managers(value, "counterparties", &errors);
    errors.finish(directory)
}

fn directory_of(value: &Value, errors: &Errors) -> Option<Directory> {
    let fields = Fields::of(value, "", &["managers", "lines", "counterparties"], errors)?;
    let managers = fields.required_list("managers", |entry, at| manager(entry, at, errors));
    let lines = fields.required_list("lines", |entry, at| line(entry, at, errors));
    let counterparties =
        fields.required_list("counterparties", |entry, at| counterparty(entry, at, errors));
    Some(Directory { managers: managers?, lines: lines?, counterparties: counterparties? })
}

/// The texts that stand in one field of the entries of one list, with their places.
fn texts<'a>(value: &'a Value, list: &str, field: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let entries = value.get(list).and_then(Value::as_array);
    entries.into_iter().flatten().enumerate().filter_map(move |(index, entry)| {
        let text = entry.get(field)?.as_str()?;
        // What is empty or too long is wrong anyway, and told where it is read.
        (!text.trim().is_empty() && text.chars().count() <= ID_CHARS).then_some((index, text))
    })
}

fn check_unique(value: &Value, list: &str, field: &str, errors: &Errors) {
    let mut places = BTreeMap::new();
    for (index, id) in texts(value, list, field) {
        let first = *places.entry(id).or_insert(index);
        if first != index {
            let message = format!("\"{id}\" already stands at /{list}/{first}");
            errors.add(format!("/{list}/{index}/{field}"), message);
        }
    }
}

fn check_managers(value: &Value, list: &str, errors: &Errors) {
    if !value.get("managers").is_some_and(Value::is_array) {
        return;
    }
    let known: BTreeSet<&str> = texts(value, "managers", "id").map(|(_, id)| id).collect();
    for (index, id) in texts(value, list, "manager") {
        if !known.contains(id) {
            errors.add(format!("/{list}/{index}/manager"), no_manager(id));
        }
    }
}

fn no_manager(id: &str) -> String {
    format!("the directory has no manager \"{id}\"")
}

fn manager(value: &Value, at: &str, errors: &Errors) -> Option<Manager> {
    let fields = Fields::of(value, at, MANAGER, errors)?;
    let id = fields.required_id("id");
    let name = fields.required_text("name", NAME_CHARS);
    let email = fields.required_text("email", EMAIL_CHARS).filter(|email| {
        let plausible = is_plausible_email(email);
        if !plausible {
            fields.wrong("email", "expected an e-mail address such as name@example.com");
        }
        plausible
    });
    let specialist = fields.id("specialist_id");
    let enabled = fields.flag("enabled", true);
    Some(Manager { id: id?, name: name?, email: email?, specialist, enabled: enabled? })
}

/// Whether somebody may have meant it; whether mail arrives there only the mail server can tell.
fn is_plausible_email(text: &str) -> bool {
    let has_gaps = text.chars().any(|c| c.is_whitespace() || c.is_control());
    match text.split_once('@') {
        Some((name, host)) => {
            !has_gaps && !name.is_empty() && !host.is_empty() && !host.contains('@')
        }
        None => false,
    }
}

fn line(value: &Value, at: &str, errors: &Errors) -> Option<LineEntry> {
    let fields = Fields::of(value, at, LINE, errors)?;
    let line = fields.required_id("line_id");
    let name = fields.required_text("name", NAME_CHARS);
    let manager = fields.required_id("manager");
    let capacity = fields.number("capacity", 1..=CAPACITY_MAX, 1);
    let position = fields.number("position", -POSITION_MAX..=POSITION_MAX, 0);
    let enabled = fields.flag("enabled", true);
    Some(LineEntry {
        line: line?,
        name: name?,
        manager: manager?,
        capacity: capacity?,
        position: position?,
        enabled: enabled?,
    })
}

fn counterparty(value: &Value, at: &str, errors: &Errors) -> Option<Counterparty> {
    let fields = Fields::of(value, at, COUNTERPARTY, errors)?;
    let id = fields.required_id("id");
    let name = fields.required_text("name", NAME_CHARS);
    let inn = fields.text("inn", NAME_CHARS);
    if inn.as_deref().is_some_and(|inn| !is_inn(inn)) {
        fields.wrong("inn", "expected 10 or 12 digits");
    }
    let manager = fields.required_id("manager");
    let user = fields.id("user_id");
    Some(Counterparty { id: id?, name: name?, inn, manager: manager?, user })
}

fn is_inn(text: &str) -> bool {
    matches!(text.len(), 10 | 12) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads one entry whose id stands in the address; in the body it may be left out.
fn entry<T>(
    path: &str,
    id_field: &str,
    body: &[u8],
    read: impl Fn(&Value, &str, &Errors) -> Option<T>,
) -> Result<T, Problem> {
    let mut value = parse_json(body)?;
    let errors = Errors::default();
    if let Value::Object(object) = &mut value {
        let given = object.entry(id_field).or_insert(Value::Null);
        if given.is_null() {
            *given = Value::from(path);
        } else if given.as_str().is_some_and(|given| given != path) {
            errors.add(format!("/{id_field}"), "it is not the id of the address");
        }
    }
    let entry = read(&value, "", &errors);
    errors.finish(entry).map_err(Problem::validation)
}

#[derive(Serialize)]
pub(super) struct ManagerOut {
    id: String,
    name: String,
    email: String,
    specialist_id: Option<String>,
    enabled: bool,
}

impl From<Manager> for ManagerOut {
    fn from(manager: Manager) -> Self {
        Self {
            id: manager.id.to_string(),
            name: manager.name,
            email: manager.email,
            specialist_id: manager.specialist.map(|id| id.to_string()),
            enabled: manager.enabled,
        }
    }
}

#[derive(Serialize)]
pub(super) struct LineEntryOut {
    line_id: String,
    name: String,
    manager: String,
    capacity: i64,
    position: i64,
    enabled: bool,
}

impl From<LineEntry> for LineEntryOut {
    fn from(line: LineEntry) -> Self {
        Self {
            line_id: line.line.to_string(),
            name: line.name,
            manager: line.manager.to_string(),
            capacity: line.capacity,
            position: line.position,
            enabled: line.enabled,
        }
    }
}

#[derive(Serialize)]
pub(super) struct CounterpartyOut {
    id: String,
    name: String,
    inn: Option<String>,
    manager: String,
    user_id: Option<String>,
}

impl From<Counterparty> for CounterpartyOut {
    fn from(counterparty: Counterparty) -> Self {
        Self {
            id: counterparty.id.to_string(),
            name: counterparty.name,
            inn: counterparty.inn,
            manager: counterparty.manager.to_string(),
            user_id: counterparty.user.map(|id| id.to_string()),
        }
    }
}

/// A whole directory; exactly what `PUT /directory` takes.
#[derive(Serialize)]
pub(super) struct DirectoryOut {
    managers: Vec<ManagerOut>,
    lines: Vec<LineEntryOut>,
    counterparties: Vec<CounterpartyOut>,
}

impl From<Directory> for DirectoryOut {
    fn from(directory: Directory) -> Self {
        Self {
            managers: directory.managers.into_iter().map(Into::into).collect(),
            lines: directory.lines.into_iter().map(Into::into).collect(),
            counterparties: directory.counterparties.into_iter().map(Into::into).collect(),
        }
    }
}

/// How many entries a directory has.
#[derive(Serialize)]
pub(super) struct Counts {
    managers: usize,
    lines: usize,
    counterparties: usize,
}

/// `PUT /directory`.
pub(super) async fn replace(
    State(context): State<Context>,
    body: Bytes,
) -> Result<Json<Counts>, Problem> {
    let directory = read_directory(&parse_json(&body)?).map_err(Problem::validation)?;
    context.store.replace_directory(&directory, context.clock.now()).await?;
    Ok(Json(Counts {
        managers: directory.managers.len(),
        lines: directory.lines.len(),
        counterparties: directory.counterparties.len(),
    }))
}

/// `GET /directory`.
pub(super) async fn show(State(context): State<Context>) -> Result<Json<DirectoryOut>, Problem> {
    Ok(Json(context.store.directory().await?.into()))
}

/// `GET /managers`.
pub(super) async fn list_managers(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ManagerOut>>, Problem> {
    let (limit, after) = read_page(query.as_deref())?;
    let managers = context.store.directory().await?.managers;
    let id = |manager: &Manager| manager.id.to_string();
    Ok(Json(Page::of(behind(managers, after.as_deref(), id), limit, after_id(id), Into::into)))
}

/// `GET /counterparties`.
pub(super) async fn list_counterparties(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<CounterpartyOut>>, Problem> {
    let (limit, after) = read_page(query.as_deref())?;
    let counterparties = context.store.directory().await?.counterparties;
    let id = |counterparty: &Counterparty| counterparty.id.to_string();
    let found = behind(counterparties, after.as_deref(), id);
    Ok(Json(Page::of(found, limit, after_id(id), Into::into)))
}

fn read_page(query: Option<&str>) -> Result<(i64, Option<String>), Problem> {
    let query = Query::parse(query, &["limit", "cursor"]);
    let page = (page::limit(&query), page::name_cursor(&query));
    query.finish(page)
}

/// The entries behind this id, by id.
fn behind<T>(mut entries: Vec<T>, after: Option<&str>, id: impl Fn(&T) -> String) -> Vec<T> {
    if let Some(after) = after {
        entries.retain(|entry| id(entry).as_str() > after);
    }
    entries.sort_by_cached_key(id);
    entries
}

fn after_id<T>(id: impl Fn(&T) -> String) -> impl Fn(&T) -> String {
    move |entry| page::after_name(&id(entry))
}

/// `PUT /managers/{id}`.
pub(super) async fn put_manager(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ManagerOut>, Problem> {
    let entry = entry(&id, "id", &body, manager)?;
    context.store.put_manager(&entry, context.clock.now()).await?;
    Ok(Json(entry.into()))
}

/// `GET /managers/{id}`.
pub(super) async fn show_manager(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<ManagerOut>, Problem> {
    let id = path_id(id, "manager")?;
    let managers = context.store.directory().await?.managers;
    let found = managers.into_iter().find(|manager| manager.id == id);
    found.map(|manager| Json(manager.into())).ok_or_else(|| Problem::not_found("manager"))
}

/// `PUT /lines/{line_id}`.
pub(super) async fn put_line(
    State(context): State<Context>,
    Path(line_id): Path<String>,
    body: Bytes,
) -> Result<Json<LineEntryOut>, Problem> {
    let entry = entry(&line_id, "line_id", &body, line)?;
    if !context.store.put_line(&entry, context.clock.now()).await? {
        return Err(Problem::field("/manager", no_manager(entry.manager.as_str())));
    }
    Ok(Json(entry.into()))
}

/// `PUT /counterparties/{id}`.
pub(super) async fn put_counterparty(
    State(context): State<Context>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<CounterpartyOut>, Problem> {
    let entry = entry(&id, "id", &body, counterparty)?;
    if !context.store.put_counterparty(&entry, context.clock.now()).await? {
        return Err(Problem::field("/manager", no_manager(entry.manager.as_str())));
    }
    Ok(Json(entry.into()))
}

/// `GET /counterparties/{id}`.
pub(super) async fn show_counterparty(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<CounterpartyOut>, Problem> {
    let id = path_id(id, "counterparty")?;
    let counterparties = context.store.directory().await?.counterparties;
    let found = counterparties.into_iter().find(|counterparty| counterparty.id == id);
    let found = found.map(|counterparty| Json(counterparty.into()));
    found.ok_or_else(|| Problem::not_found("counterparty"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "managers": [{"id": "m1", "name": "Анна", "email": "anna@example.com"}],
            "lines": [{"line_id": "l1", "name": "Линия 1", "manager": "m1"}],
            "counterparties": [{"id": "c1", "name": "ООО Ромашка", "manager": "m1"}],
        })
    }

    fn wrong(body: &Value) -> String {
        parse_directory(body.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let directory = parse_directory(good().to_string().as_bytes()).unwrap();
        assert_eq!(
            serde_json::to_value(DirectoryOut::from(directory)).unwrap(),
            json!({
                "managers": [{"id": "m1", "name": "Анна", "email": "anna@example.com",
                    "specialist_id": null, "enabled": true}],
                "lines": [{"line_id": "l1", "name": "Линия 1", "manager": "m1", "capacity": 1,
                    "position": 0, "enabled": true}],
                "counterparties": [{"id": "c1", "name": "ООО Ромашка", "inn": null,
                    "manager": "m1", "user_id": null}],
            })
        );
    }

    #[test]
    fn what_is_shown_can_be_put_back() {
        let body = json!({
            "managers": [{"id": "m1", "name": "Анна", "email": "a@b", "specialist_id": "s1",
                "enabled": false}],
            "lines": [{"line_id": "l1", "name": "1", "manager": "m1", "capacity": 1000,
                "position": -1_000_000, "enabled": false}],
            "counterparties": [{"id": "c1", "name": "Р", "inn": "7707083893", "manager": "m1",
                "user_id": "u1"}],
        });
        let directory = parse_directory(body.to_string().as_bytes()).unwrap();
        let shown = serde_json::to_vec(&DirectoryOut::from(directory.clone())).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&shown).unwrap(), body);
        assert_eq!(parse_directory(&shown).unwrap(), directory);
    }

    #[test]
    fn a_body_that_is_no_directory_is_refused_as_a_whole() {
        assert_eq!(
            parse_directory(b"{").unwrap_err().to_string(),
            "  (as a whole): it is not JSON: EOF while parsing an object at line 1 column 1"
        );
        assert_eq!(wrong(&json!([])), "  (as a whole): expected an object, not a list");
        assert_eq!(
            wrong(&json!({"lines": {}, "counterparties": null})),
            "  /managers: it is required\n\
             \x20 /lines: expected a list, not an object\n\
             \x20 /counterparties: it is required"
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let body = json!({
            "managers": [
                {"id": "m1", "name": " ", "email": "anna"},
                {"id": "m1", "name": "Б\u{0}", "email": "a@b@c", "enabled": 1},
            ],
            "lines": [
                {"line_id": "l1", "name": "1", "manager": "m1", "capacity": 0},
                {"line_id": "l1", "name": "2", "manager": "m2", "capacity": 1001},
                {"line_id": "l3\n", "name": "3", "manager": "m1", "position": 1.5, "colour": "red"},
            ],
            "counterparties": [
                {"id": "c1", "name": "А", "inn": "123", "manager": "m2"},
                {"id": "c1", "name": "Б", "inn": "12345678901x"},
                7,
            ],
        });
        let expected = [
            "/managers/0/name: it is required",
            "/managers/0/email: expected an e-mail address such as name@example.com",
            "/managers/1/name: it holds a NUL character, which cannot be kept",
            "/managers/1/email: expected an e-mail address such as name@example.com",
            "/managers/1/enabled: expected true or false, not a number",
            "/lines/0/capacity: expected a whole number from 1 to 1000",
            "/lines/1/capacity: expected a whole number from 1 to 1000",
            "/lines/2/colour: unknown field; expected one of line_id, name, manager, capacity, \
             position, enabled",
            "/lines/2/line_id: it may not hold control characters or begin or end with blanks",
            "/lines/2/position: expected a whole number from -1000000 to 1000000",
            "/counterparties/0/inn: expected 10 or 12 digits",
            "/counterparties/1/inn: expected 10 or 12 digits",
            "/counterparties/1/manager: it is required",
            "/counterparties/2: expected an object, not a number",
            "/managers/1/id: \"m1\" already stands at /managers/0",
            "/lines/1/line_id: \"l1\" already stands at /lines/0",
            "/counterparties/1/id: \"c1\" already stands at /counterparties/0",
            "/lines/1/manager: the directory has no manager \"m2\"",
            "/counterparties/0/manager: the directory has no manager \"m2\"",
        ];
        let told = wrong(&body);
        let told: Vec<&str> = told.lines().map(|line| line.strip_prefix("  ").unwrap()).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn only_so_many_mistakes_are_told() {
        let mut body = good();
        body["managers"] = Value::from(vec![7; ERRORS_TOLD + 3]);
        body["lines"] = json!([]);
        body["counterparties"] = json!([]);
        let told = wrong(&body);
        assert_eq!(told.lines().count(), ERRORS_TOLD + 1);
        assert!(told.ends_with("\n  and 3 more"), "{told}");
    }

    #[test]
    fn of_a_directory_full_of_mistakes_only_so_many_are_kept() {
        let mistakes = |count: usize| {
            let mut body = good();
            body["managers"] = Value::from(vec![7; count]);
            body["lines"] = json!([]);
            body["counterparties"] = json!([]);
            body
        };
        let kept = |count| read_directory(&mistakes(count)).unwrap_err().len();
        assert_eq!(kept(ERRORS_MAX - 1), ERRORS_MAX - 1);
        assert_eq!(kept(ERRORS_MAX), ERRORS_MAX);
        assert_eq!(kept(ERRORS_MAX + 1), ERRORS_MAX);
        let more = ERRORS_MAX - ERRORS_TOLD;
        let told = wrong(&mistakes(50 * ERRORS_MAX));
        assert_eq!(told.lines().count(), ERRORS_TOLD + 1);
        assert!(told.ends_with(&format!("\n  and at least {more} more")), "{told}");
        let refused = Problem::validation(read_directory(&mistakes(ERRORS_MAX)).unwrap_err());
        assert_eq!(refused.errors().len(), ERRORS_TOLD);
    }

    #[test]
    fn an_address_is_plausible_or_it_is_not() {
        for email in ["a@b", "anna.k+1@example.com", "анна@пример.рф"] {
            assert!(is_plausible_email(email), "{email}");
        }
        for email in ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\u{7}", "a@b\u{a0}"] {
            assert!(!is_plausible_email(email), "{email}");
        }
    }

    #[test]
    fn the_id_of_one_entry_stands_in_the_address_and_may_be_repeated_in_the_body() {
        let read = |body: &str| entry("m1", "id", body.as_bytes(), manager);
        let anna = read(r#"{"name": "Анна", "email": "a@b"}"#).unwrap();
        assert_eq!(anna.id.as_str(), "m1");
        assert_eq!(read(r#"{"id": "m1", "name": "Анна", "email": "a@b"}"#).unwrap(), anna);
        assert_eq!(read(r#"{"id": null, "name": "Анна", "email": "a@b"}"#).unwrap(), anna);
        assert_eq!(
            read(r#"{"id": "m2", "name": "Анна"}"#).unwrap_err().errors(),
            [
                FieldError::new("/id", "it is not the id of the address"),
                FieldError::new("/email", "it is required"),
            ]
        );
        assert_eq!(
            read("[]").unwrap_err().errors(),
            [FieldError::new("", "expected an object, not a list")]
        );
    }

    #[test]
    fn an_address_that_cannot_be_an_id_is_refused() {
        let body = r#"{"name": "Анна", "email": "a@b"}"#.as_bytes();
        let refused = entry("m\u{0}1", "id", body, manager).unwrap_err();
        let nul = FieldError::new("/id", "it holds a NUL character, which cannot be kept");
        assert_eq!(refused.errors(), [nul]);
    }

    #[test]
    fn pages_go_by_id() {
        let ids = || ["b", "a", "c"].map(str::to_owned).to_vec();
        let id = |id: &String| id.clone();
        assert_eq!(behind(ids(), None, id), ["a", "b", "c"]);
        assert_eq!(behind(ids(), Some("a"), id), ["b", "c"]);
        let page = Page::of(behind(ids(), None, id), 2, after_id(id), |id| id);
        let page = serde_json::to_value(page).unwrap();
        assert_eq!(page["items"], json!(["a", "b"]));
        let next = format!("cursor={}", page["next_cursor"].as_str().unwrap());
        assert_eq!(read_page(Some(&next)).unwrap(), (100, Some("b".to_owned())));
    }
}
