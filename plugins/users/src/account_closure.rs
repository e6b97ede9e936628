//! Closing an account: one method, and a job that blocks its direct conversations and ends its friendships.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Users;
use crate::accounts::person::Nothing;
use crate::accounts::{account, name_index, profile};
use crate::sign_in::{address, identity, session};
use crate::social::direct::CloseConversationsTask;
use crate::social::{friend, presence};

/// The name of the job and of its transaction.
pub(crate) const JOB: &str = "farewell";

/// The remaining work of closing an account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CloseAccountTask {
    pub(crate) actor: String,
    /// The direct conversations that aren't blocked yet.
    #[serde(rename = "shutting")]
    pub(crate) conversations: Option<CloseConversationsTask>,
}

impl CloseAccountTask {
    /// Does all of it, in transactions of bounded size.
    pub(crate) fn run(job: &Job, cx: &Context) -> Result<(), Error> {
        let mut remaining: Option<Self> = Some(job.payload_as()?);
        while let Some(task) = remaining {
            remaining = cx.transact(JOB, &task)?;
        }
        Ok(())
    }

    /// Does one batch, and returns the remaining work, or `None` at the end.
    pub(crate) fn run_batch(self, cx: &Context) -> Result<Option<Self>, Error> {
        let actor = self.actor;
        if let Some(conversations) = self.conversations {
            let conversations = conversations.run_batch(cx)?;
            return Ok(Some(Self { actor, conversations }));
        }
        let more = friend::unfriend_batch(cx, &actor)?;
        Ok(more.then_some(Self {
            actor,
            conversations: None,
        }))
    }
}

record! {
    /// Parameters of `close_account`: the password, unless the account has none.
    pub(crate) struct CloseAccountParams { password: Option<String> }
}
impl Users {
    pub(crate) fn close_account(&self, cx: &Context, params: CloseAccountParams) -> Result<Nothing, Error> {
        let account = self.confirm_owner(cx, params.password.as_deref())?;
        let actor = account.actor.as_str();
        profile::delete(cx, actor)?;
        presence::delete(cx, actor)?;
        // Other people may sign up with these.
        address::delete_all(cx, actor)?;
        identity::delete_all(cx, actor)?;
        name_index::update(cx, Some(&account), None)?;
        account::close(cx, actor)?;
        session::end_other_logins(cx, actor, "")?;
        cx.sessions().end(actor, None);
        // One batch covers most accounts at once; the job does the rest.
        let conversations = CloseConversationsTask::new(actor).run_batch(cx)?;
        let task = CloseAccountTask {
            actor: actor.to_owned(),
            conversations,
        };
        cx.jobs().add(JOB, &task)?;
        cx.events().publish("account_closed", &json!({ "actor": actor }))?;
        Ok(Nothing {})
    }
}
