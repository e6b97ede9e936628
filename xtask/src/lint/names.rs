//! Type names with several meanings in one crate, and function names without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Finding, Source};

/// Names of functions that say nothing of what the function does.
const AVOIDED_FUNCTIONS: [&str; 4] = ["asked", "said", "tell", "told"];

/// Returns each type whose name another file of the same crate also defines, and each function with an
/// avoided name. Tests are left out: their helpers are local.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut types: BTreeMap<(PathBuf, String), Vec<(PathBuf, usize)>> = BTreeMap::new();
    let mut findings = Vec::new();
    for source in sources {
        let Some(package) = package(&source.path) else {
            continue;
        };
        for (name, line) in defined(&source.text) {
            let key = (package.to_owned(), name.to_owned());
            types.entry(key).or_default().push((source.path.clone(), line));
        }
        findings.extend(avoided_functions(source));
    }
    for ((_, name), places) in types {
        let (first, _) = &places[0];
        for (path, line) in places.iter().filter(|(path, _)| path != first) {
            findings.push(Finding {
                path: path.clone(),
                line: *line,
                text: format!(
                    "a type {name} also exists in {}: one name, one meaning",
                    first.display()
                ),
            });
        }
    }
    findings
}

/// Returns each function of a file whose name is avoided.
fn avoided_functions(source: &Source) -> impl Iterator<Item = Finding> {
    let tests = |line: &&str| *line == "#[cfg(test)]" || *line == "mod tests {";
    let lines = source.text.lines().take_while(move |line| !tests(line)).enumerate();
    lines.filter_map(|(index, line)| {
        let (_, rest) = line.split_once("fn ")?;
        let name = rest.split(['(', '<']).next()?;
        AVOIDED_FUNCTIONS.contains(&name).then(|| Finding {
            path: source.path.clone(),
            line: index + 1,
            text: format!("a function {name}: name what it does (notify, print, convert …)"),
        })
    })
}

/// Returns the package of a source file that isn't a test: the folder above `src`.
fn package(path: &Path) -> Option<&Path> {
    if path.extension()? != "rs" || path.components().any(|part| part.as_os_str() == "tests") {
        return None;
    }
    if path.file_stem()?.to_str()?.ends_with("tests") {
        return None;
    }
    path.ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "src"))?
        .parent()
}

/// Returns the types that a file defines outside its tests, with their lines.
fn defined(text: &str) -> Vec<(&str, usize)> {
    let mut types = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line == "mod tests {" || line == "#[cfg(test)]" {
            break;
        }
        let line = line
            .strip_prefix("pub(crate) ")
            .or_else(|| line.strip_prefix("pub(super) "))
            .unwrap_or(line);
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let rest = ["struct ", "enum ", "trait ", "union "]
            .iter()
            .find_map(|keyword| line.strip_prefix(keyword));
        if let Some(rest) = rest {
            let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
            types.push((&rest[..end.unwrap_or(rest.len())], index + 1));
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_name_in_two_files_of_a_crate_is_found() {
        let findings = check(&[
            source("core/src/a.rs", "pub(crate) struct Record<T> {\n}\n"),
            source("core/src/b/c.rs", "\nenum Record {}\n"),
        ]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            (findings[0].path.to_str(), findings[0].line),
            (Some("core/src/b/c.rs"), 2)
        );
    }

    #[test]
    fn a_function_with_an_avoided_name_is_found() {
        let findings = check(&[source(
            "core/src/a.rs",
            "impl A {\n    pub fn tell(&self) {}\n    fn teller() {}\n}\n",
        )]);
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn other_crates_and_tests_may_use_the_name() {
        let findings = check(&[
            source("core/src/a.rs", "struct Record;\n#[cfg(test)]\nmod tests {\n"),
            source("plugins/users/src/b.rs", "struct Record;\n"),
            source("core/src/b.rs", "#[cfg(test)]\nmod tests {\nstruct Record;\n"),
            source("core/src/b/tests.rs", "struct Record;\n"),
        ]);
        assert_eq!(findings, []);
    }
}
