//! Avoided wording, by the list in a file.

use super::{Finding, Source};

/// The list of avoided forms, from the root.
pub(super) const LIST: &str = "xtask/wording.txt";

/// Endings of files whose wording is ours.
const CHECKED: [&str; 13] = [
    "rs", "md", "js", "mjs", "ts", "wit", "toml", "html", "css", "py", "yml", "service", "template",
];

/// Returns each avoided form in the files. A form also matches across a line break and the comment marks behind it.
pub(super) fn check(sources: &[Source], list: &str) -> Vec<Finding> {
    let forms: Vec<(Vec<String>, &str)> = list
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once("=>"))
        .map(|(form, better)| (form.split_whitespace().map(str::to_lowercase).collect(), better.trim()))
        .collect();
    let mut findings = Vec::new();
    for source in sources {
        let ending = source.path.extension().unwrap_or_default().to_string_lossy();
        let foreign = source.path.components().any(|part| part.as_os_str() == "vendor");
        if foreign || !CHECKED.contains(&&*ending) {
            continue;
        }
        let words = words(&source.text);
        for (form, better) in &forms {
            let matches = words
                .windows(form.len())
                .filter(|window| window.iter().map(|(word, _)| word).eq(form.iter()));
            findings.extend(matches.map(|window| Finding {
                path: source.path.clone(),
                line: window[0].1,
                text: format!("avoided wording {:?}: write {better}", form.join(" ")),
            }));
        }
    }
    findings
}

/// Splits a text into lower-case words with their line numbers. Punctuation inside a line separates phrases, so it stays as a
/// word that no form holds; comment marks at the start of a line don't.
fn words(text: &str) -> Vec<(String, usize)> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start().trim_start_matches(['/', '!', '*', '#', '<', '-']);
        let mut word = String::new();
        for character in line.chars().chain([' ']) {
            if character.is_alphanumeric() || character == '\'' || character == '_' {
                word.extend(character.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push((std::mem::take(&mut word), index + 1));
            }
            if !character.is_whitespace() {
                words.push((character.to_string(), index + 1));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: &str = "# a comment\nthe grey fox => the fox\nwhichsoever => which\n";

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source {
            path: path.into(),
            text: text.to_owned(),
        };
        check(&[source], FORMS)
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_form_is_found_in_any_case_and_across_comment_lines() {
        assert_eq!(
            lines("a.rs", "/// Returns the Grey\n/// fox.\n// Whichsoever\n"),
            [1, 3]
        );
        assert_eq!(lines("docs/a.md", "x\nthe grey fox\n"), [2]);
    }

    #[test]
    fn punctuation_and_longer_words_are_no_form() {
        assert_eq!(lines("a.rs", "// the grey, fox\n// whichsoeverest\n"), [0; 0]);
    }

    #[test]
    fn foreign_files_are_not_checked() {
        assert_eq!(lines("web/vendor/a.js", "// whichsoever\n"), [0; 0]);
        assert_eq!(lines("a.lock", "whichsoever\n"), [0; 0]);
    }

    #[test]
    fn the_list_names_a_better_form_for_each() {
        let list = include_str!("../../wording.txt");
        for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (form, better) = line.split_once("=>").unwrap();
            assert!(!form.trim().is_empty() && !better.trim().is_empty(), "{line}");
            let source = Source {
                path: "a.md".into(),
                text: format!("Here {} stands.", form.trim()),
            };
            assert!(!check(&[source], list).is_empty(), "{line} finds nothing");
        }
    }
}
