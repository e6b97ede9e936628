//! Accounts: their names, their stored form, and their keys.
//!
//! `name/NAME` holds the account and `actor/ACTOR` its name. `closed/ACTOR` exists if the account is closed.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accounts::name_index;
use crate::accounts::password_hash::PasswordHash;
use crate::error;
use crate::secret::hex;

/// The name of an account in lower case. Names are unique without regard to case.
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
            Err(Error::new(
                error::INVALID_NAME,
                "A name has 3 to 32 characters: ASCII letters, digits, `_`, `.` and `-`.",
            ))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn key(&self) -> String {
        format!("name/{}", self.0)
    }
}

/// The name that other people see.
pub(crate) struct DisplayName(pub(crate) String);

impl DisplayName {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(
                error::INVALID_DISPLAY_NAME,
                "A display name is 1 to 64 printable characters.",
            ))
        }
    }
}

/// A stored account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) actor: String,
    /// In the case in which its owner wrote it.
    pub(crate) name: String,
    pub(crate) display_name: String,
    /// `None` for accounts that a code or an identity provider created, until the owner sets one.
    #[serde(default)]
    pub(crate) password: Option<PasswordHash>,
    /// The id of a blob of this plugin.
    #[serde(default)]
    pub(crate) avatar: Option<String>,
}

impl Account {
    /// Creates an account, its name index and the event `registered`.
    ///
    /// # Errors
    /// `conflict_name`.
    pub(crate) fn create(
        cx: &Context,
        name: &str,
        display_name: DisplayName,
        password: Option<PasswordHash>,
    ) -> Result<Self, Error> {
        let parsed = Name::parse(name)?;
        if find_by_name(cx, &parsed)?.is_some() {
            return Err(Error::new(
                error::CONFLICT_NAME,
                "This name is taken. Choose another one.",
            ));
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
        name_index::update(cx, None, Some(&account))?;
        let payload = json!({ "actor": account.actor, "name": account.name });
        cx.events().publish("registered", &payload)?;
        Ok(account)
    }

    /// Stores the account. Its name must not have changed.
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

/// Returns the account of a name.
pub(crate) fn find_by_name(cx: &Context, name: &Name) -> Result<Option<Account>, Error> {
    Ok(cx.kv().get_json(name.key())?)
}

/// Returns the account of an actor, also if it is closed.
pub(crate) fn find_by_actor(cx: &Context, actor: &str) -> Result<Option<Account>, Error> {
    let Some(name) = cx.kv().get(actor_key(actor))? else {
        return Ok(None);
    };
    find_by_name(cx, &Name(String::from_utf8_lossy(&name).into_owned()))
}

/// Returns a free name: `preferred` without characters that names can't have, or else a name with a random suffix.
pub(crate) fn free_name(cx: &Context, preferred: &str) -> Result<String, Error> {
    let is_allowed = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-');
    let preferred: String = preferred.chars().filter(is_allowed).take(19).collect();
    if let Ok(name) = Name::parse(&preferred)
        && find_by_name(cx, &name)?.is_none()
    {
        return Ok(preferred);
    }
    let stem = if preferred.is_empty() { "user" } else { &preferred };
    Ok(format!("{stem}-{}", hex(&cx.random::<6>())))
}

/// Lists accounts by name: those that begin with `prefix`, behind the name `after`.
pub(crate) fn list(cx: &Context, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Account>, Error> {
    let first = format!("name/{prefix}");
    // Every character of a name sorts before `~`.
    let end = format!("{first}~");
    let start = match after {
        Some(after) if after >= prefix => format!("name/{}\0", after.to_lowercase()),
        _ => first,
    };
    let rows = cx.kv().scan(start, end, limit)?;
    let parse = |(_, json): (Vec<u8>, Vec<u8>)| {
        serde_json::from_slice(&json).map_err(|error| Error::new(error::INTERNAL, error.to_string()))
    };
    rows.into_iter().map(parse).collect()
}

/// True if the account is closed.
pub(crate) fn is_closed(cx: &Context, actor: &str) -> Result<bool, Error> {
    Ok(cx.kv().get(closed_key(actor))?.is_some())
}

/// Marks an account as closed, permanently. Its name stays taken.
pub(crate) fn close(cx: &Context, actor: &str) -> Result<(), Error> {
    cx.kv().set(closed_key(actor), "")?;
    Ok(())
}
