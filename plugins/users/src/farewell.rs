//! What is left to do when an account was closed: all its conversations are shut, all its friendships end.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::direct::Shutting;
use crate::friend;

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
