//! The documented error codes are those in the source.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::ALL;

const DOCUMENT: &str = include_str!("../../../../docs/plugins/users.md");

/// Returns the source files without tests and without the list of the codes.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "error.rs" {
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn every_code_is_documented_and_used_and_none_is_a_literal() {
    let documented: Vec<&str> = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with("| code | retry | when |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    assert_eq!(documented, ALL);
    let mut used = BTreeSet::from(["invalid_configuration".to_owned()]);
    for (name, source) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for (at, _) in source.match_indices("Error::new(") {
            let code = source[at + "Error::new(".len()..].trim_start();
            assert!(!code.starts_with('"'), "{name}: {}", &code[..40]);
        }
        for (at, _) in source.match_indices("error::") {
            let rest = &source[at + "error::".len()..];
            let constant = rest
                .split(|char: char| !char.is_ascii_uppercase() && char != '_')
                .next();
            used.extend(constant.filter(|name| !name.is_empty()).map(str::to_lowercase));
        }
    }
    assert_eq!(used, ALL.iter().map(|code| (*code).to_owned()).collect::<BTreeSet<_>>());
}

#[test]
fn codes_keep_to_the_vocabulary() {
    const WORDS: [&str; 7] = [
        "unauthenticated",
        "forbidden",
        "conflict",
        "rate_limited",
        "busy",
        "unavailable",
        "internal",
    ];
    const PREFIXES: [&str; 5] = ["unknown_", "invalid_", "conflict_", "expired_", "limit_"];
    for code in ALL {
        let is_known = WORDS.contains(code) || PREFIXES.iter().any(|prefix| code.starts_with(prefix));
        assert!(is_known, "{code}");
    }
}
