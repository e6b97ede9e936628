//! Who reads what: the settings of users, and those of users in conversations.
//!
//! Conversations belong to other plugins. Whether one actor is a member the host tells, but not who all are: those who want
//! translations everywhere are known by what the plugin is told, who joins, who leaves, who sends, and who receives in a
//! conversation of two. Whoever is known to have left asks for nothing any more.

use std::ops::Bound;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::language::Language;

/// The most readers of one language that are looked at to see whether one needs it.
const LOOKED_AT: usize = 50;

/// What a user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) actor: String,
    /// What texts are translated to; none for no translations at all.
    pub(crate) language: Option<Language>,
    /// What the user reads anyway.
    #[serde(default)]
    pub(crate) reads: Vec<Language>,
    /// Whether conversations are translated unless the user says otherwise.
    #[serde(default)]
    pub(crate) everywhere: bool,
    /// Whether what the user writes is not to be translated for anybody.
    #[serde(default)]
    pub(crate) untranslated: bool,
}

table! {
    User in "users", key (actor: String);
}

impl User {
    /// Tells whether the user reads a language without help.
    fn understands(&self, language: &Language) -> bool {
        let mut known = self.language.iter().chain(&self.reads);
        known.any(|known| known.is_like(language))
    }

    fn wants(&self, on: Option<bool>) -> Option<Language> {
        self.language.clone().filter(|_| on.unwrap_or(self.everywhere))
    }
}

/// A user in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reader {
    conversation: String,
    actor: String,
    /// What the user chose here; none to do as everywhere.
    on: Option<bool>,
    /// What texts here are translated to for this user.
    language: Option<Language>,
    /// Whether the user is known to be no member any more.
    left: bool,
    /// When that was said last, in milliseconds since 1970.
    since_ms: u64,
}

table! {
    Reader in "readers", key (conversation: String, actor: String);

    /// Those who want a language in a conversation.
    many ByLanguage in "language", key (String, String) = |reader| {
        let language = reader.language.as_ref().filter(|_| !reader.left);
        language.map(|language| (reader.conversation.clone(), language.as_str().to_owned()))
    };

    /// The conversations of a user.
    many ByActor in "actor", key (String) = |reader| (!reader.left).then(|| reader.actor.clone());
}

/// Reads what a user wants.
pub(crate) fn user(cx: &Context, actor: &str) -> Result<User, Error> {
    let unknown = || User {
        actor: actor.to_owned(),
        ..User::default()
    };
    Ok(cx.table::<User>().get(actor)?.unwrap_or_else(unknown))
}

/// Sets what a user wants, in all conversations of the user.
pub(crate) fn save(cx: &Context, user: &User) -> Result<(), Error> {
    cx.table::<User>().put(user)?;
    // Where nobody wants a translation, no message costs anything.
    cx.watches().actor(&user.actor, user.language.is_some())?;
    let readers = cx.table::<Reader>();
    for reader in readers.by(ByActor).scan(&*user.actor) {
        let mut reader = reader?;
        reader.language = user.wants(reader.on);
        if reader.on.is_none() && reader.language.is_none() {
            readers.remove(reader.key())?;
        } else {
            readers.put(&reader)?;
        }
    }
    Ok(())
}

/// Returns what a user chose for a conversation.
pub(crate) fn choice(cx: &Context, conversation: &str, actor: &str) -> Result<Option<bool>, Error> {
    let reader = cx.table::<Reader>().get((conversation, actor))?;
    Ok(reader.and_then(|reader| reader.on))
}

/// Sets what a user chooses for a conversation; none to do as everywhere.
pub(crate) fn choose(
    cx: &Context,
    conversation: &str,
    actor: &str,
    on: Option<bool>,
    most: usize,
) -> Result<(), Error> {
    if !cx.memberships().is_member(conversation, actor)? {
        return Err(Error::new("not_a_member", "You are no member of this conversation."));
    }
    let readers = cx.table::<Reader>();
    // Whoever came back is there before the plugin is told so.
    let known = readers.get((conversation, actor))?.map(|known| match known.left {
        true => reader(conversation, actor, cx.now_ms()),
        false => known,
    });
    let language = user(cx, actor)?.wants(on);
    if on.is_none() && language.is_none() {
        readers.remove((conversation, actor))?;
        return Ok(());
    }
    if known.is_none() && readers.by(ByActor).scan(actor).count(most)? >= most {
        let sentence = format!("You have settings of {most} conversations, which is the most.");
        return Err(Error::new("too_many_conversations", sentence));
    }
    readers.put(&Reader {
        on,
        language,
        ..known.unwrap_or_else(|| reader(conversation, actor, 0))
    })?;
    Ok(())
}

/// Notes that an actor is a member.
pub(crate) fn is_there(cx: &Context, conversation: &str, actor: &str, time_ms: u64, most: usize) -> Result<(), Error> {
    let readers = cx.table::<Reader>();
    match readers.get((conversation, actor))? {
        Some(known) if known.left && known.since_ms <= time_ms => {
            readers.remove((conversation, actor))?;
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let Some(language) = user(cx, actor)?.wants(None) else {
        return Ok(());
    };
    // Whoever is in more conversations than that chooses them one by one.
    if readers.by(ByActor).scan(actor).count(most)? < most {
        readers.put(&Reader {
            language: Some(language),
            ..reader(conversation, actor, time_ms)
        })?;
    }
    Ok(())
}

/// Notes that an actor is no member any more.
pub(crate) fn is_gone(cx: &Context, conversation: &str, actor: &str, time_ms: u64) -> Result<(), Error> {
    let readers = cx.table::<Reader>();
    let known = readers.get((conversation, actor))?;
    if known.as_ref().is_none_or(|reader| reader.since_ms <= time_ms) {
        readers.put(&Reader {
            left: true,
            ..reader(conversation, actor, time_ms)
        })?;
    }
    Ok(())
}

/// Lists the languages that others than the sender want a message in.
pub(crate) fn languages(
    cx: &Context,
    conversation: &str,
    sender: &str,
    receiver: &str,
    most: usize,
) -> Result<Vec<Language>, Error> {
    // In a conversation of two it is known who reads.
    if !receiver.is_empty() {
        let on = choice(cx, conversation, receiver)?;
        return Ok(user(cx, receiver)?.wants(on).into_iter().collect());
    }
    let readers = cx.table::<Reader>();
    let mut wanted = Vec::new();
    let mut last = String::new();
    // From each language to the next one: that costs as much as there are languages, however many readers there are.
    loop {
        let behind = (
            Bound::Excluded((conversation, &*last)),
            Bound::Included((conversation, "~")),
        );
        let Some(next) = readers
            .by(ByLanguage)
            .range(behind)
            .first()?
            .and_then(|reader| reader.language)
        else {
            return Ok(wanted);
        };
        last = next.as_str().to_owned();
        let others = readers.by(ByLanguage).scan((conversation, &*last)).keys().take(2);
        for key in others {
            if key?.1 != sender {
                wanted.push(next);
                break;
            }
        }
        if wanted.len() >= most {
            return Ok(wanted);
        }
    }
}

/// Tells whether one of those who want a language does not understand the text anyway.
pub(crate) fn need(
    cx: &Context,
    conversation: &str,
    sender: &str,
    receiver: &str,
    target: &Language,
    source: &Language,
) -> Result<bool, Error> {
    if !receiver.is_empty() {
        return Ok(!user(cx, receiver)?.understands(source));
    }
    let readers = cx.table::<Reader>();
    let mut seen = 0;
    for key in readers.by(ByLanguage).scan((conversation, target.as_str())).keys() {
        let actor = key?.1;
        if actor != sender && !user(cx, &actor)?.understands(source) {
            return Ok(true);
        }
        seen += 1;
        if seen == LOOKED_AT {
            return Ok(true);
        }
    }
    Ok(false)
}

fn reader(conversation: &str, actor: &str, since_ms: u64) -> Reader {
    Reader {
        conversation: conversation.to_owned(),
        actor: actor.to_owned(),
        since_ms,
        ..Reader::default()
    }
}
