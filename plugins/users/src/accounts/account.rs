//! Accounts: names, what is kept of them, and where.
//!
//! `name/NAME` holds the account, `actor/ACTOR` its name, and `closed/ACTOR` is there when it was closed.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accounts::name_index;
use crate::accounts::password_hash::Hashed;
use crate::secret::hex;

/// A name that is unique without regard to case.
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fits = (3..=32).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if fits {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(Error::new("bad_name", "A name is 3 to 32 letters, digits and _ . -"))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn key(&self) -> String {
        format!("name/{}", self.0)
    }
}

/// What others see.
pub(crate) struct DisplayName(pub(crate) String);

impl DisplayName {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(
                "bad_display_name",
                "A display name is 1 to 64 printable characters.",
            ))
        }
    }
}

/// An account as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) actor: String,
    /// As its owner wrote it.
    pub(crate) name: String,
    pub(crate) display_name: String,
    /// Those who came by a code or a third party may have none.
    #[serde(default)]
    pub(crate) password: Option<Hashed>,
    /// A blob of this plugin.
    #[serde(default)]
    pub(crate) avatar: Option<String>,
}

impl Account {
    /// Makes a new account.
    ///
    /// # Errors
    /// `name_taken`.
    pub(crate) fn create(
        cx: &Context,
        name: &str,
        display_name: DisplayName,
        password: Option<Hashed>,
    ) -> Result<Self, Error> {
        let parsed = Name::parse(name)?;
        if find(cx, &parsed)?.is_some() {
            return Err(Error::new("name_taken", "This name is taken."));
        }
        let account = Self {
            actor: format!("u{}", hex(&cx.random::<12>())),
            name: name.to_owned(),
            display_name: display_name.0,
            password,
            avatar: None,
        };
        cx.kv().set_json(parsed.key(), &account)?;
        cx.kv().set(actor_key(&account.actor), &parsed.0)?;
        name_index::rename(cx, None, Some(&account))?;
        let payload = json!({ "actor": account.actor, "name": account.name });
        cx.events().publish("registered", &payload)?;
        Ok(account)
    }

    /// Writes what changed; the name stays.
    pub(crate) fn save(&self, cx: &Context) -> Result<(), Error> {
        let name = Name::parse(&self.name)?;
        Ok(cx.kv().set_json(name.key(), self)?)
    }
}

fn actor_key(actor: &str) -> String {
    format!("actor/{actor}")
}

fn closed_key(actor: &str) -> String {
    let mut key = String::with_capacity(7 + actor.len());
    key.push_str("closed/");
    key.push_str(actor);
    key
}

pub(crate) fn find(cx: &Context, name: &Name) -> Result<Option<Account>, Error> {
    Ok(cx.kv().get_json(name.key())?)
}

pub(crate) fn of_actor(cx: &Context, actor: &str) -> Result<Option<Account>, Error> {
    let Some(name) = cx.kv().get(actor_key(actor))? else {
        return Ok(None);
    };
    find(cx, &Name(String::from_utf8_lossy(&name).into_owned()))
}

/// Finds a name that nobody has: the one that is wished for, what it can be made of it, or any.
pub(crate) fn free_name(cx: &Context, wish: &str) -> Result<String, Error> {
    let fitting = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-');
    let wish: String = wish.chars().filter(fitting).take(19).collect();
    if let Ok(name) = Name::parse(&wish)
        && find(cx, &name)?.is_none()
    {
        return Ok(wish);
    }
    let stem = if wish.is_empty() { "user" } else { &wish };
    Ok(format!("{stem}-{}", hex(&cx.random::<6>())))
}

/// Lists accounts by name.
pub(crate) fn list(cx: &Context, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Account>, Error> {
    let first = format!("name/{prefix}");
    // No name has a character behind `~`.
    let end = format!("{first}~");
    let start = match after {
        Some(after) if after >= prefix => format!("name/{}\0", after.to_lowercase()),
        _ => first,
    };
    let entries = cx.kv().scan(start, end, limit)?;
    let read = |(_, json): (Vec<u8>, Vec<u8>)| {
        serde_json::from_slice(&json).map_err(|error| Error::new("damaged", error.to_string()))
    };
    entries.into_iter().map(read).collect()
}

pub(crate) fn is_closed(cx: &Context, actor: &str) -> Result<bool, Error> {
    Ok(cx.kv().get(closed_key(actor))?.is_some())
}

/// Closes an account for good; its name stays taken.
pub(crate) fn close(cx: &Context, actor: &str) -> Result<(), Error> {
    cx.kv().set(closed_key(actor), "")?;
    Ok(())
}
