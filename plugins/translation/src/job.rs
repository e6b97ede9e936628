//! The way of a message from the log to its annotations: what is noted, what a job does outside, and what it hands back.

use courtyard_plugin_sdk::ServiceError;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::protect::Protected;
use crate::provider::Failure;
use crate::usage::{self, Caps};
use crate::work::{self, Place, Remembered, Work};
use crate::{Translation, asked, reader};

/// How long one job goes on asking providers; what is left is put off.
const JOB_MS: u64 = 35_000;
/// The longest that something is put off.
const MAX_PAUSE_MS: u64 = 600_000;
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// What a job gets to do.
#[derive(Serialize, Deserialize)]
struct Task {
    text: String,
    source: Option<Language>,
    /// What the sender is likely to write.
    likely: Option<Language>,
    /// Those that did not fail just now.
    providers: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct Found {
    place: Place,
    source: Option<Language>,
    /// Whether it is a property of the text, and no guess about the sender.
    sure: bool,
}

#[derive(Serialize, Deserialize)]
struct Made {
    place: Place,
    target: Language,
    /// None if no provider can.
    made: Option<Remembered>,
}

#[derive(Serialize, Deserialize)]
struct PutOff {
    place: Place,
    /// Providers that had better be left alone for a while.
    failed: Vec<usize>,
}

/// What readers are told.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Told<'a> {
    Text {
        text: &'a str,
        from: Option<&'a Language>,
        by: &'a str,
    },
    State {
        state: &'a str,
    },
    Nothing,
}

#[derive(Deserialize)]
struct Content {
    text: String,
}

impl Translation {
    /// Notes what there is to do about a message or an edit, and adds the job.
    pub(crate) fn note(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        let (conversation, version) = (message.conversation(), message.seq());
        let seq = if message.edits() > 0 { message.edits() } else { version };
        if message.receiver().is_empty() {
            let most = self.settings.user_conversations;
            reader::is_there(cx, conversation, message.sender(), message.time_ms(), most)?;
        }
        let before = Work::load(cx, conversation, seq)?;
        if before.as_ref().is_some_and(|work| work.version >= version) {
            return Ok(());
        }
        let most = self.settings.conversation_languages;
        let wanted = reader::languages(cx, conversation, message.sender(), message.receiver(), most)?;
        if message.edits() > 0 {
            let told = before.as_ref().map_or(&wanted, |work| &work.told);
            for language in told {
                tell(cx, conversation, seq, language, &Told::Nothing)?;
            }
            if let Some(before) = before {
                before.forget(cx, conversation, seq)?;
            }
        }
        // What is no text has nothing to translate. An error would show a part of it.
        let Ok(Content { text }) = message.content_as::<Content>() else {
            return Ok(());
        };
        let is_kept = reader::user(cx, message.sender())?.untranslated;
        if wanted.is_empty() || is_kept || !self.can_be_translated(&text) {
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
            told: Vec::new(),
            tries: 0,
            until_ms: cx.now_ms() + self.settings.wait_hours.saturating_mul(HOUR_MS),
        };
        let place = Place {
            conversation: conversation.to_owned(),
            seq,
            version,
        };
        match work
            .save(cx, conversation, seq)
            .and_then(|()| cx.jobs().add("translate", &place))
        {
            // Messages go on without translations when there is no room for more of them.
            Err(ServiceError::Quota | ServiceError::TooLarge) => {
                cx.metrics().count("dropped", 1);
                Ok(cx.kv().delete(work::key(conversation, seq))?)
            }
            added => Ok(added?),
        }
    }

    pub(crate) fn can_be_translated(&self, text: &str) -> bool {
        text.chars().count() <= self.settings.text_chars
            && Protected::new(text, &self.settings.keep).has_prose()
            && (!self.settings.providers.is_empty() || self.glossary.detect(text, None).is_some())
    }

    /// Translates a message, as far as providers do.
    pub(crate) fn carry_out(&self, cx: &Context, place: Place) -> Result<(), Error> {
        let begun_ms = cx.now_ms();
        let in_time = || cx.now_ms().saturating_sub(begun_ms) < JOB_MS;
        let Some(task) = cx.transact::<Option<Task>>("begin", &place)? else {
            return Ok(());
        };
        let protected = Protected::new(&task.text, &self.settings.keep);
        let mut failed = Vec::new();
        let found = self.source(cx, &task, &protected, &mut failed);
        let Some((source, sure)) = found else {
            return put_off(cx, place, failed);
        };
        let found = Found {
            place: place.clone(),
            source: source.clone(),
            sure,
        };
        let targets = cx.transact::<Vec<Language>>("plan", &found)?;
        let mut is_all = true;
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
                // Another generation of the plugin may have listed them.
                let Some(provider) = self.settings.providers.get(index) else {
                    continue;
                };
                match provider.translate(cx, &protected, source.as_ref(), &target, in_time) {
                    Ok((text, from)) => {
                        let from = source.clone().or(from);
                        let by = provider.name().to_owned();
                        outcome = Some(Remembered { text, from, by });
                        break;
                    }
                    Err(Failure::Never(_)) => cx.metrics().count("refusals", 1),
                    Err(Failure::Later(why)) => {
                        complain(cx, provider.name(), why);
                        failed.push(index);
                    }
                }
            }
            // Whoever failed now, or a while ago, may do it later.
            may_later |= !failed.is_empty() || task.providers.len() < self.settings.providers.len();
            if outcome.is_none() && may_later {
                is_all = false;
                continue;
            }
            let made = Made {
                place: place.clone(),
                target,
                made: outcome,
            };
            cx.transact::<()>("finish", &made)?;
        }
        if is_all { Ok(()) } else { put_off(cx, place, failed) }
    }

    /// Finds out the language of a text, and whether that is sure; nothing if a provider may know it later.
    fn source(
        &self,
        cx: &Context,
        task: &Task,
        text: &Protected<'_>,
        failed: &mut Vec<usize>,
    ) -> Option<(Option<Language>, bool)> {
        let heart = || self.glossary.detect(&task.text, task.likely.as_ref());
        if let Some(known) = task.source.clone().or_else(heart) {
            return Some((Some(known), true));
        }
        // Those that are left alone may know it.
        if task.providers.is_empty() && !self.settings.providers.is_empty() {
            return None;
        }
        let prose = text.prose();
        for &index in &task.providers {
            let Some(provider) = self.settings.providers.get(index).filter(|provider| provider.detect) else {
                continue;
            };
            match provider.detect(cx, &prose) {
                Ok(Some(guess)) if guess.percent >= self.settings.min_confidence => {
                    return Some((Some(guess.language), true));
                }
                // It does not know, or it has no detection.
                Ok(_) | Err(Failure::Never(_) | Failure::Later("status" | "bad_answer")) => {}
                Err(Failure::Later(why)) => {
                    complain(cx, provider.name(), why);
                    failed.push(index);
                }
            }
        }
        let is_none_left = !task.providers.is_empty() && failed.len() == task.providers.len();
        (!is_none_left).then(|| (task.likely.clone(), false))
    }

    /// Does what jobs hand back.
    pub(crate) fn handed_back(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            "begin" => typed(payload, |begin| self.begin(cx, &begin)),
            "plan" => typed(payload, |plan| self.plan(cx, plan)),
            "finish" => typed(payload, |finish| self.finish(cx, &finish)),
            "put_off" => typed(payload, |put_off| self.put_off(cx, &put_off)),
            "members" => typed(payload, |part| self.members(cx, &part)),
            _ => Err(Error::new("unknown_transaction", "There is no such transaction.")),
        }
    }

    fn begin(&self, cx: &Context, place: &Place) -> Result<Option<Task>, Error> {
        let Some(work) = Work::of(cx, place)?.filter(|work| !work.pending.is_empty()) else {
            return Ok(None);
        };
        let source = match work.source {
            Some(source) => Some(source),
            None => work::known_source(cx, &work.digest)?,
        };
        let mut providers = Vec::new();
        for index in 0..self.settings.providers.len() {
            if cx.kv().get(pause_key(index))?.is_none() {
                providers.push(index);
            }
        }
        // Whoever asks about a text did not write it.
        let writes = match place.is_asked() {
            true => None,
            false => reader::user(cx, &work.sender)?.language,
        };
        let likely = writes.or_else(|| self.settings.source.clone());
        Ok(Some(Task {
            text: work.text,
            source,
            likely,
            providers,
        }))
    }

    /// Says what providers are to be asked for; the rest is known, not needed, or too much for today.
    fn plan(&self, cx: &Context, found: Found) -> Result<Vec<Language>, Error> {
        let place = &found.place;
        let Some(mut work) = Work::of(cx, place)? else {
            return Ok(Vec::new());
        };
        if let Some(source) = found.source.as_ref().filter(|_| found.sure) {
            work::remember_source(cx, &work.digest, source, self.remembered_until(cx))?;
        }
        work.source = found.source;
        let characters = work.text.chars().count() as u64;
        let caps = Caps {
            app: self.settings.day_chars,
            sender: self.settings.sender_day_chars,
        };
        let mut asked = Vec::new();
        for target in work.pending.clone() {
            let source = work.source.clone();
            let by_heart = |source| self.glossary.translate(&work.text, source, &target);
            let is_needed = match &source {
                Some(source) if source.is_like(&target) => false,
                Some(_) if place.is_asked() => true,
                Some(source) => reader::need(cx, &place.conversation, &work.sender, &work.receiver, &target, source)?,
                None => true,
            };
            if !is_needed {
                work.give_up(cx, place, &target, "unneeded")?;
            } else if let Some(text) = source.as_ref().and_then(by_heart) {
                let told = Told::Text {
                    text: &text,
                    from: source.as_ref(),
                    by: "glossary",
                };
                work.tell(cx, place, &target, &told)?;
            } else if let Some(known) = work.remembered(cx, &target)? {
                cx.metrics().count("cache_hits", 1);
                let told = Told::Text {
                    text: &known.text,
                    from: known.from.as_ref(),
                    by: &known.by,
                };
                work.tell(cx, place, &target, &told)?;
            } else if self.settings.providers.is_empty() {
                work.give_up(cx, place, &target, "unavailable")?;
            } else if work.charged.contains(&target) || usage::charge(cx, &work.sender, characters, caps)? {
                if !work.charged.contains(&target) {
                    cx.metrics().count("characters", characters);
                    work.charged.push(target.clone());
                }
                asked.push(target);
            } else {
                cx.metrics().count("capped", 1);
                work.tell(cx, place, &target, &Told::State { state: "capped" })?;
            }
        }
        self.keep(cx, place, work)?;
        Ok(asked)
    }

    fn finish(&self, cx: &Context, made: &Made) -> Result<(), Error> {
        let place = &made.place;
        let Some(mut work) = Work::of(cx, place)?.filter(|work| work.pending.contains(&made.target)) else {
            return Ok(());
        };
        match &made.made {
            Some(new) if new.from.as_ref().is_none_or(|from| !from.is_like(&made.target)) => {
                work.remember(cx, &made.target, new, self.remembered_until(cx))?;
                let told = Told::Text {
                    text: &new.text,
                    from: new.from.as_ref(),
                    by: &new.by,
                };
                work.tell(cx, place, &made.target, &told)?;
                cx.metrics().count("translations", 1);
            }
            made_nothing => {
                let state = if made_nothing.is_some() {
                    "unneeded"
                } else {
                    "unavailable"
                };
                work.give_up(cx, place, &made.target, state)?;
            }
        }
        self.keep(cx, place, work)
    }

    /// Lets a message wait, twice as long each time, with a share of chance so that not all come at once.
    fn put_off(&self, cx: &Context, off: &PutOff) -> Result<(), Error> {
        let now_ms = cx.now_ms();
        for index in &off.failed {
            cx.kv()
                .set_until(pause_key(*index), "", now_ms + self.settings.pause_ms)?;
        }
        let Some(mut work) = Work::of(cx, &off.place)? else {
            return Ok(());
        };
        let pause_ms = self
            .settings
            .retry_ms
            .saturating_mul(1 << work.tries.min(20))
            .min(MAX_PAUSE_MS);
        let chance = u64::from(cx.random::<1>()[0]);
        work.tries = work.tries.saturating_add(1);
        work.save(cx, &off.place.conversation, off.place.seq)?;
        let at_ms = now_ms + pause_ms / 2 + pause_ms * chance / 512;
        Ok(cx.jobs().add_at("translate", at_ms, &off.place)?)
    }

    fn keep(&self, cx: &Context, place: &Place, mut work: Work) -> Result<(), Error> {
        if work.pending.is_empty() {
            work.text.clear();
            work.until_ms = self.remembered_until(cx);
        }
        Ok(work.save(cx, &place.conversation, place.seq)?)
    }

    fn remembered_until(&self, cx: &Context) -> u64 {
        cx.now_ms() + self.settings.cache_days.saturating_mul(24 * HOUR_MS)
    }
}

impl Work {
    fn done(&mut self, target: &Language) {
        self.pending.retain(|pending| pending != target);
    }

    fn tell(&mut self, cx: &Context, place: &Place, target: &Language, told: &Told<'_>) -> Result<(), Error> {
        self.done(target);
        if place.is_asked() {
            return asked::tell(cx, place, target, told);
        }
        self.told.push(target.clone());
        tell(cx, &place.conversation, place.seq, target, told)
    }

    /// Makes nothing. Readers see that; whoever asked is told.
    fn give_up(&mut self, cx: &Context, place: &Place, target: &Language, state: &str) -> Result<(), Error> {
        self.done(target);
        if place.is_asked() {
            return asked::tell(cx, place, target, &Told::State { state });
        }
        Ok(())
    }
}

/// Says something about a message; nothing if it was recalled, or if so much is said about it that there is no room.
fn tell(cx: &Context, conversation: &str, seq: u64, target: &Language, told: &Told<'_>) -> Result<(), Error> {
    match cx.annotations().set(conversation, seq, target.as_str(), told) {
        Err(ServiceError::NotFound | ServiceError::Invalid(_) | ServiceError::Quota) => Ok(()),
        told => Ok(told?),
    }
}

fn put_off(cx: &Context, place: Place, failed: Vec<usize>) -> Result<(), Error> {
    cx.transact("put_off", &PutOff { place, failed })
}

fn complain(cx: &Context, provider: &str, why: &str) {
    cx.metrics().count("provider_failures", 1);
    cx.log().warn(&format!("a provider ({provider}) failed: {why}"));
}

fn pause_key(provider: usize) -> String {
    format!("pause/{provider}")
}
