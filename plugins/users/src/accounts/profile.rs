//! Profiles: what people say about themselves.
//!
//! `profile/ACTOR` holds what is not in the account.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::Schema;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Users;
use crate::accounts::account::{self, DisplayName};
use crate::accounts::field::Audience;
use crate::accounts::person::unknown;
use crate::accounts::{avatar, name_index};

/// Custom fields with their values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(BTreeMap<String, Value>);

impl Schema for Fields {
    const JSON: &'static str = r#"{"type":"object"}"#;
    const LIST: &'static str = r#"{"type":"array","items":{"type":"object"}}"#;
}

/// A profile as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    bio: String,
    locale: String,
    time_zone: String,
    fields: Fields,
}

record! {
    /// What is to be in the caller's profile. What is left out stays; an empty text, and `null` in `fields`, clears.
    pub(crate) struct Changes {
        display_name: Option<String>,
        avatar: Option<String>,
        bio: Option<String>,
        locale: Option<String>,
        time_zone: Option<String>,
        fields: Option<Fields>,
    }
}
record! {
    /// Somebody's profile, as far as the caller may see it.
    pub(crate) struct Profile {
        actor: String,
        name: String,
        display_name: String,
        avatar: Option<String>,
        bio: String,
        locale: String,
        time_zone: String,
        fields: Fields,
        relation: String,
    }
}

fn key(actor: &str) -> String {
    format!("profile/{actor}")
}

fn kept(cx: &Context, actor: &str) -> Result<Kept, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

/// Forgets what somebody said about themselves.
pub(crate) fn forget(cx: &Context, actor: &str) -> Result<(), Error> {
    cx.kv().delete(key(actor))?;
    avatar::replace(cx, actor, None)
}

/// Tells whether a text has the form of a language tag (BCP 47).
fn is_locale(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_language = |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 35 && parts.next().is_some_and(is_language) && parts.all(is_part)
}

/// Tells whether a text has the form of a name in the time zone database, such as `Europe/Berlin`.
fn is_time_zone(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-'))
    };
    text.len() <= 64 && text.split('/').all(is_part)
}

impl Users {
    /// Returns a profile as `audience` sees it; `None` leaves out everything that is not in every list of people.
    pub(crate) fn profile_for(
        &self,
        cx: &Context,
        actor: &str,
        relation: &str,
        audience: Option<Audience>,
    ) -> Result<Profile, Error> {
        let account = account::of_actor(cx, actor)?.ok_or_else(unknown)?;
        let kept = match audience {
            None => Kept::default(),
            Some(_) => kept(cx, actor)?,
        };
        let mut fields = kept.fields;
        // A field that is not declared any more is not shown either.
        let visible = |name: &str| {
            let declared = self.settings.fields.iter().find(|field| field.name == name);
            declared.is_some_and(|field| audience.is_some_and(|audience| field.visible <= audience))
        };
        fields.0.retain(|name, _| visible(name));
        Ok(Profile {
            actor: account.actor,
            name: account.name,
            display_name: account.display_name,
            avatar: account.avatar,
            bio: kept.bio,
            locale: kept.locale,
            time_zone: kept.time_zone,
            fields,
            relation: relation.to_owned(),
        })
    }

    pub(crate) fn set_profile(&self, cx: &Context, params: Changes) -> Result<Profile, Error> {
        let actor = cx.caller.actor.clone();
        let mut kept = kept(cx, &actor)?;
        if let Some(bio) = params.bio {
            let bio = bio.trim();
            let most = self.settings.bio_chars;
            if bio.chars().count() > most || bio.chars().any(|char| char.is_control() && char != '\n') {
                let sentence = format!("A bio has up to {most} printable characters.");
                return Err(Error::new("bad_bio", sentence));
            }
            bio.clone_into(&mut kept.bio);
        }
        if let Some(locale) = params.locale {
            if !locale.is_empty() && !is_locale(&locale) {
                return Err(Error::new("bad_locale", "A locale is a language tag, such as `de-CH`."));
            }
            kept.locale = locale;
        }
        if let Some(zone) = params.time_zone {
            if !zone.is_empty() && !is_time_zone(&zone) {
                let sentence = "A time zone is a name of the database, such as `Europe/Berlin`.";
                return Err(Error::new("bad_time_zone", sentence));
            }
            kept.time_zone = zone;
        }
        for (name, value) in params.fields.unwrap_or_default().0 {
            let field = self.settings.fields.iter().find(|field| field.name == name);
            let field = field.ok_or_else(|| Error::new("unknown_field", format!("There is no field {name:?}.")))?;
            if value.is_null() {
                kept.fields.0.remove(&name);
            } else {
                field.check(&value)?;
                kept.fields.0.insert(name, value);
            }
        }
        if let Some(text) = params.display_name {
            let mut account = account::of_actor(cx, &actor)?.ok_or_else(unknown)?;
            let before = account.clone();
            account.display_name = DisplayName::parse(&text)?.0;
            account.save(cx)?;
            name_index::rename(cx, Some(&before), Some(&account))?;
        }
        if let Some(picture) = params.avatar {
            self.choose_picture(cx, &actor, picture)?;
        }
        cx.kv().set_json(key(&actor), &kept)?;
        cx.sessions()
            .signal(std::slice::from_ref(&actor), "profile", &json!({ "actor": actor }))?;
        cx.events().publish("profile_changed", &json!({ "actor": actor }))?;
        self.profile_for(cx, &actor, "self", Some(Audience::Owner))
    }

    /// An upload is the picture as soon as it is complete; what is left to choose is the same one again, or none.
    fn choose_picture(&self, cx: &Context, actor: &str, picture: String) -> Result<(), Error> {
        if picture.is_empty() {
            return avatar::replace(cx, actor, None);
        }
        let blob = cx.blobs().get(&picture);
        if !blob.is_ok_and(|blob| blob.uploader == actor) {
            return Err(Error::new(
                "unknown_picture",
                "You have no such picture; upload it first.",
            ));
        }
        avatar::replace(cx, actor, Some(picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_and_time_zones_have_their_forms() {
        for good in ["de", "de-CH", "zh-Hant-TW", "sl-rozaj-biske", "en-u-ca-buddhist"] {
            assert!(is_locale(good), "{good}");
        }
        for bad in ["", "d", "de_CH", "de--CH", "1a", "überall", &"a-".repeat(30)] {
            assert!(!is_locale(bad), "{bad}");
        }
        for good in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert!(is_time_zone(good), "{good}");
        }
        for bad in ["", "/", "Europe/", "Europe Berlin", "../etc"] {
            assert!(!is_time_zone(bad), "{bad}");
        }
    }
}
