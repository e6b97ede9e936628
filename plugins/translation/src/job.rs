//! Translation of messages: an observer enqueues the work, a job calls the providers outside any transaction, and its
//! transactions write the annotations.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::placeholders::Protected;
use crate::providers::Failure;
use crate::usage::{self, Caps};
use crate::work::{self, CachedTranslation, MessageVersion, TranslationResult, Work};
use crate::{Translation, on_demand, preferences};

/// Milliseconds for which one job calls providers; the remaining targets are postponed.
const JOB_MS: u64 = 35_000;
/// Longest pause before a retry; milliseconds.
const MAX_PAUSE_MS: u64 = 600_000;
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// The input of a job.
#[derive(Serialize, Deserialize)]
struct Task {
    text: String,
    source: Option<Language>,
    /// Language that the sender probably writes.
    likely: Option<Language>,
    /// Indexes of the providers that are not paused.
    providers: Vec<usize>,
}

/// The language of a text, as far as it is known.
#[derive(Serialize, Deserialize)]
struct DetectedSource {
    version: MessageVersion,
    source: Option<Language>,
    /// True if the text determines it; false if it is a guess from the sender's preferences.
    is_certain: bool,
}

/// The outcome for one target language.
#[derive(Serialize, Deserialize)]
struct FinishedTarget {
    version: MessageVersion,
    target: Language,
    /// None if no provider can translate it.
    translation: Option<CachedTranslation>,
}

/// A retry of the remaining targets.
#[derive(Serialize, Deserialize)]
struct Postponement {
    version: MessageVersion,
    /// Indexes of the providers to pause.
    failed: Vec<usize>,
}

#[derive(Deserialize)]
struct Content {
    text: String,
}

impl Translation {
    /// Stores the work for a message or an edit, and enqueues its job. An edit clears the earlier translations.
    pub(crate) fn enqueue(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let (conversation, version) = (message.conversation(), message.seq());
        let seq = if message.edits() > 0 { message.edits() } else { version };
        if message.receiver().is_empty() {
            let most = self.settings.user_conversations;
            preferences::joined(cx, conversation, message.sender(), message.time_ms(), most)?;
        }
        let before = Work::load(cx, conversation, seq)?;
        if before.as_ref().is_some_and(|work| work.version >= version) {
            return Ok(());
        }
        let most = self.settings.conversation_languages;
        let wanted = preferences::languages(cx, conversation, message.sender(), message.receiver(), most)?;
        if message.edits() > 0 {
            let annotated = before.as_ref().map_or(&wanted, |work| &work.annotated);
            for language in annotated {
                annotate(cx, conversation, seq, language, &TranslationResult::Nothing)?;
            }
            if let Some(before) = before {
                before.delete(cx, conversation, seq)?;
            }
        }
        // Other content has nothing to translate. An error would contain a part of it.
        let Ok(Content { text }) = message.content_as::<Content>() else {
            return Ok(());
        };
        let is_opted_out = preferences::user(cx, message.sender())?.untranslated;
        if wanted.is_empty() || is_opted_out || !self.is_translatable(&text) {
            return Ok(());
        }
        let work = Work {
            version,
            sender: message.sender().to_owned(),
            receiver: message.receiver().to_owned(),
            digest: work::digest(&text),
            text,
            source: None,
            pending: wanted,
            charged: Vec::new(),
            annotated: Vec::new(),
            tries: 0,
            until_ms: cx.now_ms() + self.settings.wait_hours.saturating_mul(HOUR_MS),
        };
        let version = MessageVersion {
            conversation: conversation.to_owned(),
            seq,
            version,
        };
        match work
            .save(cx, conversation, seq)
            .and_then(|()| cx.jobs().add("translate", &version))
        {
            // Over the storage quota, the message stays without translations.
            Err(ServiceError::Quota | ServiceError::TooLarge) => {
                cx.metrics().count("dropped", 1);
                Ok(cx.kv().delete(work::key(conversation, seq))?)
            }
            added => Ok(added?),
        }
    }

    fn is_translatable(&self, text: &str) -> bool {
        text.chars().count() <= self.settings.text_chars
            && Protected::new(text, &self.settings.keep).has_prose()
            && (!self.settings.providers.is_empty() || self.glossary.detect(text, None).is_some())
    }

    /// Translates a message to all pending languages, and postpones those that a provider may translate later.
    pub(crate) fn translate_message(&self, cx: &Context, version: MessageVersion) -> Result<(), Error> {
        let start_ms = cx.now_ms();
        let in_time = || cx.now_ms().saturating_sub(start_ms) < JOB_MS;
        let Some(task) = cx.transact::<Option<Task>>("begin", &version)? else {
            return Ok(());
        };
        let protected = Protected::new(&task.text, &self.settings.keep);
        let mut failed = Vec::new();
        let detected = self.detect_source(cx, &task, &protected, &mut failed);
        let Some((source, is_certain)) = detected else {
            return postpone(cx, version, failed);
        };
        let found = DetectedSource {
            version: version.clone(),
            source: source.clone(),
            is_certain,
        };
        let targets = cx.transact::<Vec<Language>>("plan", &found)?;
        let mut is_complete = true;
        for target in targets {
            let mut outcome = None;
            let mut may_later = false;
            for index in task.providers.clone() {
                if failed.contains(&index) {
                    continue;
                }
                if !in_time() {
                    may_later = true;
                    break;
                }
                // Another generation of the plugin may have configured it.
                let Some(provider) = self.settings.providers.get(index) else {
                    continue;
                };
                match provider.translate(cx, &protected, source.as_ref(), &target, in_time) {
                    Ok((text, from)) => {
                        let from = source.clone().or(from);
                        let by = provider.name().to_owned();
                        outcome = Some(CachedTranslation { text, from, by });
                        break;
                    }
                    Err(Failure::Never(_)) => cx.metrics().count("refusals", 1),
                    Err(Failure::Later(reason)) => {
                        report_failure(cx, provider.name(), reason);
                        failed.push(index);
                    }
                }
            }
            // A provider that failed or is paused may translate it later.
            may_later |= !failed.is_empty() || task.providers.len() < self.settings.providers.len();
            if outcome.is_none() && may_later {
                is_complete = false;
                continue;
            }
            let finished = FinishedTarget {
                version: version.clone(),
                target,
                translation: outcome,
            };
            cx.transact::<()>("finish", &finished)?;
        }
        if is_complete {
            Ok(())
        } else {
            postpone(cx, version, failed)
        }
    }

    /// Returns the language of a text, and whether that is certain; none if a provider may detect it later.
    fn detect_source(
        &self,
        cx: &Context,
        task: &Task,
        text: &Protected<'_>,
        failed: &mut Vec<usize>,
    ) -> Option<(Option<Language>, bool)> {
        let from_glossary = || self.glossary.detect(&task.text, task.likely.as_ref());
        if let Some(known) = task.source.clone().or_else(from_glossary) {
            return Some((Some(known), true));
        }
        // A paused provider may detect it.
        if task.providers.is_empty() && !self.settings.providers.is_empty() {
            return None;
        }
        let prose = text.prose();
        for &index in &task.providers {
            let Some(provider) = self.settings.providers.get(index).filter(|provider| provider.detect) else {
                continue;
            };
            match provider.detect(cx, &prose) {
                Ok(Some(detected)) if detected.percent >= self.settings.min_confidence => {
                    return Some((Some(detected.language), true));
                }
                // The provider doesn't know the language, or doesn't detect languages.
                Ok(_) | Err(Failure::Never(_) | Failure::Later("status" | "bad_answer")) => {}
                Err(Failure::Later(reason)) => {
                    report_failure(cx, provider.name(), reason);
                    failed.push(index);
                }
            }
        }
        let have_all_failed = !task.providers.is_empty() && failed.len() == task.providers.len();
        (!have_all_failed).then(|| (task.likely.clone(), false))
    }

    /// Runs a transaction of a job.
    pub(crate) fn run_transaction(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            "begin" => typed(payload, |version| self.begin(cx, &version)),
            "plan" => typed(payload, |detected| self.plan(cx, detected)),
            "finish" => typed(payload, |finished| self.finish(cx, &finished)),
            "put_off" => typed(payload, |postponed| self.postpone(cx, &postponed)),
            "members" => typed(payload, |batch| self.apply_batch(cx, &batch)),
            _ => Err(Error::new("unknown_transaction", "This transaction doesn't exist.")),
        }
    }

    fn begin(&self, cx: &Context, version: &MessageVersion) -> Result<Option<Task>, Error> {
        let Some(work) = Work::of(cx, version)?.filter(|work| !work.pending.is_empty()) else {
            return Ok(None);
        };
        let source = match work.source {
            Some(source) => Some(source),
            None => work::cached_source(cx, &work.digest)?,
        };
        let mut providers = Vec::new();
        for index in 0..self.settings.providers.len() {
            if cx.kv().get(pause_key(index))?.is_none() {
                providers.push(index);
            }
        }
        // The requester of an on-demand text didn't write it.
        let sender_language = match version.is_on_demand() {
            true => None,
            false => preferences::user(cx, &work.sender)?.language,
        };
        let likely = sender_language.or_else(|| self.settings.source.clone());
        Ok(Some(Task {
            text: work.text,
            source,
            likely,
            providers,
        }))
    }

    /// Finishes the targets that need no provider: cached, from the glossary, not needed, or over a cap. Returns the others.
    fn plan(&self, cx: &Context, detected: DetectedSource) -> Result<Vec<Language>, Error> {
        let version = &detected.version;
        let Some(mut work) = Work::of(cx, version)? else {
            return Ok(Vec::new());
        };
        if let Some(source) = detected.source.as_ref().filter(|_| detected.is_certain) {
            work::cache_source(cx, &work.digest, source, self.cached_until(cx))?;
        }
        work.source = detected.source;
        let characters = work.text.chars().count() as u64;
        let caps = Caps {
            app: self.settings.day_chars,
            sender: self.settings.sender_day_chars,
        };
        let mut remaining = Vec::new();
        for target in work.pending.clone() {
            let source = work.source.clone();
            let from_glossary = |source| self.glossary.translate(&work.text, source, &target);
            let is_needed = match &source {
                Some(source) if source.is_like(&target) => false,
                Some(_) if version.is_on_demand() => true,
                Some(source) => {
                    preferences::is_needed(cx, &version.conversation, &work.sender, &work.receiver, &target, source)?
                }
                None => true,
            };
            if !is_needed {
                work.skip(cx, version, &target, "unneeded")?;
            } else if let Some(text) = source.as_ref().and_then(from_glossary) {
                let result = TranslationResult::Text {
                    text: &text,
                    from: source.as_ref(),
                    by: "glossary",
                };
                work.publish(cx, version, &target, &result)?;
            } else if let Some(cached) = work.cached(cx, &target)? {
                cx.metrics().count("cache_hits", 1);
                let result = TranslationResult::Text {
                    text: &cached.text,
                    from: cached.from.as_ref(),
                    by: &cached.by,
                };
                work.publish(cx, version, &target, &result)?;
            } else if self.settings.providers.is_empty() {
                work.skip(cx, version, &target, "unavailable")?;
            } else if work.charged.contains(&target) || usage::charge(cx, &work.sender, characters, caps)? {
                if !work.charged.contains(&target) {
                    cx.metrics().count("characters", characters);
                    work.charged.push(target.clone());
                }
                remaining.push(target);
            } else {
                cx.metrics().count("capped", 1);
                work.publish(cx, version, &target, &TranslationResult::State { state: "capped" })?;
            }
        }
        self.save(cx, version, work)?;
        Ok(remaining)
    }

    fn finish(&self, cx: &Context, finished: &FinishedTarget) -> Result<(), Error> {
        let version = &finished.version;
        let Some(mut work) = Work::of(cx, version)?.filter(|work| work.pending.contains(&finished.target)) else {
            return Ok(());
        };
        match &finished.translation {
            Some(translation)
                if translation
                    .from
                    .as_ref()
                    .is_none_or(|from| !from.is_like(&finished.target)) =>
            {
                work.cache(cx, &finished.target, translation, self.cached_until(cx))?;
                let result = TranslationResult::Text {
                    text: &translation.text,
                    from: translation.from.as_ref(),
                    by: &translation.by,
                };
                work.publish(cx, version, &finished.target, &result)?;
                cx.metrics().count("translations", 1);
            }
            other => {
                let state = if other.is_some() { "unneeded" } else { "unavailable" };
                work.skip(cx, version, &finished.target, state)?;
            }
        }
        self.save(cx, version, work)
    }

    /// Enqueues a retry. The pause doubles each time, and is randomised so that retries don't arrive at once.
    fn postpone(&self, cx: &Context, postponed: &Postponement) -> Result<(), Error> {
        let now_ms = cx.now_ms();
        for index in &postponed.failed {
            cx.kv()
                .set_until(pause_key(*index), "", now_ms + self.settings.pause_ms)?;
        }
        let Some(mut work) = Work::of(cx, &postponed.version)? else {
            return Ok(());
        };
        let pause_ms = self
            .settings
            .retry_ms
            .saturating_mul(1 << work.tries.min(20))
            .min(MAX_PAUSE_MS);
        let random = u64::from(cx.random::<1>()[0]);
        work.tries = work.tries.saturating_add(1);
        work.save(cx, &postponed.version.conversation, postponed.version.seq)?;
        let at_ms = now_ms + pause_ms / 2 + pause_ms * random / 512;
        Ok(cx.jobs().add_at("translate", at_ms, &postponed.version)?)
    }

    /// Saves the work. Once it is finished, the text is dropped and the expiry is that of the cache.
    fn save(&self, cx: &Context, version: &MessageVersion, mut work: Work) -> Result<(), Error> {
        if work.pending.is_empty() {
            work.text.clear();
            work.until_ms = self.cached_until(cx);
        }
        Ok(work.save(cx, &version.conversation, version.seq)?)
    }

    fn cached_until(&self, cx: &Context) -> u64 {
        cx.now_ms() + self.settings.cache_days.saturating_mul(24 * HOUR_MS)
    }
}

impl Work {
    fn finish_target(&mut self, target: &Language) {
        self.pending.retain(|pending| pending != target);
    }

    /// Writes the result of a target: an annotation, or the result of an on-demand text.
    fn publish(
        &mut self,
        cx: &Context,
        version: &MessageVersion,
        target: &Language,
        result: &TranslationResult<'_>,
    ) -> Result<(), Error> {
        self.finish_target(target);
        if version.is_on_demand() {
            return on_demand::store(cx, version, target, result);
        }
        self.annotated.push(target.clone());
        annotate(cx, &version.conversation, version.seq, target, result)
    }

    /// Finishes a target without a translation. Messages get no annotation; the requester of an on-demand text gets the state.
    fn skip(&mut self, cx: &Context, version: &MessageVersion, target: &Language, state: &str) -> Result<(), Error> {
        self.finish_target(target);
        if version.is_on_demand() {
            return on_demand::store(cx, version, target, &TranslationResult::State { state });
        }
        Ok(())
    }
}

/// Annotates a message. A recalled message, or one at its limit of annotations, stays as it is.
fn annotate(
    cx: &Context,
    conversation: &str,
    seq: u64,
    target: &Language,
    result: &TranslationResult<'_>,
) -> Result<(), Error> {
    match cx.annotations().set(conversation, seq, target.as_str(), result) {
        Err(ServiceError::NotFound | ServiceError::Invalid(_) | ServiceError::Quota) => Ok(()),
        set => Ok(set?),
    }
}

fn postpone(cx: &Context, version: MessageVersion, failed: Vec<usize>) -> Result<(), Error> {
    cx.transact("put_off", &Postponement { version, failed })
}

fn report_failure(cx: &Context, provider: &str, reason: &str) {
    cx.metrics().count("provider_failures", 1);
    cx.log().warn(&format!("provider {provider} failed: {reason}"));
}

fn pause_key(provider: usize) -> String {
    format!("pause/{provider}")
}
