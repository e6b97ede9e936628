//! Messages that are to be translated, and translations that are remembered.
//!
//! The text of a message stays here until it is translated, and not in jobs: so it is gone with a recall, and no operator
//! finds it among dead letters.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::language::Language;

/// One state of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    /// The number of the message or of its last edit.
    pub(crate) version: u64,
}

impl Place {
    /// Tells whether it is no message but a text that somebody asks about.
    pub(crate) fn is_asked(&self) -> bool {
        self.conversation.starts_with('@')
    }
}

/// What there is to do about a message, and what was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) version: u64,
    pub(crate) sender: String,
    /// Empty in conversations of more than two.
    pub(crate) receiver: String,
    /// Empty once all is done.
    pub(crate) text: String,
    pub(crate) digest: String,
    /// Once it is known.
    pub(crate) source: Option<Language>,
    /// What is yet to be made.
    pub(crate) pending: Vec<Language>,
    /// Those of them that were counted already.
    pub(crate) charged: Vec<Language>,
    /// What readers were told something about.
    pub(crate) told: Vec<Language>,
    /// How often it was put off.
    pub(crate) tries: u32,
    pub(crate) until_ms: u64,
}

/// A translation that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) text: String,
    pub(crate) from: Option<Language>,
    pub(crate) by: String,
}

impl Work {
    pub(crate) fn load(cx: &Context, conversation: &str, seq: u64) -> Result<Option<Self>, Error> {
        Ok(cx.kv().get_json(key(conversation, seq))?)
    }

    /// Reads it if it is still about this state of the message.
    pub(crate) fn of(cx: &Context, place: &Place) -> Result<Option<Self>, Error> {
        let work = Self::load(cx, &place.conversation, place.seq)?;
        Ok(work.filter(|work| work.version == place.version))
    }

    pub(crate) fn save(
        &self,
        cx: &Context,
        conversation: &str,
        seq: u64,
    ) -> Result<(), courtyard_plugin_sdk::ServiceError> {
        cx.kv().set_json_until(key(conversation, seq), self, self.until_ms)
    }

    /// Forgets the message, its text and its translations.
    pub(crate) fn forget(&self, cx: &Context, conversation: &str, seq: u64) -> Result<(), Error> {
        cx.kv().delete(key(conversation, seq))?;
        cx.kv().delete(source_key(&self.digest))?;
        for language in self.pending.iter().chain(&self.told) {
            cx.kv().delete(self.cache_key(language))?;
        }
        Ok(())
    }

    pub(crate) fn remembered(&self, cx: &Context, target: &Language) -> Result<Option<Remembered>, Error> {
        Ok(cx.kv().get_json(self.cache_key(target))?)
    }

    pub(crate) fn remember(
        &self,
        cx: &Context,
        target: &Language,
        made: &Remembered,
        until_ms: u64,
    ) -> Result<(), Error> {
        Ok(cx.kv().set_json_until(self.cache_key(target), made, until_ms)?)
    }

    fn cache_key(&self, target: &Language) -> String {
        let source = self.source.as_ref().map_or("auto", Language::as_str);
        format!("cache/{source}/{}/{}", target.as_str(), self.digest)
    }
}

/// Returns the language of a text, if it was found out before.
pub(crate) fn known_source(cx: &Context, digest: &str) -> Result<Option<Language>, Error> {
    let known = cx.kv().get(source_key(digest))?;
    Ok(known.and_then(|tag| Language::parse(&String::from_utf8_lossy(&tag))))
}

/// Remembers the language of a text.
pub(crate) fn remember_source(cx: &Context, digest: &str, source: &Language, until_ms: u64) -> Result<(), Error> {
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
