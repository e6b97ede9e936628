//! The operator's settings.

use courtyard_plugin_sdk::Error;
use serde::Deserialize;

use crate::glossary::GlossaryEntry;
use crate::language::Language;
use crate::providers::{Api, Provider};

/// Target languages by default.
const LANGUAGES: [&str; 24] = [
    "ar", "bn", "cs", "de", "en", "es", "fa", "fr", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "th",
    "tr", "uk", "ur", "vi", "zh",
];

/// The operator's settings, each with its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Target languages that users can choose.
    pub(crate) languages: Vec<Language>,
    /// Providers, tried in this order until one succeeds.
    pub(crate) providers: Vec<Provider>,
    /// Phrases in several languages; they take precedence over the built-in ones.
    pub(crate) glossary: Vec<GlossaryEntry>,
    /// Words that are never translated.
    pub(crate) keep: Vec<String>,
    /// Assumed language of texts whose language is unknown.
    pub(crate) source: Option<Language>,
    /// Least confidence of a provider for a detected language to count; percent.
    pub(crate) min_confidence: f64,
    /// Longest text that is translated; characters.
    pub(crate) text_chars: usize,
    /// Most characters sent to providers per day (UTC) for one app.
    pub(crate) day_chars: u64,
    /// Most characters sent to providers per day (UTC) for one sender.
    pub(crate) sender_day_chars: u64,
    /// Most target languages of one conversation.
    pub(crate) conversation_languages: usize,
    /// Most conversations in which one user has settings.
    pub(crate) user_conversations: usize,
    /// Days for which translations are cached.
    pub(crate) cache_days: u64,
    /// Hours for which a text waits for a provider.
    pub(crate) wait_hours: u64,
    /// Milliseconds until the first retry of a text; doubled each time, up to ten minutes.
    pub(crate) retry_ms: u64,
    /// Milliseconds for which a failed provider isn't used.
    pub(crate) pause_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            languages: LANGUAGES.into_iter().filter_map(Language::parse).collect(),
            providers: Vec::new(),
            glossary: Vec::new(),
            keep: Vec::new(),
            source: None,
            min_confidence: 20.0,
            text_chars: 5_000,
            day_chars: 1_000_000,
            sender_day_chars: 100_000,
            conversation_languages: 8,
            user_conversations: 500,
            cache_days: 30,
            wait_hours: 24,
            retry_ms: 1_000,
            pause_ms: 5_000,
        }
    }
}

impl Settings {
    /// Parses and checks the settings.
    ///
    /// # Errors
    /// `invalid_configuration` with a sentence that names the mistake.
    pub(crate) fn parse(configuration: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::new("invalid_configuration", reason);
        let settings: Self = serde_json::from_str(configuration).map_err(|error| bad(error.to_string()))?;
        for provider in &settings.providers {
            let is_http = provider.url.starts_with("http://") || provider.url.starts_with("https://");
            if !is_http || provider.url.ends_with('/') {
                return Err(bad(format!(
                    "providers: {:?} must be an http or https URL without a trailing slash",
                    provider.url
                )));
            }
            if provider.api == Api::Apertium && provider.secret.is_some() {
                return Err(bad(
                    "providers: the Apertium API has no keys; remove `secret`".to_owned()
                ));
            }
        }
        if settings.providers.len() > 8 {
            return Err(bad("providers: 8 at most".to_owned()));
        }
        if settings.languages.is_empty() {
            return Err(bad("languages: 1 at least".to_owned()));
        }
        let is_word = |word: &String| !word.trim().is_empty() && word.trim() == word;
        if !settings.keep.iter().all(is_word) {
            return Err(bad("keep: a word is empty or has space around it".to_owned()));
        }
        if !(1..=20_000).contains(&settings.text_chars) {
            return Err(bad("text_chars: from 1 to 20000".to_owned()));
        }
        if !(1..=32).contains(&settings.conversation_languages) {
            return Err(bad("conversation_languages: from 1 to 32".to_owned()));
        }
        if !(1..=1_000).contains(&settings.user_conversations) {
            return Err(bad("user_conversations: from 1 to 1000".to_owned()));
        }
        if !(0.0..=100.0).contains(&settings.min_confidence) {
            return Err(bad("min_confidence: from 0 to 100".to_owned()));
        }
        if settings.wait_hours == 0 || settings.retry_ms == 0 {
            return Err(bad("wait_hours, retry_ms: 1 at least".to_owned()));
        }
        Ok(settings)
    }
}
