//! Texts that somebody asks about: messages from before, of other kinds, or not yet sent. They go the way of messages, and
//! what comes of it waits for the one who asked.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::job::Told;
use crate::language::Language;
use crate::protect::Protected;
use crate::usage::{self, Caps};
use crate::work::{self, Place, Work};
use crate::{Answer, Ask, Translation, reader};

const HOUR_MS: u64 = 60 * 60 * 1_000;

/// What is kept for the one who asked.
#[derive(Serialize, Deserialize)]
struct Kept {
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
    /// Translates a text for the caller: at once if it is known, and otherwise by a job.
    pub(crate) fn translate(&self, cx: &Context, ask: Ask) -> Result<Answer, Error> {
        let target = match &ask.to {
            Some(tag) => self.offered(tag)?,
            None => {
                let none = || Error::new("no_language", "Say which language, or set yours.");
                reader::user(cx, &cx.caller.actor)?.language.ok_or_else(none)?
            }
        };
        if ask.text.chars().count() > self.settings.text_chars {
            let sentence = format!("A text has {} characters at most.", self.settings.text_chars);
            return Err(Error::new("too_long", sentence));
        }
        let digest = work::digest(&ask.text);
        let place = Place {
            conversation: format!("@{}", cx.caller.actor),
            seq: u64::from_str_radix(&digest[..15], 16).unwrap_or_default(),
            version: 1,
        };
        let answer = |kept: Kept| Answer {
            id: id_of(&place),
            to: target.as_str().to_owned(),
            state: kept.state.unwrap_or_else(|| "ready".to_owned()),
            text: kept.text,
            from: kept.from.map(String::from),
            by: kept.by,
        };
        let state = |state: &str| Kept {
            state: Some(state.to_owned()),
            text: None,
            from: None,
            by: None,
        };
        if !Protected::new(&ask.text, &self.settings.keep).has_prose() {
            return Ok(answer(state("unneeded")));
        }
        if let Some(source) = self.glossary.detect(&ask.text, None)
            && let Some(text) = self.glossary.translate(&ask.text, &source, &target)
        {
            let by = Some("glossary".to_owned());
            return Ok(answer(Kept {
                state: None,
                text: Some(text),
                from: Some(source),
                by,
            }));
        }
        if let Some(kept) = cx.kv().get_json::<Kept>(key(&place, &target))? {
            return Ok(answer(kept));
        }
        let known = Work::of(cx, &place)?;
        if known.as_ref().is_some_and(|work| work.pending.contains(&target)) {
            return Ok(answer(state("pending")));
        }
        if self.settings.providers.is_empty() {
            return Ok(answer(state("unavailable")));
        }
        // What waits is counted, so that nobody lets more wait than may be sent.
        let caps = Caps {
            app: self.settings.day_chars,
            sender: self.settings.sender_day_chars,
        };
        if !usage::charge(cx, &cx.caller.actor, ask.text.chars().count() as u64, caps)? {
            return Ok(answer(state("capped")));
        }
        let mut work = known.unwrap_or_else(|| Work {
            version: place.version,
            sender: cx.caller.actor.clone(),
            receiver: cx.caller.actor.clone(),
            text: String::new(),
            digest,
            source: None,
            pending: Vec::new(),
            charged: Vec::new(),
            told: Vec::new(),
            tries: 0,
            until_ms: 0,
        });
        work.text = ask.text;
        work.pending.push(target.clone());
        work.charged.push(target.clone());
        work.until_ms = cx.now_ms() + self.settings.wait_hours.saturating_mul(HOUR_MS);
        let saved = work.save(cx, &place.conversation, place.seq);
        match saved.and_then(|()| cx.jobs().add("translate", &place)) {
            Err(ServiceError::Quota | ServiceError::TooLarge) => {
                cx.kv().delete(work::key(&place.conversation, place.seq))?;
                Ok(answer(state("unavailable")))
            }
            added => added.map(|()| answer(state("pending"))).map_err(Error::from),
        }
    }
}

/// Keeps what came of a text for an hour, and tells the one who asked.
pub(crate) fn tell(cx: &Context, place: &Place, target: &Language, told: &Told<'_>) -> Result<(), Error> {
    cx.kv()
        .set_json_until(key(place, target), told, cx.now_ms() + HOUR_MS)?;
    let actor = place.conversation.strip_prefix('@').unwrap_or_default().to_owned();
    let payload = serde_json::json!({"id": id_of(place), "to": target});
    Ok(cx.sessions().signal(&[actor], "translated", &payload)?)
}

fn id_of(place: &Place) -> String {
    format!("{:015x}", place.seq)
}

fn key(place: &Place, target: &Language) -> String {
    format!("asked/{}/{}/{:015x}", place.conversation, target.as_str(), place.seq)
}
