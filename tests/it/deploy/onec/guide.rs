//! The guide says what is so, and its examples are of the language.

use std::collections::BTreeMap;

use tree_sitter::Node;

use super::super::bsl::{MODULE, all, mistakes, parse, parts};
use super::{SOURCE, alone};

const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/1c/README.ru.md"));

fn words<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    text.get(node.byte_range()).expect("a node is within its text")
}

/// Exported procedures and functions: how many parameters each must and may be given.
fn exported() -> BTreeMap<String, (usize, usize)> {
    let tree = parse(SOURCE);
    let mut found = BTreeMap::new();
    for node in all(tree.root_node()) {
        if node.child_by_field_name("export").is_none() {
            continue;
        }
        let name = words(node.child_by_field_name("name").expect("a name"), SOURCE);
        let parameters = parts(node.child_by_field_name("parameters").expect("parameters"));
        let must = parameters.iter().filter(|one| one.child_by_field_name("def").is_none());
        found.insert(name.to_owned(), (must.count(), parameters.len()));
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The examples of the guide.
fn examples() -> Vec<&'static str> {
    let blocks = GUIDE.split("```bsl\n").skip(1);
    let blocks: Vec<&str> =
        blocks.map(|block| block.split_once("```").expect("the block ends").0).collect();
    assert!(blocks.len() > 3, "{}", blocks.len());
    blocks
}

#[test]
fn the_module_and_the_examples_are_of_the_language() {
    for text in std::iter::once(SOURCE).chain(examples()) {
        assert_eq!(mistakes(&parse(text)), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_is_not_of_the_language_is_noticed() {
    for broken in ["Если А Тогда\nБ = 1;", "А = (1;", "Функция А(\nКонецФункции", "А == 1;"]
    {
        assert_ne!(mistakes(&parse(broken)), Vec::<String>::new(), "{broken}");
    }
}

#[test]
fn the_examples_call_what_the_module_exports_with_what_it_takes() {
    let exported = exported();
    let mut calls = 0;
    for text in examples() {
        let tree = parse(text);
        for node in all(tree.root_node()) {
            let is_call = matches!(node.kind(), "call_expression" | "access");
            let steps = parts(node);
            let [base, call] = steps.as_slice() else { continue };
            if !is_call || words(*base, text) != MODULE || call.kind() != "method_call" {
                continue;
            }
            let name = words(call.child_by_field_name("name").expect("a name"), text);
            let given = call.child_by_field_name("arguments").expect("arguments");
            let mut cursor = given.walk();
            let commas = given
                .children(&mut cursor)
                .filter(|part| matches!(part.kind(), "," | "omitted_argument"))
                .count();
            let given = if given.child_count() == 2 { 0 } else { commas + 1 };
            let (must, may) = exported.get(name).unwrap_or_else(|| panic!("there is no {name}"));
            assert!((*must..=*may).contains(&given), "{name} with {given}");
            calls += 1;
        }
    }
    assert!(calls > 10, "{calls} calls were found");
}

#[test]
fn the_guide_explains_all_that_is_exported() {
    let rows: Vec<&str> = GUIDE.lines().filter(|line| line.starts_with("| `")).collect();
    for (name, (_, may)) in exported() {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}(")));
        let row = row.unwrap_or_else(|| panic!("the guide has no row for {name}"));
        let signature = row.split('`').nth(1).expect("a signature");
        let inside = signature.split_once('(').expect("a bracket").1.trim_end_matches(')');
        let named = inside.split(", ").filter(|one| !one.is_empty()).count();
        assert_eq!(named, may, "{name} takes {may} parameters, the guide says {signature}");
    }
}

#[test]
fn every_refusal_has_a_sentence_in_the_module_and_a_row_in_the_guide() {
    let problems = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/problem.rs"));
    let (_, table) = problems.split_once("\nproblem_codes! {\n").expect("the table of problems");
    let (table, _) = table.split_once("\n}\n").expect("its end");
    let codes = table.split(" = \"").skip(1).filter_map(|rest| rest.split('"').next());
    let codes: Vec<&str> = codes.chain(["network", "unexpected_answer"]).collect();
    assert!(codes.len() > 15, "{codes:?}");
    let sentence = |code: &str| {
        let told = alone(&[], &format!("Возврат FreelineКлиент.СообщениеПоКоду(\"{code}\");"));
        told.json().as_str().expect("a sentence").to_owned()
    };
    let unknown = sentence("of_a_later_version");
    for code in codes {
        assert_ne!(sentence(code), unknown, "{code} has no sentence");
        assert!(GUIDE.contains(&format!("| `{code}` |")), "{code} has no row in the guide");
    }
}
