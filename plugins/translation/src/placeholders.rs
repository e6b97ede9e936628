//! Protects parts of a text from translation.
//!
//! Code, links, addresses, mentions, short codes of emoji and the operator's words become placeholders. Numbers stay in place.
//! The translation is checked; if a placeholder was damaged, the text is translated segment by segment instead.

/// Kind of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prose,
    /// Replaced by a placeholder.
    Kept,
    /// Left in place for the sake of the grammar, and checked.
    Number,
}

/// A text, split into prose and protected pieces.
#[derive(Clone, Debug)]
pub(crate) struct Protected<'a> {
    text: &'a str,
    pieces: Vec<(Kind, &'a str)>,
}

/// Delimiters of placeholders; the first whose opening doesn't occur in the text is used.
const MARKS: [(&str, &str); 3] = [("{", "}"), ("[[", "]]"), ("<<", ">>")];

/// Most segments that a text is split into.
const MAX_SEGMENTS: usize = 64;

impl<'a> Protected<'a> {
    /// Splits a text into pieces. `keep` are whole words to protect.
    pub(crate) fn new(text: &'a str, keep: &[String]) -> Self {
        let mut pieces = Vec::new();
        let (mut begun, mut at, mut before) = (0, 0, None);
        while let Some(next) = text[at..].chars().next() {
            match kept(&text[at..], before, keep) {
                Some((kind, length)) if length > 0 => {
                    if begun < at {
                        pieces.push((Kind::Prose, &text[begun..at]));
                    }
                    pieces.push((kind, &text[at..at + length]));
                    before = text[at..at + length].chars().next_back();
                    at += length;
                    begun = at;
                }
                _ => {
                    before = Some(next);
                    at += next.len_utf8();
                }
            }
        }
        if begun < text.len() {
            pieces.push((Kind::Prose, &text[begun..]));
        }
        Self { text, pieces }
    }

    /// Returns true if the text has letters to translate.
    pub(crate) fn has_prose(&self) -> bool {
        self.pieces
            .iter()
            .any(|(kind, piece)| *kind == Kind::Prose && has_letters(piece))
    }

    /// Returns the prose alone, for language detection.
    pub(crate) fn prose(&self) -> String {
        let prose = self.pieces.iter().filter(|(kind, _)| *kind == Kind::Prose);
        let words: Vec<&str> = prose.flat_map(|(_, piece)| piece.split_whitespace()).collect();
        words.join(" ")
    }

    /// Returns the text with placeholders; none if it contains the openings of all delimiters.
    pub(crate) fn masked(&self) -> Option<String> {
        let (open, close) = self.mark()?;
        let mut masked = String::with_capacity(self.text.len());
        let mut number = 0;
        for (kind, piece) in &self.pieces {
            if *kind == Kind::Kept {
                masked.push_str(&format!("{open}{number}{close}"));
                number += 1;
            } else {
                masked.push_str(piece);
            }
        }
        Some(masked)
    }

    /// Replaces the placeholders in a translation of [`Protected::masked`]; none if it changed a placeholder, a number or the
    /// number of lines.
    pub(crate) fn restore(&self, translated: &str) -> Option<String> {
        let (open, close) = self.mark()?;
        let kept: Vec<&str> = self.kept().collect();
        // Some providers leave a space where they dropped a word.
        let (masked, translated) = (self.masked()?, translated.trim());
        let (start, end) = (masked.len() - masked.trim_start().len(), masked.trim_end().len());
        let mut restored = masked[..start].to_owned();
        let mut used = vec![false; kept.len()];
        let mut parts = translated.split(open);
        restored.push_str(parts.next()?);
        for part in parts {
            let (number, behind) = part.split_once(close)?;
            let index: usize = number
                .parse()
                .ok()
                .filter(|index: &usize| index.to_string() == number)?;
            let seen = used.get_mut(index)?;
            if std::mem::replace(seen, true) {
                return None;
            }
            restored.push_str(kept[index]);
            restored.push_str(behind);
        }
        restored.push_str(&masked[end..]);
        let lines = |text: &str| text.matches('\n').count();
        let whole = used.iter().all(|used| *used) && lines(&restored) == lines(self.text);
        (whole && is_plausible(self.text, &restored)).then_some(restored)
    }

    /// Returns the segments of prose without surrounding space; none if they exceed [`MAX_SEGMENTS`].
    pub(crate) fn segments(&self) -> Option<Vec<&'a str>> {
        let segments: Vec<&str> = self.lines().filter_map(|(kind, line)| segment(kind, line)).collect();
        (segments.len() <= MAX_SEGMENTS).then_some(segments)
    }

    /// Replaces [`Protected::segments`] by their translations; none if their number differs or one isn't plausible.
    pub(crate) fn join(&self, translated: &[String]) -> Option<String> {
        let mut remaining = translated.iter();
        let mut joined = String::with_capacity(self.text.len());
        for (kind, line) in self.lines() {
            let Some(segment) = segment(kind, line) else {
                joined.push_str(line);
                continue;
            };
            let new = remaining.next()?.trim();
            if new.contains('\n') || !is_plausible(segment, new) {
                return None;
            }
            let start = line.len() - line.trim_start().len();
            joined.push_str(&line[..start]);
            joined.push_str(new);
            joined.push_str(&line[start + segment.len()..]);
        }
        remaining.next().is_none().then_some(joined)
    }

    /// Returns all pieces, with prose split into lines.
    fn lines(&self) -> impl Iterator<Item = (Kind, &'a str)> {
        self.pieces.iter().flat_map(|(kind, piece)| {
            let cut: Vec<&'a str> = match kind {
                Kind::Prose => piece.split_inclusive('\n').collect(),
                _ => vec![*piece],
            };
            cut.into_iter().map(|line| (*kind, line))
        })
    }

    fn kept(&self) -> impl Iterator<Item = &'a str> {
        self.pieces
            .iter()
            .filter(|(kind, _)| *kind == Kind::Kept)
            .map(|(_, piece)| *piece)
    }

    fn mark(&self) -> Option<(&'static str, &'static str)> {
        MARKS.into_iter().find(|(open, _)| !self.text.contains(open))
    }
}

fn segment(kind: Kind, line: &str) -> Option<&str> {
    (kind == Kind::Prose && has_letters(line)).then(|| line.trim())
}

fn has_letters(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

/// Returns true if a translation is plausible: not empty, not excessively longer, with the same numbers, and without new control
/// or bidirectional formatting characters.
fn is_plausible(original: &str, translated: &str) -> bool {
    let is_odd = |char: char| {
        (char.is_control() && !matches!(char, '\n' | '\t' | '\r'))
            || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !translated.trim().is_empty()
        && translated.chars().count() <= original.chars().count() * 4 + 64
        && translated.chars().all(|char| !is_odd(char) || original.contains(char))
        && numbers(original) == numbers(translated)
}

fn numbers(text: &str) -> Vec<&str> {
    let mut runs: Vec<&str> = text
        .split(|char: char| !char.is_ascii_digit())
        .filter(|run| !run.is_empty())
        .collect();
    runs.sort_unstable();
    runs
}

/// Returns the kind and the length of the protected piece that begins here.
fn kept(rest: &str, before: Option<char>, keep: &[String]) -> Option<(Kind, usize)> {
    let behind_word = before.is_some_and(|char| char.is_ascii_alphanumeric() || char == '_');
    let length = code(rest).or_else(|| {
        if behind_word {
            return None;
        }
        let word = || {
            keep.iter()
                .filter(|word| begins_with_word(rest, word))
                .map(String::len)
                .max()
        };
        link(rest)
            .or_else(|| address(rest))
            .or_else(|| mention(rest))
            .or_else(|| short_code(rest))
            .or_else(word)
    });
    let number = || {
        (!behind_word)
            .then(|| number(rest))
            .flatten()
            .map(|length| (Kind::Number, length))
    };
    length.map(|length| (Kind::Kept, length)).or_else(number)
}

fn code(rest: &str) -> Option<usize> {
    if let Some(inside) = rest.strip_prefix("```") {
        // An unclosed block extends to the end.
        return Some(inside.find("```").map_or(rest.len(), |end| end + 6));
    }
    let inside = rest.strip_prefix('`')?;
    let end = inside.find(['`', '\n'])?;
    (end > 0 && inside[end..].starts_with('`')).then_some(end + 2)
}

fn link(rest: &str) -> Option<usize> {
    const SCHEMES: [&str; 7] = ["http://", "https://", "ftp://", "mailto:", "tel:", "geo:", "www."];
    let scheme = SCHEMES.into_iter().find(|scheme| {
        rest.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let length = run(rest, |char| {
        char.is_ascii_graphic() && !matches!(char, '<' | '>' | '"' | '`')
    });
    let length = trimmed(&rest[..length], ".,;:!?'*_)]}");
    (length > scheme.len()).then_some(length)
}

fn address(rest: &str) -> Option<usize> {
    let local = run(rest, |char| {
        char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '%' | '+' | '-')
    });
    let domain = rest[local..].strip_prefix('@').filter(|_| local > 0)?;
    let length = run(domain, |char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-'));
    let length = trimmed(&domain[..length], ".-");
    domain[..length].contains('.').then_some(local + 1 + length)
}

fn mention(rest: &str) -> Option<usize> {
    let name = rest.strip_prefix('@')?;
    let length = run(name, |char| char.is_alphanumeric() || matches!(char, '_' | '.' | '-'));
    let length = trimmed(&name[..length], ".-");
    (length > 0).then_some(length + 1)
}

fn short_code(rest: &str) -> Option<usize> {
    let name = rest.strip_prefix(':')?;
    let length = run(name, |char| {
        char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '_' | '+' | '-')
    });
    ((1..=32).contains(&length) && name[length..].starts_with(':')).then_some(length + 2)
}

fn number(rest: &str) -> Option<usize> {
    if !rest.starts_with(|char: char| char.is_numeric()) {
        return None;
    }
    let inside = |char: char| char.is_numeric() || char.is_ascii_alphanumeric() || ".,:/-%'".contains(char);
    Some(trimmed(&rest[..run(rest, inside)], ".,:/-'"))
}

fn begins_with_word(rest: &str, word: &str) -> bool {
    let behind = rest.strip_prefix(word).map(|behind| behind.chars().next());
    !word.is_empty() && behind.is_some_and(|next| !next.is_some_and(|char| char.is_alphanumeric() || char == '_'))
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|char| !belongs(char)).unwrap_or(text.len())
}

fn trimmed(text: &str, off: &str) -> usize {
    text.trim_end_matches(|char| off.contains(char)).len()
}

#[cfg(test)]
mod tests;
