//! What is left to do when an account was closed: all its conversations are shut, all its friendships end.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Users;
use crate::accounts::person::Nothing;
use crate::accounts::{account, name_index, profile};
use crate::sign_in::{address, identity, session};
use crate::social::direct::Shutting;
use crate::social::{friend, presence};

/// The name of the job, and of its transactions.
pub(crate) const JOB: &str = "farewell";

/// What is left to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Farewell {
    pub(crate) actor: String,
    pub(crate) shutting: Option<Shutting>,
}

impl Farewell {
    /// Does all of it, in transactions of a bounded size.
    pub(crate) fn run(job: &Job, cx: &Context) -> Result<(), Error> {
        let mut left: Option<Self> = Some(job.payload_as()?);
        while let Some(farewell) = left {
            left = cx.transact(JOB, &farewell)?;
        }
        Ok(())
    }

    /// Does some more of it; returns what is left.
    pub(crate) fn step(self, cx: &Context) -> Result<Option<Self>, Error> {
        let actor = self.actor;
        if let Some(shutting) = self.shutting {
            let shutting = shutting.go_on(cx)?;
            return Ok(Some(Self { actor, shutting }));
        }
        let more = friend::part_some(cx, &actor)?;
        Ok(more.then_some(Self { actor, shutting: None }))
    }
}

record! {
    /// The password, to be sure; left out by those who have none.
    pub(crate) struct Confirmed { password: Option<String> }
}
impl Users {
    pub(crate) fn close_account(&self, cx: &Context, params: Confirmed) -> Result<Nothing, Error> {
        let account = self.confirm(cx, params.password.as_deref())?;
        let actor = account.actor.as_str();
        profile::forget(cx, actor)?;
        presence::forget(cx, actor)?;
        // Others may sign up with them.
        address::forget(cx, actor)?;
        identity::forget(cx, actor)?;
        name_index::rename(cx, Some(&account), None)?;
        account::close(cx, actor)?;
        session::end_others(cx, actor, "")?;
        cx.sessions().end(actor, None);
        // Most have few conversations, and those are shut at once; what may take long is a job.
        let shutting = Shutting::of(actor).go_on(cx)?;
        let farewell = Farewell {
            actor: actor.to_owned(),
            shutting,
        };
        cx.jobs().add(JOB, &farewell)?;
        cx.events().publish("account_closed", &json!({ "actor": actor }))?;
        Ok(Nothing {})
    }
}
