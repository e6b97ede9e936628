//! Whom the caller can reach: for other plugins, and for pictures.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Actors, People, Person, check_count};
use crate::social::direct;

impl Users {
    /// Returns people whom the caller can reach, for plugins that bring people together; refuses if something keeps one of
    /// them and the caller apart.
    pub(crate) fn reachable(&self, cx: &Context, params: Actors) -> Result<People, Error> {
        check_count(&params.actors)?;
        let mut people = Vec::new();
        for actor in &params.actors {
            direct::check(cx, &cx.caller.actor, actor)?;
            if !account::is_closed(cx, actor)? {
                people.extend(account::of_actor(cx, actor)?.map(Person::from));
            }
        }
        Ok(People { people, next: None })
    }

    pub(crate) fn may_see_picture(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        match &*cx.caller.actor {
            _ if self.settings.avatar.public => Ok(()),
            "" => Err(Error::new("unauthenticated", "Sign in first.")),
            own => direct::check(cx, own, &blob.uploader),
        }
    }
}
