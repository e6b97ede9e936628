//! Checks that the caller can reach other people: for other plugins, and for pictures.

use courtyard_plugin_sdk::prelude::*;

use crate::Users;
use crate::accounts::account;
use crate::accounts::person::{Actors, People, Person, check_count};
use crate::error;
use crate::social::direct;

impl Users {
    /// Returns people for plugins that add them to conversations. Fails if the caller can't reach one of them.
    pub(crate) fn reachable(&self, cx: &Context, params: Actors) -> Result<People, Error> {
        check_count(&params.actors)?;
        let mut people = Vec::new();
        for actor in &params.actors {
            direct::check_reachable(cx, &cx.caller.actor, actor)?;
            if !account::is_closed(cx, actor)? {
                people.extend(account::find_by_actor(cx, actor)?.map(Person::from));
            }
        }
        Ok(People { people, next: None })
    }

    /// Checks that the caller may download a picture.
    pub(crate) fn may_see_picture(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        match &*cx.caller.actor {
            _ if self.settings.avatar.public => Ok(()),
            "" => Err(Error::new(error::UNAUTHENTICATED, "Sign in first.")),
            own => direct::check_reachable(cx, own, &blob.uploader),
        }
    }
}
