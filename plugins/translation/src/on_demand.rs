//! On-demand translations of any text: older messages, other kinds, drafts. They are processed like messages, but the result
//! is stored for the requester alone.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::placeholders::Protected;
use crate::usage::{self, Caps};
use crate::work::{self, MessageVersion, TranslationResult, Work};
use crate::{OnDemandRequest, OnDemandResult, Translation, preferences};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// The stored result of an on-demand translation.
#[derive(Serialize, Deserialize)]
struct StoredResult {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    from: Option<Language>,
    #[serde(default)]
    by: Option<String>,
}

impl Translation {
    /// Translates a text for the caller: from the glossary or an earlier result at once, otherwise by a job.
    pub(crate) fn translate(&self, cx: &Context, request: OnDemandRequest) -> Result<OnDemandResult, Error> {
        let target = match &request.to {
            Some(tag) => self.offered(tag)?,
            None => {
                let none = || Error::new("unknown_language", "Name a language, or set yours in the settings.");
                preferences::user(cx, &cx.caller.actor)?.language.ok_or_else(none)?
            }
        };
        if request.text.chars().count() > self.settings.text_chars {
            let sentence = format!("The text is longer than {} characters.", self.settings.text_chars);
            return Err(Error::new("limit_text", sentence));
        }
        let digest = work::digest(&request.text);
        let version = MessageVersion {
            conversation: format!("@{}", cx.caller.actor),
            seq: u64::from_str_radix(&digest[..15], 16).unwrap_or_default(),
            version: 1,
        };
        let result = |stored: StoredResult| OnDemandResult {
            id: id_of(&version),
            to: target.as_str().to_owned(),
            state: stored.state.unwrap_or_else(|| "ready".to_owned()),
            text: stored.text,
            from: stored.from.map(String::from),
            by: stored.by,
        };
        let state = |state: &str| StoredResult {
            state: Some(state.to_owned()),
            text: None,
            from: None,
            by: None,
        };
        if !Protected::new(&request.text, &self.settings.keep).has_prose() {
            return Ok(result(state("unneeded")));
        }
        if let Some(source) = self.glossary.detect(&request.text, None)
            && let Some(text) = self.glossary.translate(&request.text, &source, &target)
        {
            let by = Some("glossary".to_owned());
            return Ok(result(StoredResult {
                state: None,
                text: Some(text),
                from: Some(source),
                by,
            }));
        }
        if let Some(stored) = cx.kv().get_json::<StoredResult>(key(&version, &target))? {
            return Ok(result(stored));
        }
        let known = Work::of(cx, &version)?;
        if known.as_ref().is_some_and(|work| work.pending.contains(&target)) {
            return Ok(result(state("pending")));
        }
        if self.settings.providers.is_empty() {
            return Ok(result(state("unavailable")));
        }
        // Charged when it is enqueued, so that no more is enqueued than may be sent.
        let caps = Caps {
            app: self.settings.day_chars,
            sender: self.settings.sender_day_chars,
        };
        if !usage::charge(cx, &cx.caller.actor, request.text.chars().count() as u64, caps)? {
            return Ok(result(state("capped")));
        }
        let mut work = known.unwrap_or_else(|| Work {
            version: version.version,
            sender: cx.caller.actor.clone(),
            receiver: cx.caller.actor.clone(),
            text: String::new(),
            digest,
            source: None,
            pending: Vec::new(),
            charged: Vec::new(),
            annotated: Vec::new(),
            tries: 0,
            until_ms: 0,
        });
        work.text = request.text;
        work.pending.push(target.clone());
        work.charged.push(target.clone());
        work.until_ms = cx.now_ms() + self.settings.wait_hours.saturating_mul(HOUR_MS);
        let saved = work.save(cx, &version.conversation, version.seq);
        match saved.and_then(|()| cx.jobs().add("translate", &version)) {
            Err(ServiceError::Quota | ServiceError::TooLarge) => {
                cx.kv().delete(work::key(&version.conversation, version.seq))?;
                Ok(result(state("unavailable")))
            }
            added => added.map(|()| result(state("pending"))).map_err(Error::from),
        }
    }
}

/// Stores a result for an hour, and signals the requester.
pub(crate) fn store(
    cx: &Context,
    version: &MessageVersion,
    target: &Language,
    result: &TranslationResult<'_>,
) -> Result<(), Error> {
    cx.kv()
        .set_json_until(key(version, target), result, cx.now_ms() + HOUR_MS)?;
    let actor = version.conversation.strip_prefix('@').unwrap_or_default().to_owned();
    let payload = serde_json::json!({"id": id_of(version), "to": target});
    Ok(cx.sessions().signal(&[actor], "translated", &payload)?)
}

fn id_of(version: &MessageVersion) -> String {
    format!("{:015x}", version.seq)
}

fn key(version: &MessageVersion, target: &Language) -> String {
    let (conversation, seq) = (&version.conversation, version.seq);
    format!("asked/{conversation}/{}/{seq:015x}", target.as_str())
}
