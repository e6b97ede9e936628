//! The translation plugin: messages in the language of each reader, beside the original.
//!
//! Messages are never delayed. The work is stored once a message is in the log, a job calls the providers, and the translation
//! becomes an annotation of the message, which history and sync include.

mod glossary;
mod job;
mod language;
mod membership;
mod on_demand;
mod placeholders;
mod preferences;
mod providers;
mod settings;
mod usage;
mod work;

use courtyard_plugin_sdk::prelude::*;

use glossary::Glossary;
use language::Language;
use preferences::UserPreferences;
use settings::Settings;
use work::Work;

/// Most languages that a user reads.
const READS: usize = 20;

record! {
    /// No parameters.
    struct Nothing {}
}
record! {
    /// The caller's preferences: texts are translated to `language` unless they are in one of `reads`, `everywhere` or only in
    /// chosen conversations. `untranslated` keeps the caller's own messages from being translated.
    struct Preferences { language: Option<String>, reads: Option<Vec<String>>, everywhere: Option<bool>, untranslated: Option<bool> }
}
record! {
    /// Names a conversation.
    struct Which { conversation: String }
}
record! {
    /// Turns translation of a conversation on or off for the caller; without `on`, the general preference applies.
    struct Choice { conversation: String, on: Option<bool> }
}
record! {
    /// The caller's choice for a conversation, and the resulting state.
    struct Chosen { conversation: String, on: Option<bool>, translated: bool }
}
record! {
    /// Target languages.
    struct Languages { languages: Vec<String> }
}
record! {
    /// Characters used today, by the app and by the caller's messages; the state is `ok` or `capped` until `resets_ms`.
    struct Status {
        state: String,
        app_characters: u64,
        app_limit: u64,
        own_characters: u64,
        own_limit: u64,
        resets_ms: u64,
    }
}

record! {
    /// A text and its target language; by default the caller's.
    struct OnDemandRequest { text: String, to: Option<String> }
}
record! {
    /// The result: `ready` with the text, `pending`, `unneeded`, `capped` or `unavailable`.
    struct OnDemandResult {
        id: String,
        to: String,
        state: String,
        text: Option<String>,
        from: Option<String>,
        by: Option<String>,
    }
}

/// The plugin.
pub struct Translation {
    settings: Settings,
    glossary: Glossary,
}

impl Plugin for Translation {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings = Settings::parse(configuration)?;
        let glossary = Glossary::new(&settings.glossary);
        Ok(Self { settings, glossary })
    }

    fn after_send(&self, cx: &Context, message: &Message<'_>) -> Result<(), Error> {
        self.enqueue(cx, message)
    }

    /// Deletes the text and the cached translations of a recalled message.
    fn after_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        if act.name == "recall"
            && let Some(work) = Work::load(cx, &act.conversation, act.target)?
        {
            work.delete(cx, &act.conversation, act.target)?;
        }
        Ok(())
    }

    fn after_change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        self.apply_change(cx, change)
    }

    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        match &*job.name {
            "translate" => self.translate_message(cx, job.payload_as()?),
            "members" => cx.transact("members", &job.payload_as::<membership::MemberBatch>()?),
            _ => Err(Error::new("unknown_job", "This job doesn't exist.")),
        }
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.run_transaction(cx, name, payload)
    }
}

impl Translation {
    fn settings(&self, cx: &Context, _nothing: Nothing) -> Result<Preferences, Error> {
        Ok(preferences_info(preferences::user(cx, &cx.caller.actor)?))
    }

    fn set_settings(&self, cx: &Context, wanted: Preferences) -> Result<Preferences, Error> {
        let reads = wanted.reads.unwrap_or_default();
        if reads.len() > READS {
            return Err(Error::new(
                "limit_languages",
                format!("`reads` takes {READS} languages at most."),
            ));
        }
        let mut user = UserPreferences {
            actor: cx.caller.actor.clone(),
            language: wanted.language.as_deref().map(|tag| self.offered(tag)).transpose()?,
            reads: reads.iter().map(|tag| tag_of(tag)).collect::<Result<_, _>>()?,
            everywhere: wanted.everywhere.unwrap_or_default(),
            untranslated: wanted.untranslated.unwrap_or_default(),
        };
        user.reads.sort();
        user.reads.dedup();
        preferences::save(cx, &user)?;
        Ok(preferences_info(user))
    }

    fn conversation(&self, cx: &Context, which: Which) -> Result<Chosen, Error> {
        check_id(&which.conversation)?;
        let on = preferences::choice(cx, &which.conversation, &cx.caller.actor)?;
        let user = preferences::user(cx, &cx.caller.actor)?;
        Ok(Chosen {
            conversation: which.conversation,
            on,
            translated: user.language.is_some() && on.unwrap_or(user.everywhere),
        })
    }

    fn set_conversation(&self, cx: &Context, choice: Choice) -> Result<Chosen, Error> {
        check_id(&choice.conversation)?;
        let most = self.settings.user_conversations;
        preferences::choose(cx, &choice.conversation, &cx.caller.actor, choice.on, most)?;
        self.conversation(
            cx,
            Which {
                conversation: choice.conversation,
            },
        )
    }

    fn languages(&self, _cx: &Context, _nothing: Nothing) -> Result<Languages, Error> {
        let languages = self.settings.languages.iter();
        Ok(Languages {
            languages: languages.map(|language| language.as_str().to_owned()).collect(),
        })
    }

    fn status(&self, cx: &Context, _nothing: Nothing) -> Result<Status, Error> {
        let used = usage::today(cx, &cx.caller.actor)?;
        let (app_limit, own_limit) = (self.settings.day_chars, self.settings.sender_day_chars);
        let is_capped = used.app >= app_limit || used.sender >= own_limit;
        Ok(Status {
            state: if is_capped { "capped" } else { "ok" }.to_owned(),
            app_characters: used.app,
            app_limit,
            own_characters: used.sender,
            own_limit,
            resets_ms: used.resets_ms,
        })
    }

    /// Parses the tag of a target language, and checks that it is offered.
    pub(crate) fn offered(&self, tag: &str) -> Result<Language, Error> {
        let language = tag_of(tag)?;
        if self.settings.languages.contains(&language) {
            return Ok(language);
        }
        Err(Error::new(
            "invalid_language",
            "Translation to this language isn't offered here.",
        ))
    }
}

fn tag_of(tag: &str) -> Result<Language, Error> {
    Language::parse(tag).ok_or_else(|| {
        Error::new(
            "invalid_language",
            format!("Not a language tag such as \"de\" or \"pt-br\": {tag:?}."),
        )
    })
}

fn check_id(conversation: &str) -> Result<(), Error> {
    let is_id = conversation.len() == 26 && conversation.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_id {
        return Ok(());
    }
    Err(Error::new(
        "invalid_conversation",
        format!("Not a conversation id: {conversation:?}."),
    ))
}

fn preferences_info(user: UserPreferences) -> Preferences {
    Preferences {
        language: user.language.map(String::from),
        reads: Some(user.reads.into_iter().map(String::from).collect()),
        everywhere: Some(user.everywhere),
        untranslated: Some(user.untranslated),
    }
}

register! {
    plugin: Translation,
    id: "translation",
    description: "Texts in the language of each reader.",
    capabilities: [kv, memberships, annotations, jobs, fetch, secrets, sessions, watches],
    hooks: [after_send { contents: ["text"], watched }, after_act { contents: ["text"] }, after_change, action],
    methods: [settings, set_settings, conversation, set_conversation, languages, status, translate],
}

#[cfg(test)]
mod tests;
