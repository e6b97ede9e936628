//! Accounts of third parties that people sign in with.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::person::Nothing;
use crate::sign_in::address::check_ways;

/// Whose account of a third party it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Linked {
    issuer: String,
    subject: String,
    actor: String,
    /// The provider in the configuration.
    provider: String,
    since_ms: u64,
}

table! {
    Linked in "identities", key (issuer: String, subject: String);

    /// Identities of somebody.
    pub(crate) many ByActor in "actor", key (actor: String);
}

record! {
    /// An account of a third party.
    pub(crate) struct Identified { provider: String, subject: String, since_ms: u64 }
}
record! {
    /// Accounts of third parties that the caller signs in with.
    pub(crate) struct Identities { identities: Vec<Identified> }
}
record! {
    /// One of them.
    pub(crate) struct WhichIdentity { provider: String, subject: String }
}

/// Returns the actor who signs in with an account of a third party.
pub(crate) fn owner(cx: &Context, issuer: &str, subject: &str) -> Result<Option<String>, Error> {
    Ok(cx.table::<Linked>().get((issuer, subject))?.map(|linked| linked.actor))
}

/// Lets somebody sign in with an account of a third party.
///
/// # Errors
/// `identity_taken`.
pub(crate) fn link(cx: &Context, provider: &str, issuer: &str, subject: &str, actor: &str) -> Result<(), Error> {
    let linked = Linked {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        actor: actor.to_owned(),
        provider: provider.to_owned(),
        since_ms: cx.now_ms(),
    };
    match cx.table::<Linked>().insert(&linked) {
        Err(TableError::Exists { .. }) => Err(Error::new(
            "identity_taken",
            "Somebody else signs in with this account.",
        )),
        done => Ok(done?),
    }
}

pub(crate) fn count(cx: &Context, actor: &str) -> Result<usize, Error> {
    Ok(cx.table::<Linked>().by(ByActor).scan(actor).count(usize::MAX)?)
}

/// Takes all identities from somebody.
pub(crate) fn forget(cx: &Context, actor: &str) -> Result<(), Error> {
    let table = cx.table::<Linked>();
    for linked in table.by(ByActor).scan(actor) {
        table.remove(linked?.key())?;
    }
    Ok(())
}

impl Users {
    pub(crate) fn identities(&self, cx: &Context, _params: Nothing) -> Result<Identities, Error> {
        let mut identities = Vec::new();
        for linked in cx.table::<Linked>().by(ByActor).scan(cx.caller.actor.as_str()) {
            let linked = linked?;
            identities.push(Identified {
                provider: linked.provider,
                subject: linked.subject,
                since_ms: linked.since_ms,
            });
        }
        Ok(Identities { identities })
    }

    pub(crate) fn remove_identity(&self, cx: &Context, params: WhichIdentity) -> Result<Nothing, Error> {
        let actor = cx.caller.actor.as_str();
        let table = cx.table::<Linked>();
        for linked in table.by(ByActor).scan(actor) {
            let linked = linked?;
            if linked.provider == params.provider && linked.subject == params.subject {
                check_ways(cx, actor)?;
                table.remove(linked.key())?;
                return Ok(Nothing {});
            }
        }
        Err(Error::new("unknown_identity", "You don't sign in with this account."))
    }
}
