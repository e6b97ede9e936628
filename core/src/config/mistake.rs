//! Mistakes in a configuration, shown with their line.

use std::fmt;
use std::ops::Range;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; 0 if the file can't be read.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The text of the line.
    source: String,
    /// How many characters are wrong.
    width: usize,
}

/// All mistakes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub file: String,
    /// The mistakes in the order of the lines.
    pub mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let hint = Some("give the path of a configuration with --config".to_owned());
        let message = format!("the file can't be read: {error}");
        let mistake = Mistake {
            line: 0,
            column: 0,
            message,
            hint,
            source: String::new(),
            width: 0,
        };
        Self {
            file: file.to_owned(),
            mistakes: vec![mistake],
        }
    }
}

impl Mistake {
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
        for mistake in &self.mistakes {
            writeln!(f, "error: {}", mistake.message)?;
            if mistake.line == 0 {
                writeln!(f, "  --> {}", self.file)?;
            } else {
                let number = mistake.line.to_string();
                let margin = " ".repeat(number.len());
                writeln!(f, "{margin}--> {}:{}:{}", self.file, mistake.line, mistake.column)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {}", mistake.source)?;
                writeln!(
                    f,
                    "{margin} | {}{}",
                    " ".repeat(mistake.column - 1),
                    "^".repeat(mistake.width)
                )?;
            }
            if let Some(hint) = &mistake.hint {
                writeln!(f, "  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
