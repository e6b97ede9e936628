//! Profiles as others see them.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account;
use crate::accounts::field::Audience;
use crate::accounts::person::{PersonParams, unknown_person};
use crate::accounts::profile::Profile;
use crate::social::{direct, friend};

impl Users {
    /// Returns a profile as far as the caller may see it. People who can't reach each other see what lists of people show.
    pub(crate) fn profile(&self, cx: &Context, params: PersonParams) -> Result<Profile, Error> {
        let own = cx.caller.actor.as_str();
        account::find_by_actor(cx, &params.actor)?.ok_or_else(unknown_person)?;
        let relation = friend::relation(cx, own, &params.actor)?;
        let audience = match relation {
            "self" => Some(Audience::Owner),
            _ if direct::block_reason(cx, own, &params.actor)?.is_some() => None,
            "friend" => Some(Audience::Friends),
            _ => Some(Audience::Everyone),
        };
        self.profile_for(cx, &params.actor, relation, audience)
    }
}
