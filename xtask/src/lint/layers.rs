//! The order of the layers of the core: a module imports from those below it alone.

use super::{Finding, Source};

/// The modules of core/src from the top to the ground. A new one gets its place here.
const ORDER: [&str; 23] = [
    "server",
    "config",
    "admin",
    "net",
    "session",
    "host",
    "plugin",
    "services",
    "effects",
    "hooks",
    "blobs",
    "fetch",
    "bundle",
    "router",
    "bus",
    "log",
    "keys",
    "store",
    "workers",
    "error_chain",
    "clock",
    "metrics",
    "wire",
];

/// Returns each import that goes up, and each module without a place in the order.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(module) = module(&source.path.to_string_lossy()).map(str::to_owned) else {
            continue;
        };
        let place = |name: &str| ORDER.iter().position(|module| *module == name);
        let finding = |line, text| Finding {
            path: source.path.clone(),
            line,
            text,
        };
        let Some(own) = place(&module) else {
            let text =
                format!("the module {module} has no place in the order of the layers (xtask/src/lint/layers.rs)");
            findings.push(finding(1, text));
            continue;
        };
        for (name, line) in imports(&source.text) {
            if name != module && place(&name).is_some_and(|other| other < own) {
                findings.push(finding(line, format!("{module} imports {name}, a layer above it")));
            }
        }
    }
    findings
}

/// Returns the module of a file of the core's library. The root and tests have none: they use all.
fn module(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("core/src/")?.strip_suffix(".rs")?;
    let module = rest.split('/').next()?;
    let free = ["lib", "internals", "bin"].contains(&module) || rest.ends_with("tests") || rest.contains("tests/");
    (!free).then_some(module)
}

/// Returns the first segments of all paths that begin with `crate::`, outside comments and tests, with their lines.
fn imports(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    // Braces that are open in `crate::{…}`; 0 outside one.
    let mut depth = 0_usize;
    for (index, line) in text.lines().enumerate() {
        if line == "mod tests {" {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        let mut rest = code;
        while let Some((before, after)) = rest.split_once("crate::") {
            rest = after;
            // `$crate::` is the same; `other_crate::` isn't.
            if before.ends_with(|character: char| character.is_alphanumeric() || character == '_') {
                continue;
            }
            if let Some(group) = after.strip_prefix('{') {
                depth = 1;
                rest = grouped(group, &mut depth, index + 1, &mut found);
            } else {
                found.push((first_segment(after), index + 1));
            }
        }
        if depth > 0 && !code.contains("crate::") {
            grouped(code, &mut depth, index + 1, &mut found);
        }
    }
    found
}

/// Reads on in a group: what stands at depth 1 are first segments. Returns what follows the group's end.
fn grouped<'a>(text: &'a str, depth: &mut usize, line: usize, found: &mut Vec<(String, usize)>) -> &'a str {
    let mut start = true;
    for (at, character) in text.char_indices() {
        match character {
            '{' => *depth += 1,
            '}' => {
                *depth -= 1;
                if *depth == 0 {
                    return &text[at + 1..];
                }
            }
            ',' => start = true,
            _ if character.is_whitespace() => {}
            _ => {
                if start && *depth == 1 {
                    found.push((first_segment(&text[at..]), line));
                }
                start = false;
            }
        }
    }
    ""
}

fn first_segment(text: &str) -> String {
    text.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<usize> {
        let source = Source {
            path: path.into(),
            text: text.to_owned(),
        };
        check(&[source]).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_import_that_goes_up_is_found_in_every_form() {
        assert_eq!(findings("core/src/store/mod.rs", "use crate::session::Session;\n"), [1]);
        assert_eq!(
            findings(
                "core/src/store/a.rs",
                "use crate::{\n    clock::now,\n    net::Listener,\n};\n"
            ),
            [3]
        );
        assert_eq!(
            findings("core/src/store/a.rs", "use crate::{wire, server::{Server, wire}};\n"),
            [1]
        );
        assert_eq!(
            findings("core/src/wire/a.rs", "fn f() {\n    crate::store::open();\n}\n"),
            [2]
        );
    }

    #[test]
    fn imports_that_go_down_and_comments_are_fine() {
        let text =
            "// crate::session\nuse crate::wire::Id;\nuse crate::store::a::{b, net};\nuse other_crate::server;\n";
        assert_eq!(findings("core/src/store/mod.rs", text), [0; 0]);
        assert_eq!(findings("core/src/lib.rs", "use crate::server::Server;\n"), [0; 0]);
        assert_eq!(
            findings("plugins/users/src/a.rs", "use crate::server::Server;\n"),
            [0; 0]
        );
    }

    #[test]
    fn a_module_without_a_place_is_found() {
        assert_eq!(findings("core/src/helpers.rs", ""), [1]);
    }
}
