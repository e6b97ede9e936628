//! The glossary: a built-in list of phrases, and those of the operator.
//!
//! A text is translated only if all its sentences are known phrases of one language, so that no text is translated in part.

use std::collections::BTreeMap;

use crate::language::Language;

/// One phrase in several languages, by tag.
pub(crate) type GlossaryEntry = BTreeMap<Language, String>;

/// Phrases of everyday chats, which need no provider.
const BUILT_IN: &str = include_str!("glossary.tsv");

/// Characters that end a sentence.
const ENDS: [char; 11] = ['.', '!', '?', ',', ';', '…', '\n', '。', '！', '？', '，'];

/// Phrases by language and text in lower case.
#[derive(Debug, Default)]
pub(crate) struct Glossary {
    entries: Vec<GlossaryEntry>,
    known: BTreeMap<Language, BTreeMap<String, usize>>,
}

impl Glossary {
    /// Creates a glossary; the operator's entries take precedence over the built-in ones.
    pub(crate) fn new(own: &[GlossaryEntry]) -> Self {
        let mut glossary = Self::default();
        let built_in = built_in();
        for entry in own.iter().chain(&built_in) {
            let index = glossary.entries.len();
            for (language, phrase) in entry {
                let of_language = glossary.known.entry(language.clone()).or_default();
                of_language.entry(folded(phrase)).or_insert(index);
            }
            glossary.entries.push(entry.clone());
        }
        glossary
    }

    /// Returns the language in which the whole text is known; the `likely` one if several match.
    pub(crate) fn detect(&self, text: &str, likely: Option<&Language>) -> Option<Language> {
        let mut found = self
            .known
            .keys()
            .filter(|language| self.entries_of(text, language).is_some());
        let first = found.next()?;
        let is_likely = |language: &&Language| likely.is_some_and(|likely| likely.is_like(language));
        let likely = if is_likely(&first) {
            Some(first)
        } else {
            found.find(is_likely)
        };
        Some(likely.unwrap_or(first).clone())
    }

    /// Translates a text, sentence by sentence; none if a sentence is unknown.
    pub(crate) fn translate(&self, text: &str, from: &Language, to: &Language) -> Option<String> {
        let mut phrases = self.entries_of(text, from)?.into_iter();
        let mut translated = String::with_capacity(text.len());
        for (sentence, end) in sentences(text) {
            let phrase = sentence.trim();
            if phrase.is_empty() {
                translated.push_str(sentence);
            } else {
                let entry = &self.entries[phrases.next()?];
                let alike = || {
                    entry
                        .iter()
                        .find(|(language, _)| language.is_like(to))
                        .map(|(_, phrase)| phrase)
                };
                let new = entry.get(to).or_else(alike)?;
                let start = sentence.len() - sentence.trim_start().len();
                translated.push_str(&sentence[..start]);
                translated.push_str(&cased_like(phrase, new));
                translated.push_str(&sentence[start + phrase.len()..]);
            }
            translated.push_str(end);
        }
        Some(translated)
    }

    /// Returns the entries of all sentences, if each is known in this language and there is at least one.
    fn entries_of(&self, text: &str, language: &Language) -> Option<Vec<usize>> {
        let known = self.known.get(language)?;
        let phrases = sentences(text)
            .map(|(sentence, _)| sentence.trim())
            .filter(|phrase| !phrase.is_empty());
        let entries: Option<Vec<usize>> = phrases.map(|phrase| known.get(&folded(phrase)).copied()).collect();
        entries.filter(|entries| !entries.is_empty())
    }
}

/// Splits a text into sentences and the characters that end them.
fn sentences(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_inclusive(ENDS).map(|sentence| {
        let inside = sentence.trim_end_matches(ENDS);
        (inside, &sentence[inside.len()..])
    })
}

fn folded(phrase: &str) -> String {
    let words: Vec<String> = phrase
        .split_whitespace()
        .map(|word| word.to_lowercase().replace('’', "'"))
        .collect();
    words.join(" ")
}

/// Returns `phrase` with a lower-case first letter if `original` has one.
fn cased_like(original: &str, phrase: &str) -> String {
    let is_lower = original.chars().next().is_some_and(char::is_lowercase);
    let mut chars = phrase.chars();
    match chars.next() {
        Some(first) if is_lower => first.to_lowercase().chain(chars).collect(),
        _ => phrase.to_owned(),
    }
}

/// Parses the list: a line of tags, and lines of phrases, separated by tabs. Invalid columns are left out; a test checks that
/// none exist.
fn built_in() -> Vec<GlossaryEntry> {
    let mut lines = BUILT_IN.lines();
    let tags: Vec<Option<Language>> = lines
        .next()
        .unwrap_or_default()
        .split('\t')
        .map(Language::parse)
        .collect();
    let entry = |line: &str| {
        let phrases = tags.iter().zip(line.split('\t'));
        phrases
            .filter_map(|(tag, phrase)| Some((tag.clone()?, phrase.to_owned())))
            .collect()
    };
    lines.map(entry).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn tag(text: &str) -> Language {
        Language::parse(text).unwrap()
    }

    #[test]
    fn every_built_in_phrase_exists_in_all_languages() {
        let entries = built_in();
        assert!(entries.len() >= 30, "{}", entries.len());
        for entry in &entries {
            assert_eq!(entry.len(), 8, "{entry:?}");
            assert!(
                entry
                    .values()
                    .all(|phrase| !phrase.is_empty() && !phrase.contains(ENDS)),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn only_texts_of_known_sentences_are_translated() {
        let glossary = Glossary::new(&[]);
        let english = glossary.detect("Good morning! thank you.", None).unwrap();
        assert_eq!(english, tag("en"));
        let german = glossary
            .translate("Good morning!  thank you.", &english, &tag("de"))
            .unwrap();
        assert_eq!(german, "Guten Morgen!  danke.");
        assert_eq!(
            glossary.translate("good morning", &english, &tag("pt-br")).unwrap(),
            "bom dia"
        );
        assert_eq!(glossary.detect("Good morning, my dear submarine", None), None);
        assert_eq!(glossary.detect("Good morning. Danke.", None), None);
        assert_eq!(glossary.detect("…", None), None);
        assert_eq!(glossary.translate("Good morning", &english, &tag("tlh")), None);
    }

    #[test]
    fn the_likely_language_wins_if_several_match() {
        let own = [GlossaryEntry::from([
            (tag("nl"), "Ja".to_owned()),
            (tag("en"), "Aye".to_owned()),
        ])];
        let glossary = Glossary::new(&own);
        assert_eq!(glossary.detect("ja", Some(&tag("nl"))), Some(tag("nl")));
        assert_eq!(glossary.detect("ja", Some(&tag("de"))), Some(tag("de")));
        assert_eq!(glossary.translate("Ja!", &tag("nl"), &tag("en")).unwrap(), "Aye!");
    }
}
