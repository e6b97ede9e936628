//! Identities: accounts at identity providers that people sign in with.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Users;
use crate::accounts::person::Nothing;
use crate::error;
use crate::sign_in::address::check_not_last_sign_in;

/// An identity and the account that signs in with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkedIdentity {
    issuer: String,
    subject: String,
    actor: String,
    /// The id of the provider in the configuration.
    provider: String,
    since_ms: u64,
}

table! {
    LinkedIdentity in "identities", key (issuer: String, subject: String);

    /// Identities by account.
    pub(crate) many IdentitiesByActor in "actor", key (actor: String);
}

record! {
    /// An identity of the caller.
    pub(crate) struct IdentityInfo { provider: String, subject: String, since_ms: u64 }
}
record! {
    /// The identities of the caller.
    pub(crate) struct IdentityList { identities: Vec<IdentityInfo> }
}
record! {
    /// One identity.
    pub(crate) struct IdentityParams { provider: String, subject: String }
}

/// Returns the actor who owns an identity.
pub(crate) fn owner(cx: &Context, issuer: &str, subject: &str) -> Result<Option<String>, Error> {
    Ok(cx
        .table::<LinkedIdentity>()
        .get((issuer, subject))?
        .map(|linked| linked.actor))
}

/// Links an identity to an account.
///
/// # Errors
/// `conflict_identity`.
pub(crate) fn link(cx: &Context, provider: &str, issuer: &str, subject: &str, actor: &str) -> Result<(), Error> {
    let linked = LinkedIdentity {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        actor: actor.to_owned(),
        provider: provider.to_owned(),
        since_ms: cx.now_ms(),
    };
    match cx.table::<LinkedIdentity>().insert(&linked) {
        Err(TableError::Exists { .. }) => Err(Error::new(
            error::CONFLICT_IDENTITY,
            "Another account uses this identity.",
        )),
        done => Ok(done?),
    }
}

/// Returns the number of identities of an account.
pub(crate) fn count(cx: &Context, actor: &str) -> Result<usize, Error> {
    Ok(cx
        .table::<LinkedIdentity>()
        .by(IdentitiesByActor)
        .scan(actor)
        .count(usize::MAX)?)
}

/// Removes all identities of an account.
pub(crate) fn delete_all(cx: &Context, actor: &str) -> Result<(), Error> {
    let table = cx.table::<LinkedIdentity>();
    for linked in table.by(IdentitiesByActor).scan(actor) {
        table.remove(linked?.key())?;
    }
    Ok(())
}

impl Users {
    pub(crate) fn identities(&self, cx: &Context, _params: Nothing) -> Result<IdentityList, Error> {
        let mut identities = Vec::new();
        for linked in cx
            .table::<LinkedIdentity>()
            .by(IdentitiesByActor)
            .scan(cx.caller.actor.as_str())
        {
            let linked = linked?;
            identities.push(IdentityInfo {
                provider: linked.provider,
                subject: linked.subject,
                since_ms: linked.since_ms,
            });
        }
        Ok(IdentityList { identities })
    }

    pub(crate) fn remove_identity(&self, cx: &Context, params: IdentityParams) -> Result<Nothing, Error> {
        let actor = cx.caller.actor.as_str();
        let table = cx.table::<LinkedIdentity>();
        for linked in table.by(IdentitiesByActor).scan(actor) {
            let linked = linked?;
            if linked.provider == params.provider && linked.subject == params.subject {
                check_not_last_sign_in(cx, actor)?;
                table.remove(linked.key())?;
                return Ok(Nothing {});
            }
        }
        Err(Error::new(
            error::UNKNOWN_IDENTITY,
            "Your account doesn't have this identity.",
        ))
    }
}
