//! The house rules that no compiler and no lint checks: who may import whom, and that what is
//! documented is complete.
//!
//! Every rule reads the sources as text. [`code_of`] blanks comments and literals out first, so
//! that a rule about code never stumbles over a sentence.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use freeline::config::{VARIABLES, settings_table};

/// A file of the repository.
struct File {
    /// Its path from the root of the repository, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder of the repository, or the one file.
fn files(place: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(place)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(file(&path));
        }
    }
    assert!(!found.is_empty(), "{place} is empty");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn file(path: &PathBuf) -> File {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let path = path.strip_prefix(root()).unwrap();
    File { path: path.to_str().unwrap().replace('\\', "/"), text }
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|given| given == extension)
    }
}

fn rust_files(place: &str) -> Vec<File> {
    files(place).into_iter().filter(|file| file.is("rs")).collect()
}

/// What people wrote, without what was built: sources, tests, scripts, documents.
fn everything() -> Vec<File> {
    let places = ["src", "tests", "migrations", "deploy", ".ci", "README.md", ".env.example"];
    places.iter().flat_map(|place| files(place)).collect()
}

/// A module of `src`: its folder and the file beside it.
fn module(name: &str) -> Vec<File> {
    let (folder, file) = (format!("src/{name}"), format!("src/{name}.rs"));
    let places = [folder, file].into_iter().filter(|place| root().join(place).exists());
    let found: Vec<File> = places.flat_map(|place| rust_files(&place)).collect();
    assert!(!found.is_empty(), "there is no module {name}");
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of some code: names, keywords, numbers.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// The modules of this crate that some code names: what follows `crate::`, also in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, marker) in code.match_indices("crate::") {
        let (before, rest) = code.split_at(at);
        if before.chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = rest.strip_prefix(marker).unwrap_or(rest);
        match rest.strip_prefix('{') {
            // `crate::{a::B, c}` is not how this code is written: whoever writes it so is told.
            Some(_) => panic!("write one `use crate::…` for each module: {rest:.60}"),
            None => found.extend(words(rest).next().map(ToOwned::to_owned)),
        }
    }
    found
}

/// The same code with blanks in place of comments and of what literals hold; lines stay lines.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at..] {
            ['/', '/', ..] => end_of_line(&chars, at),
            ['/', '*', ..] => end_of_comment(&chars, at),
            ['"', ..] => end_of_text(&chars, at + 1),
            ['r', '"' | '#', ..] if at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b' => {
                end_of_raw_text(&chars, at)
            }
            ['\'', '\\', ..] => end_of_char(&chars, at),
            ['\'', _, '\'', ..] => at + 3,
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_text(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`; answers `at` itself for `r#name`.
fn end_of_raw_text(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let begin = at + hashes + 2;
    let found = chars[begin..].windows(closing.len()).position(|window| window == closing);
    found.map_or(chars.len(), |length| begin + length + closing.len())
}

fn end_of_char(chars: &[char], at: usize) -> usize {
    let rest = chars[at + 3..].iter().position(|c| *c == '\'');
    rest.map_or(chars.len(), |length| at + 3 + length + 1)
}

/// Every complaint at once, or silence.
fn check(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn code_is_told_from_comments_and_texts() {
    let blank = |text: &str| code_of(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(blank("let a = \"ж \\\" b\"; // c\nd"), "let a = ; d");
    assert_eq!(blank("a /* b /* c */ d */ e"), "a e");
    assert_eq!(blank("x(r#\"a \" b\"#, r\"c\\\", br\"d\")"), "x( , , b )");
    assert_eq!(blank("f::<'a>('b', '\\'', '\\u{1f}', '\"')"), "f::<'a>( , , , )");
    assert_eq!(blank("r#type + for_r"), "r#type + for_r");
    assert_eq!(imports("use crate::a::b; my_crate::c; x(crate::d)").len(), 2);
}

#[test]
fn the_core_imports_nothing_but_itself_std_jiff_and_thiserror() {
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let names = dependencies.lines().filter_map(|line| line.split_once(" = "));
    let foreign: Vec<String> = names
        .map(|(name, _)| name.replace('-', "_"))
        .filter(|name| !["jiff", "thiserror"].contains(&name.as_str()))
        .collect();
    assert!(foreign.len() > 20, "{foreign:?}");
    let mut complaints = Vec::new();
    for File { path, text } in module("core") {
        let code = code_of(&text);
        for name in imports(&code).iter().filter(|name| *name != "core") {
            complaints.push(format!("{path} imports crate::{name}: the core stands alone"));
        }
        for name in foreign.iter().filter(|name| names_crate(&code, name)) {
            complaints.push(format!("{path} uses the crate {name}: the core is std and rules"));
        }
        let banned = ["async", "await", "HashMap", "HashSet", "tokio", "sqlx", "SystemTime"];
        for word in words(&code).filter(|word| banned.contains(word)) {
            complaints
                .push(format!("{path} says {word}: the core waits for nothing, in any order"));
        }
    }
    check(&complaints);
}

/// Whether a crate of this name is used: `name::`, not as part of a longer path.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        code.split_at(at).0.chars().next_back().is_none_or(|c| !is_word(c) && c != ':')
    })
}

/// Which module must not import which others, and why.
const DIRECTIONS: &[(&str, &[&str], &str)] = &[
    (
        "http",
        &["worker", "app", "cli", "demo", "sandbox", "mail"],
        "it meets the workers in the store",
    ),
    ("worker", &["http", "web", "app", "cli", "demo", "sandbox"], "it meets HTTP in the store"),
    (
        "store",
        &["http", "web", "worker", "connect", "mail", "app", "cli", "demo", "sandbox", "config"],
        "it knows tables and the core",
    ),
    (
        "connect",
        &["store", "http", "web", "worker", "mail", "app", "cli", "demo", "sandbox", "config"],
        "it knows the platform and nobody behind us",
    ),
    (
        "mail",
        &["store", "http", "web", "worker", "connect", "app", "cli", "demo", "sandbox", "config"],
        "it knows mail servers and nobody behind us",
    ),
    (
        "feed",
        &["http", "web", "worker", "connect", "mail", "app", "cli", "demo", "sandbox", "config"],
        "it knows changes and their receiver",
    ),
    (
        "sandbox",
        &["store", "http", "web", "worker", "mail", "app", "cli", "demo", "config"],
        "it stands for the platform, so it must not share our side of the rules",
    ),
    (
        "config",
        &["store", "http", "web", "worker", "mail", "app", "cli", "demo", "sandbox"],
        "it reads values, others use them",
    ),
    ("app", &["cli", "demo", "sandbox"], "it is put together the same way for everybody"),
];

#[test]
fn dependencies_point_one_way() {
    let mut complaints = Vec::new();
    for (from, forbidden, why) in DIRECTIONS {
        for File { path, text } in module(from) {
            let found = imports(&code_of(&text));
            for to in found.iter().filter(|name| forbidden.contains(&name.as_str())) {
                complaints.push(format!("{path} imports crate::{to}, and {from} may not: {why}"));
            }
        }
    }
    check(&complaints);
}

#[test]
fn every_module_stands_in_the_code_map() {
    let text = read("src/lib.rs");
    let doc: String = text.lines().filter(|line| line.starts_with("//!")).collect();
    let modules = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing = modules.filter(|name| !doc.contains(&format!("[`{name}`")));
    check(
        &missing.map(|name| format!("the code map in src/lib.rs lacks {name}")).collect::<Vec<_>>(),
    );
}

#[test]
fn both_engines_have_the_same_migrations() {
    let names = |engine: &str| -> Vec<String> {
        let folder = format!("migrations/{engine}");
        files(&folder).iter().map(|file| file.path.replace(&folder, "")).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

/// Names of our variables in a text, without the suffix of those that name a file.
fn variables_in(text: &str) -> BTreeSet<&str> {
    let known = |name: &str| VARIABLES.iter().any(|variable| variable.name == name);
    words(text)
        .filter(|word| word.len() > "FREELINE_".len() && word.starts_with("FREELINE_"))
        .map(|word| word.strip_suffix("_FILE").filter(|name| known(name)).unwrap_or(word))
        .collect()
}

#[test]
fn every_setting_is_explained_and_nothing_else_is() {
    let known: BTreeSet<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    let mut complaints = Vec::new();
    for path in [".env.example", "README.md"] {
        let text = read(path);
        let named = variables_in(&text);
        complaints.extend(known.difference(&named).map(|name| format!("{path} lacks {name}")));
        complaints
            .extend(named.difference(&known).map(|name| format!("{path} names an unknown {name}")));
    }
    let example = read(".env.example");
    let is_line = |name: &&&str| {
        example.lines().any(|line| {
            let line = line.strip_prefix('#').unwrap_or(line).trim_start();
            line.strip_prefix(**name).is_some_and(|rest| rest.starts_with('='))
        })
    };
    let without = known.iter().filter(|name| !is_line(name));
    complaints.extend(without.map(|name| format!(".env.example has no line {name}=")));
    check(&complaints);
}

#[test]
fn the_readme_has_the_table_of_settings_as_it_is() {
    let readme = read("README.md");
    let (_, behind) = readme.split_once("<!-- settings -->\n").expect("README.md lacks the marker");
    let (table, _) = behind.split_once("<!-- /settings -->").expect("README.md lacks the end mark");
    let expected = settings_table();
    assert!(table == expected, "put this between the markers of README.md:\n\n{expected}");
}

#[test]
fn every_problem_is_documented() {
    let source = read("src/http/problem.rs");
    let (_, table) = source.split_once("\nproblem_codes! {\n").expect("the table of problems");
    let (table, _) = table.split_once("\n}\n").expect("its end");
    let codes: Vec<&str> =
        table.split(" = \"").skip(1).filter_map(|s| s.split('"').next()).collect();
    assert!(codes.len() > 10, "{codes:?}");
    let readme = read("README.md");
    let has_row =
        |code: &&str| readme.lines().any(|line| line.starts_with(&format!("| `{code}` |")));
    let missing = codes.iter().filter(|code| !has_row(code));
    check(&missing.map(|code| format!("README.md has no row for {code}")).collect::<Vec<_>>());
}

#[test]
fn every_call_of_the_api_is_documented() {
    let routes = read("src/http/routes.rs");
    let (_, api) = routes.split_once("fn api(").expect("the routes of the API");
    let api: String = api.split("\n}\n").next().unwrap().split_whitespace().collect();
    let paths: Vec<&str> =
        api.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(paths.len() > 15, "{paths:?}");
    let readme = read("README.md");
    let missing = paths.iter().filter(|path| !readme.contains(&format!("`{path}`")));
    check(&missing.map(|path| format!("README.md does not list {path}")).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_for_later() {
    // In halves, so that this file does not find itself.
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore"), concat!("to", "do!(")];
    let mut complaints = Vec::new();
    for File { path, text } in everything() {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                complaints.push(format!("{path}:{number} has {mark}: do it or take it out"));
            }
        }
    }
    check(&complaints);
}

#[test]
fn names_are_written_in_latin_letters() {
    let is_cyrillic = |c: char| ('\u{0400}'..='\u{052f}').contains(&c);
    let mut complaints = Vec::new();
    for File { path, text } in ["src", "tests"].iter().flat_map(|place| rust_files(place)) {
        for (number, line) in (1..).zip(code_of(&text).lines()) {
            if line.contains(is_cyrillic) {
                complaints.push(format!("{path}:{number} has a Cyrillic letter outside a text"));
            }
        }
    }
    check(&complaints);
}

#[test]
fn a_document_has_one_title() {
    let documents = everything().into_iter().filter(|file| file.is("md"));
    let mut complaints = Vec::new();
    for File { path, text } in documents {
        let mut in_code = false;
        let titles = text.lines().filter(|line| {
            in_code ^= line.starts_with("```");
            !in_code && line.starts_with("# ")
        });
        let count = titles.count();
        if count != 1 {
            complaints.push(format!("{path} has {count} titles of the first level, not one"));
        }
    }
    check(&complaints);
}
