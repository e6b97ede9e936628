//! The reference page of the contract lists exactly the hooks and capabilities of the code.

#![allow(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use courtyard_plugin_sdk::manifest::{ALWAYS_GRANTED, CAPABILITIES, HookName};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/contract.md");
    fs::read_to_string(path).unwrap()
}

/// Returns the rows of the first table after a heading, each as its cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = page();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// Returns the texts of a cell that are marked as code, without arguments in parentheses.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    let texts = cell.split('`').skip(1).step_by(2);
    texts.map(|text| text.split('(').next().unwrap_or(text))
}

#[test]
fn the_page_has_a_row_for_each_hook_with_its_capability() {
    let rows = table("Hooks");
    let listed: BTreeSet<&str> = rows.iter().flat_map(|row| code(&row[0])).collect();
    let declared = HookName::ALL.into_iter().filter(|hook| hook.is_declared());
    let undeclared = ["start", "migrate", "transact"];
    let expected: BTreeSet<&str> = declared.map(HookName::name).chain(undeclared).collect();
    assert_eq!(listed, expected);
    for hook in HookName::ALL.into_iter().filter(|hook| hook.is_declared()) {
        let row = rows.iter().find(|row| code(&row[0]).any(|name| name == hook.name()));
        assert_eq!(code(&row.unwrap()[5]).next(), hook.capability(), "{hook:?}");
    }
}

#[test]
fn the_page_names_the_hooks_that_take_the_filter_watched() {
    let page = page();
    let row = page.lines().find(|line| line.starts_with("| `watched` |")).unwrap();
    let listed: BTreeSet<&str> = code(row.split('|').nth(2).unwrap()).collect();
    let watched = HookName::ALL.into_iter().filter(|hook| hook.can_be_watched());
    assert_eq!(listed, watched.map(HookName::name).collect());
}

#[test]
fn the_page_has_a_row_for_each_capability() {
    let rows = table("Services");
    let needed: BTreeSet<&str> = rows.iter().flat_map(|row| code(&row[2])).collect();
    let always = rows.iter().filter(|row| row[2] == "always granted");
    let always: BTreeSet<&str> = always.flat_map(|row| code(&row[0])).collect();
    assert_eq!(always, BTreeSet::from(ALWAYS_GRANTED));
    // It has no service.
    let http = ["http"];
    let listed: BTreeSet<&str> = needed.into_iter().chain(always).chain(http).collect();
    assert_eq!(listed, BTreeSet::from(CAPABILITIES));
}
