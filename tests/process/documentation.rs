//! The pages of docs: links and anchors resolve, and what repeats code is equal to it.
//!
//! `COURTYARD_BLESS=1` writes what a page repeats, instead of comparing it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    let path = workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the Markdown files of a folder and of those inside.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// Returns the lines of a page outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Returns the anchors that a page has: its headings as GitHub and mdBook name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = prose(text).filter_map(|line| line.strip_prefix('#'));
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let repeated = seen.entry(slug.clone()).or_default();
        anchors.insert(if *repeated == 0 {
            slug
        } else {
            format!("{slug}-{repeated}")
        });
        *repeated += 1;
    }
    anchors
}

/// Returns the targets of the links of a line, without those in code.
fn links(line: &str) -> Vec<String> {
    let without_code: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
    let ends = without_code.split("](").skip(1);
    ends.filter_map(|rest| rest.split(')').next().map(str::to_owned))
        .collect()
}

#[test]
fn every_relative_link_and_anchor_resolves() {
    let root = workspace();
    let mut files = pages(&root.join("docs"));
    for page in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        files.push(root.join(page));
    }
    let mut broken = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for link in prose(&text).flat_map(links) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap().join(path)
            };
            let is_there = target.exists()
                && (anchor.is_empty() || anchors(&std::fs::read_to_string(&target).unwrap()).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {link}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn the_summary_lists_every_page() {
    let root = workspace().join("docs");
    let summary = read("docs/SUMMARY.md");
    let listed: BTreeSet<PathBuf> = prose(&summary).flat_map(links).map(|link| root.join(link)).collect();
    let pages: BTreeSet<PathBuf> = pages(&root)
        .into_iter()
        .filter(|page| !page.ends_with("SUMMARY.md"))
        .collect();
    let missing: Vec<_> = pages.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md lacks {missing:?}");
}

/// Compares the blocks of a page that repeat a file with that file, or writes them.
fn hold_blocks(page: &str, code_of: impl Fn(&str) -> String) {
    let text = read(page);
    let mut written = String::new();
    let mut rest = text.as_str();
    while let Some((before, block)) = rest.split_once(" file=") {
        let (file, block) = block.split_once('\n').unwrap();
        let (repeated, after) = block.split_once("```").unwrap();
        let code = code_of(file);
        if std::env::var_os("COURTYARD_BLESS").is_none() {
            assert_eq!(repeated, code, "{page} repeats {file}; COURTYARD_BLESS=1 writes it");
        }
        written += &format!("{before} file={file}\n{code}```");
        rest = after;
    }
    if std::env::var_os("COURTYARD_BLESS").is_some() {
        std::fs::write(workspace().join(page), written + rest).unwrap();
    }
}

#[test]
fn the_cookbook_shows_the_code_that_is_tested() {
    hold_blocks("docs/guides/cookbook.md", |file| {
        const TESTS: &str = "#[cfg(test)]\n";
        let (path, is_tests) = file.split_once('#').map_or((file, false), |(path, _)| (path, true));
        let code = read(path);
        let (plugin, tests) = code.split_once(TESTS).unwrap();
        if is_tests {
            format!("{TESTS}{tests}")
        } else {
            format!("{}\n", plugin.trim_end())
        }
    });
    let page = read("docs/guides/cookbook.md");
    let modules = read("examples/cookbook/src/lib.rs");
    for module in modules.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let file = format!("src/{}.rs\n", module.trim_end_matches(';'));
        assert!(page.contains(&file), "the cookbook does not show {file}");
    }
}

#[test]
fn the_reference_lists_every_key_of_the_configuration() {
    let page = read("docs/reference/configuration.md") + &read("docs/reference/contract.md");
    let config = read("config/courtyard.toml");
    // Keys of `[plugins.config]` and names of secrets belong to the plugins.
    let mut is_plugins_own = false;
    for line in config.lines() {
        let text = line.trim_start_matches("# ").trim_start_matches('#');
        if let Some(table) = text.strip_prefix('[') {
            is_plugins_own = table.starts_with("plugins.config") || table.starts_with("plugins.secrets");
        }
        let Some((key, _)) = text.split_once(" = ") else {
            continue;
        };
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_key && !is_plugins_own {
            assert!(page.contains(&format!("`{key}`")), "the reference lacks {key}: {line}");
        }
    }
}

/// Returns the interfaces of the contract: name, documentation and text.
fn interfaces() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for file in ["types", "hooks", "services"] {
        let text = read(&format!("plugin-sdk/wit/{file}.wit"));
        let (mut documentation, mut body) = (Vec::new(), None::<(String, Vec<&str>)>);
        for line in text.lines() {
            match &mut body {
                None => {
                    if let Some(sentence) = line.strip_prefix("/// ") {
                        documentation.push(sentence);
                    } else if let Some(name) = line.strip_prefix("interface ") {
                        body = Some((name.trim_end_matches(" {").to_owned(), Vec::new()));
                    }
                }
                Some((name, lines)) if line == "}" => {
                    let lines: Vec<&str> = lines
                        .iter()
                        .map(|line| line.strip_prefix("    ").unwrap_or(line))
                        .collect();
                    found.push((name.clone(), documentation.join(" "), lines.join("\n")));
                    documentation.clear();
                    body = None;
                }
                Some((_, lines)) => lines.push(line),
            }
        }
    }
    found
}

const WIT: &str = "docs/reference/wit.md";

/// Returns the blocks of the page by interface, without documentation.
fn signatures(page: &str) -> BTreeMap<String, Vec<String>> {
    let sections = page.split("\n## ").skip(1);
    let signatures = sections.map(|section| {
        let code = section.split("```").nth(1).unwrap();
        let lines = code
            .lines()
            .skip(1)
            .filter(|line| !line.trim_start().starts_with("///"));
        let lines = lines
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect();
        (section.lines().next().unwrap().to_owned(), lines)
    });
    signatures.collect()
}

/// Functions and types are compared; sentences may lag behind until the page is written anew.
#[test]
fn the_page_of_the_contract_has_its_functions_and_types() {
    let mut page =
        "# WIT\n\nAll interfaces of the [contract](contract.md), as `plugin-sdk/wit` declares them. This page is \
                    generated: `COURTYARD_BLESS=1 cargo nextest run -p courtyard-tests -E 'test(documentation::)'`.\n"
            .to_owned();
    for (name, documentation, body) in interfaces() {
        page += &format!("\n## {name}\n\n{documentation}\n\n```wit\n{body}\n```\n");
    }
    if std::env::var_os("COURTYARD_BLESS").is_some() {
        std::fs::write(workspace().join(WIT), &page).unwrap();
    }
    assert!(page.len() > 10_000, "the interfaces are not found");
    assert_eq!(
        signatures(&read(WIT)),
        signatures(&page),
        "COURTYARD_BLESS=1 writes {WIT}"
    );
}

#[test]
fn files_that_internals_name_exist() {
    const FOLDERS: [&str; 8] = [
        "client",
        "config",
        "core",
        "examples",
        "plugin-sdk",
        "plugins",
        "tests",
        "xtask",
    ];
    let mut missing = Vec::new();
    for page in pages(&workspace().join("docs/internals")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for code in prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let is_path = FOLDERS.iter().any(|folder| code.starts_with(&format!("{folder}/")));
            if is_path && !code.contains(['*', ' ', ':']) && !workspace().join(code).exists() {
                missing.push(format!("{}: {code}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_reference_lists_every_metric() {
    let page = read("docs/reference/metrics.md");
    let mut found = 0;
    for file in ["admin/metrics.rs", "metrics.rs", "store/embedded/metrics.rs"] {
        let code = read(&format!("core/src/{file}"));
        for text in code.split("\"courtyard_").skip(1) {
            let name = text.split('"').next().unwrap();
            // Counters are named without their suffix in the code.
            let listed = ["", "_total"].map(|suffix| page.contains(&format!("`courtyard_{name}{suffix}`")));
            assert!(
                listed.contains(&true),
                "docs/reference/metrics.md lacks courtyard_{name}"
            );
            found += 1;
        }
    }
    assert!(found >= 20, "the metrics are not found");
}
