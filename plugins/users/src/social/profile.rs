//! Profiles as others see them.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account;
use crate::accounts::field::Audience;
use crate::accounts::person::{Whom, unknown};
use crate::accounts::profile::Profile;
use crate::social::{direct, friend};

impl Users {
    pub(crate) fn profile(&self, cx: &Context, params: Whom) -> Result<Profile, Error> {
        let own = cx.caller.actor.as_str();
        account::of_actor(cx, &params.actor)?.ok_or_else(unknown)?;
        let relation = friend::relation(cx, own, &params.actor)?;
        let audience = match relation {
            "self" => Some(Audience::Owner),
            _ if direct::shut(cx, own, &params.actor)?.is_some() => None,
            "friend" => Some(Audience::Friends),
            _ => Some(Audience::Everyone),
        };
        self.profile_for(cx, &params.actor, relation, audience)
    }
}
