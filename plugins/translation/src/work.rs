//! Pending work for messages, and cached translations.
//!
//! The text of a message is stored here until it is translated, not in jobs: a recall deletes it, and it never appears among
//! dead letters.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::language::Language;

/// A version of a message, or of an on-demand text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageVersion {
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    /// Seq of the message, or of its last edit.
    pub(crate) version: u64,
}

impl MessageVersion {
    /// Returns true for an on-demand text.
    pub(crate) fn is_on_demand(&self) -> bool {
        self.conversation.starts_with('@')
    }
}

/// Pending and finished work for a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) version: u64,
    pub(crate) sender: String,
    /// Empty in conversations of more than two.
    pub(crate) receiver: String,
    /// Empty once the work is finished.
    pub(crate) text: String,
    pub(crate) digest: String,
    /// Language of the text, once it is known.
    pub(crate) source: Option<Language>,
    /// Target languages that are not finished.
    pub(crate) pending: Vec<Language>,
    /// Target languages whose characters are already charged.
    pub(crate) charged: Vec<Language>,
    /// Target languages that have an annotation.
    #[serde(rename = "told")]
    pub(crate) annotated: Vec<Language>,
    /// Number of postponements.
    pub(crate) tries: u32,
    /// Expiry; milliseconds since 1970.
    pub(crate) until_ms: u64,
}

/// A translation in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedTranslation {
    pub(crate) text: String,
    pub(crate) from: Option<Language>,
    pub(crate) by: String,
}

/// Value of an annotation, or of an on-demand translation.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum TranslationResult<'a> {
    Text {
        text: &'a str,
        /// None if the language is unknown.
        from: Option<&'a Language>,
        /// Name of the provider, or `glossary`.
        by: &'a str,
    },
    State {
        state: &'a str,
    },
    /// Replaces a translation of an earlier version of the text.
    Nothing,
}

impl Work {
    pub(crate) fn load(cx: &Context, conversation: &str, seq: u64) -> Result<Option<Self>, Error> {
        Ok(cx.kv().get_json(key(conversation, seq))?)
    }

    /// Loads the work of exactly this version; none if the message was edited since.
    pub(crate) fn of(cx: &Context, version: &MessageVersion) -> Result<Option<Self>, Error> {
        let work = Self::load(cx, &version.conversation, version.seq)?;
        Ok(work.filter(|work| work.version == version.version))
    }

    pub(crate) fn save(
        &self,
        cx: &Context,
        conversation: &str,
        seq: u64,
    ) -> Result<(), courtyard_plugin_sdk::ServiceError> {
        cx.kv().set_json_until(key(conversation, seq), self, self.until_ms)
    }

    /// Deletes the work of a message with its text and its cached translations.
    pub(crate) fn delete(&self, cx: &Context, conversation: &str, seq: u64) -> Result<(), Error> {
        cx.kv().delete(key(conversation, seq))?;
        cx.kv().delete(source_key(&self.digest))?;
        for language in self.pending.iter().chain(&self.annotated) {
            cx.kv().delete(self.cache_key(language))?;
        }
        Ok(())
    }

    pub(crate) fn cached(&self, cx: &Context, target: &Language) -> Result<Option<CachedTranslation>, Error> {
        Ok(cx.kv().get_json(self.cache_key(target))?)
    }

    pub(crate) fn cache(
        &self,
        cx: &Context,
        target: &Language,
        translation: &CachedTranslation,
        until_ms: u64,
    ) -> Result<(), Error> {
        Ok(cx.kv().set_json_until(self.cache_key(target), translation, until_ms)?)
    }

    fn cache_key(&self, target: &Language) -> String {
        let source = self.source.as_ref().map_or("auto", Language::as_str);
        format!("cache/{source}/{}/{}", target.as_str(), self.digest)
    }
}

/// Returns the cached language of a text.
pub(crate) fn cached_source(cx: &Context, digest: &str) -> Result<Option<Language>, Error> {
    let known = cx.kv().get(source_key(digest))?;
    Ok(known.and_then(|tag| Language::parse(&String::from_utf8_lossy(&tag))))
}

/// Caches the language of a text.
pub(crate) fn cache_source(cx: &Context, digest: &str, source: &Language, until_ms: u64) -> Result<(), Error> {
    Ok(cx.kv().set_until(source_key(digest), source.as_str(), until_ms)?)
}

pub(crate) fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn key(conversation: &str, seq: u64) -> String {
    format!("work/{conversation}/{seq:020}")
}

fn source_key(digest: &str) -> String {
    format!("source/{digest}")
}
