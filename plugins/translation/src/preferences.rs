//! Preferences of users, in general and per conversation.
//!
//! Other plugins manage the conversations. The host says whether one actor is a member, but has no list of members. So the
//! plugin learns the members who want translations everywhere from the events that it observes: joins, leaves, senders, and
//! the receiver in a conversation of two. Members who left have no preferences there any more.

use std::ops::Bound;

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::language::Language;

/// Most readers of one language that are checked for one who needs the translation.
const CHECKED: usize = 50;

/// Preferences of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserPreferences {
    pub(crate) actor: String,
    /// Target language; none for no translations at all.
    pub(crate) language: Option<Language>,
    /// Languages that the user reads without a translation.
    #[serde(default)]
    pub(crate) reads: Vec<Language>,
    /// True to translate conversations unless the user opted out there.
    #[serde(default)]
    pub(crate) everywhere: bool,
    /// True to keep the user's own messages from being translated.
    #[serde(default)]
    pub(crate) untranslated: bool,
}

table! {
    UserPreferences in "users", key (actor: String);
}

impl UserPreferences {
    /// Returns true if the user reads a language without a translation.
    fn understands(&self, language: &Language) -> bool {
        let mut known = self.language.iter().chain(&self.reads);
        known.any(|known| known.is_like(language))
    }

    /// Returns the target language in a conversation where the user chose `on`.
    fn wants(&self, on: Option<bool>) -> Option<Language> {
        self.language.clone().filter(|_| on.unwrap_or(self.everywhere))
    }
}

/// Preferences of a user in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reader {
    conversation: String,
    actor: String,
    /// The user's choice here; none to follow the general preference.
    on: Option<bool>,
    /// Target language of the user here.
    language: Option<Language>,
    /// True if the user is known to have left.
    left: bool,
    /// When membership was last observed; milliseconds since 1970.
    since_ms: u64,
}

table! {
    Reader in "readers", key (conversation: String, actor: String);

    /// Readers of a target language in a conversation.
    many ByLanguage in "language", key (String, String) = |reader| {
        let language = reader.language.as_ref().filter(|_| !reader.left);
        language.map(|language| (reader.conversation.clone(), language.as_str().to_owned()))
    };

    /// The conversations of a user.
    many ByActor in "actor", key (String) = |reader| (!reader.left).then(|| reader.actor.clone());
}

/// Returns the preferences of a user; the defaults if none are stored.
pub(crate) fn user(cx: &Context, actor: &str) -> Result<UserPreferences, Error> {
    let unknown = || UserPreferences {
        actor: actor.to_owned(),
        ..UserPreferences::default()
    };
    Ok(cx.table::<UserPreferences>().get(actor)?.unwrap_or_else(unknown))
}

/// Stores the preferences of a user, and applies them to all conversations of the user.
pub(crate) fn save(cx: &Context, user: &UserPreferences) -> Result<(), Error> {
    cx.table::<UserPreferences>().put(user)?;
    // Messages of conversations without such members don't reach the plugin.
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

/// Returns a user's choice for a conversation.
pub(crate) fn choice(cx: &Context, conversation: &str, actor: &str) -> Result<Option<bool>, Error> {
    let reader = cx.table::<Reader>().get((conversation, actor))?;
    Ok(reader.and_then(|reader| reader.on))
}

/// Stores a user's choice for a conversation; none to follow the general preference.
pub(crate) fn choose(
    cx: &Context,
    conversation: &str,
    actor: &str,
    on: Option<bool>,
    most: usize,
) -> Result<(), Error> {
    if !cx.memberships().is_member(conversation, actor)? {
        return Err(Error::new("forbidden", "You aren't a member of this conversation."));
    }
    let readers = cx.table::<Reader>();
    // A member who came back may call this before the plugin observes the join.
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
        let sentence = format!("You have settings for {most} conversations, which is the limit. Reset one first.");
        return Err(Error::new("limit_conversations", sentence));
    }
    readers.put(&Reader {
        on,
        language,
        ..known.unwrap_or_else(|| reader(conversation, actor, 0))
    })?;
    Ok(())
}

/// Records that an actor is a member.
pub(crate) fn joined(cx: &Context, conversation: &str, actor: &str, time_ms: u64, most: usize) -> Result<(), Error> {
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
    // Members of more conversations turn translation on one by one.
    if readers.by(ByActor).scan(actor).count(most)? < most {
        readers.put(&Reader {
            language: Some(language),
            ..reader(conversation, actor, time_ms)
        })?;
    }
    Ok(())
}

/// Records that an actor left.
pub(crate) fn left(cx: &Context, conversation: &str, actor: &str, time_ms: u64) -> Result<(), Error> {
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

/// Returns the target languages of a message's readers, without those that only the sender wants; up to `most`.
pub(crate) fn languages(
    cx: &Context,
    conversation: &str,
    sender: &str,
    receiver: &str,
    most: usize,
) -> Result<Vec<Language>, Error> {
    // A conversation of two has one known reader.
    if !receiver.is_empty() {
        let on = choice(cx, conversation, receiver)?;
        return Ok(user(cx, receiver)?.wants(on).into_iter().collect());
    }
    let readers = cx.table::<Reader>();
    let mut wanted = Vec::new();
    let mut last = String::new();
    // Skips from each language to the next one: the cost depends on the number of languages, not of readers.
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

/// Returns true if a reader of the target language doesn't understand the source language. After [`CHECKED`] readers it
/// assumes that one exists.
pub(crate) fn is_needed(
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
        if seen == CHECKED {
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
