//! Diagnostics: what is wrong in a configuration, with its line.

use std::fmt;
use std::ops::Range;

/// One problem in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line, from 1; 0 if the file can't be read.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub hint: Option<String>,
    /// The text of the line.
    source: String,
    /// The number of characters to underline.
    width: usize,
}

/// Everything that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The name of the file.
    pub file: String,
    /// The problems, in the order of the lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl ConfigErrors {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let hint = Some("pass the path of a configuration with --config".to_owned());
        let message = format!("the file can't be read: {error}");
        let diagnostic = Diagnostic {
            line: 0,
            column: 0,
            message,
            hint,
            source: String::new(),
            width: 0,
        };
        Self {
            file: file.to_owned(),
            diagnostics: vec![diagnostic],
        }
    }
}

impl Diagnostic {
    pub(super) fn at(text: &str, span: Range<usize>, message: String, hint: Option<String>) -> Self {
        let start = span.start.min(text.len());
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[..begin].matches('\n').count() + 1;
        let width = text[start..span.end.clamp(start, end)].chars().count().max(1);
        let column = text[begin..start].chars().count() + 1;
        Self {
            line,
            column,
            message,
            hint,
            source: text[begin..end].to_owned(),
            width,
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "error: {}", diagnostic.message)?;
            if diagnostic.line == 0 {
                writeln!(f, "  --> {}", self.file)?;
            } else {
                let number = diagnostic.line.to_string();
                let margin = " ".repeat(number.len());
                writeln!(f, "{margin}--> {}:{}:{}", self.file, diagnostic.line, diagnostic.column)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {}", diagnostic.source)?;
                writeln!(
                    f,
                    "{margin} | {}{}",
                    " ".repeat(diagnostic.column - 1),
                    "^".repeat(diagnostic.width)
                )?;
            }
            if let Some(hint) = &diagnostic.hint {
                writeln!(f, "  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
