//! Profiles: biography, locale, time zone and custom fields.
//!
//! `profile/ACTOR` holds the part that isn't in the account.

use std::collections::BTreeMap;

use courtyard_plugin_sdk::Schema;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Users;
use crate::accounts::account::{self, DisplayName};
use crate::accounts::field::Audience;
use crate::accounts::person::unknown_person;
use crate::accounts::{avatar, name_index};
use crate::error;

/// The values of custom fields by the names of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CustomFields(BTreeMap<String, Value>);

impl Schema for CustomFields {
    const JSON: &'static str = r#"{"type":"object"}"#;
    const LIST: &'static str = r#"{"type":"array","items":{"type":"object"}}"#;
}

/// A stored profile.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredProfile {
    bio: String,
    locale: String,
    time_zone: String,
    fields: CustomFields,
}

record! {
    /// Changes to the caller's profile. A missing member stays; an empty text, and `null` in `fields`, clears.
    pub(crate) struct ProfileChanges {
        display_name: Option<String>,
        avatar: Option<String>,
        bio: Option<String>,
        locale: Option<String>,
        time_zone: Option<String>,
        fields: Option<CustomFields>,
    }
}
record! {
    /// A profile, as far as the viewer may see it.
    pub(crate) struct Profile {
        actor: String,
        name: String,
        display_name: String,
        avatar: Option<String>,
        bio: String,
        locale: String,
        time_zone: String,
        fields: CustomFields,
        relation: String,
    }
}

fn key(actor: &str) -> String {
    format!("profile/{actor}")
}

fn stored(cx: &Context, actor: &str) -> Result<StoredProfile, Error> {
    Ok(cx.kv().get_json(key(actor))?.unwrap_or_default())
}

/// Deletes a profile and its picture.
pub(crate) fn delete(cx: &Context, actor: &str) -> Result<(), Error> {
    cx.kv().delete(key(actor))?;
    avatar::replace(cx, actor, None)
}

/// True if a text has the form of a language tag (BCP 47).
fn is_locale(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_language = |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 35 && parts.next().is_some_and(is_language) && parts.all(is_part)
}

/// True if a text has the form of a name in the time zone database, such as `Europe/Berlin`.
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
    /// Returns a profile as `audience` sees it. `None` shows only what lists of people show as well.
    pub(crate) fn profile_for(
        &self,
        cx: &Context,
        actor: &str,
        relation: &str,
        audience: Option<Audience>,
    ) -> Result<Profile, Error> {
        let account = account::find_by_actor(cx, actor)?.ok_or_else(unknown_person)?;
        let profile = match audience {
            None => StoredProfile::default(),
            Some(_) => stored(cx, actor)?,
        };
        let mut fields = profile.fields;
        // A field that is no longer declared isn't shown.
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
            bio: profile.bio,
            locale: profile.locale,
            time_zone: profile.time_zone,
            fields,
            relation: relation.to_owned(),
        })
    }

    pub(crate) fn set_profile(&self, cx: &Context, params: ProfileChanges) -> Result<Profile, Error> {
        let actor = cx.caller.actor.clone();
        let mut profile = stored(cx, &actor)?;
        if let Some(bio) = params.bio {
            let bio = bio.trim();
            let most = self.settings.bio_chars;
            if bio.chars().count() > most || bio.chars().any(|char| char.is_control() && char != '\n') {
                let sentence = format!("A biography has up to {most} printable characters.");
                return Err(Error::new(error::INVALID_BIO, sentence));
            }
            bio.clone_into(&mut profile.bio);
        }
        if let Some(locale) = params.locale {
            if !locale.is_empty() && !is_locale(&locale) {
                return Err(Error::new(
                    error::INVALID_LOCALE,
                    "A locale is a language tag, such as `de-CH`.",
                ));
            }
            profile.locale = locale;
        }
        if let Some(zone) = params.time_zone {
            if !zone.is_empty() && !is_time_zone(&zone) {
                let sentence = "A time zone is a name of the time zone database, such as `Europe/Berlin`.";
                return Err(Error::new(error::INVALID_TIME_ZONE, sentence));
            }
            profile.time_zone = zone;
        }
        for (name, value) in params.fields.unwrap_or_default().0 {
            let field = self.settings.fields.iter().find(|field| field.name == name);
            let field = field.ok_or_else(|| {
                Error::new(
                    error::UNKNOWN_FIELD,
                    format!("The operator declares no field {name:?}."),
                )
            })?;
            if value.is_null() {
                profile.fields.0.remove(&name);
            } else {
                field.check(&value)?;
                profile.fields.0.insert(name, value);
            }
        }
        if let Some(text) = params.display_name {
            let mut account = account::find_by_actor(cx, &actor)?.ok_or_else(unknown_person)?;
            let before = account.clone();
            account.display_name = DisplayName::parse(&text)?.0;
            account.save(cx)?;
            name_index::update(cx, Some(&before), Some(&account))?;
        }
        if let Some(picture) = params.avatar {
            self.choose_picture(cx, &actor, picture)?;
        }
        cx.kv().set_json(key(&actor), &profile)?;
        cx.sessions()
            .signal(std::slice::from_ref(&actor), "profile", &json!({ "actor": actor }))?;
        cx.events().publish("profile_changed", &json!({ "actor": actor }))?;
        self.profile_for(cx, &actor, "self", Some(Audience::Owner))
    }

    /// Sets or removes the picture. An upload sets it on completion, so this accepts the current picture or an empty id.
    fn choose_picture(&self, cx: &Context, actor: &str, picture: String) -> Result<(), Error> {
        if picture.is_empty() {
            return avatar::replace(cx, actor, None);
        }
        let blob = cx.blobs().get(&picture);
        if !blob.is_ok_and(|blob| blob.uploader == actor) {
            return Err(Error::new(
                error::UNKNOWN_PICTURE,
                "You have no such picture. Upload it first.",
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
