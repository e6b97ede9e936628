//! The tables of error codes in the pages of the plugins, compared with the codes in their source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Plugins whose page has a table of codes.
const PLUGINS: [&str; 3] = ["files", "stickers", "translation"];

/// Returns the source files of a folder, without tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("tests" | "samples") => {}
            _ if path.is_dir() => found.extend(sources(&path)),
            _ if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    found
}

/// Returns the first arguments of all calls of `Error::new` that are literals.
fn codes_of(source: &str) -> impl Iterator<Item = String> {
    source.split("Error::new(").skip(1).filter_map(|call| {
        let (code, _) = call.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(code.to_owned())
    })
}

/// Returns the codes in the table under `## Errors`.
fn documented(page: &str) -> BTreeSet<String> {
    let (_, section) = page.split_once("\n## Errors\n").unwrap();
    let table = section.split("\n## ").next().unwrap();
    table
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect()
}

#[test]
fn every_error_code_of_a_plugin_is_in_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for plugin in PLUGINS {
        let sources = sources(&root.join("plugins").join(plugin).join("src"));
        let texts = sources.iter().map(|path| fs::read_to_string(path).unwrap());
        let codes: BTreeSet<String> = texts.flat_map(|text| codes_of(&text).collect::<Vec<_>>()).collect();
        let page = fs::read_to_string(root.join(format!("docs/plugins/{plugin}.md"))).unwrap();
        assert_eq!(documented(&page), codes, "{plugin}");
    }
}

#[test]
fn error_codes_have_the_forms_of_the_vocabulary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let words = [
        "unauthenticated",
        "forbidden",
        "conflict",
        "rate_limited",
        "busy",
        "unavailable",
        "internal",
    ];
    for plugin in PLUGINS {
        for path in sources(&root.join("plugins").join(plugin).join("src")) {
            for code in codes_of(&fs::read_to_string(&path).unwrap()) {
                let has_prefix = ["unknown_", "invalid_", "expired_", "limit_"]
                    .iter()
                    .any(|prefix| code.starts_with(prefix));
                assert!(has_prefix || words.contains(&&*code), "{}: {code}", path.display());
            }
        }
    }
}
