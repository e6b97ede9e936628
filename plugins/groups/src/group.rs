//! Groups: what is kept of each, and what a call has in hand of one.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::member::Member;
use crate::rights::{Charter, Known, Permission, Refusal, Standing, Terms};

/// The kind of the messages that say what changed in a group.
pub(crate) const NOTICE: &str = "custom:group";
/// The kind of announcements.
pub(crate) const ANNOUNCEMENT: &str = "custom:announcement";

/// The version of the form in which charters are kept.
const CHARTER_VERSION: u8 = 1;

/// How people come in who are not invited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Join {
    /// At once.
    Open,
    /// Once somebody approves.
    Approval,
    /// Not at all.
    Invite,
}

impl Join {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "open" => Ok(Self::Open),
            "approval" => Ok(Self::Approval),
            "invite" => Ok(Self::Invite),
            _ => Err(Error::new("bad_join", "This is `open`, `approval` or `invite`.")),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approval => "approval",
            Self::Invite => "invite",
        }
    }
}

/// What is shown of a group. No message needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// That of the conversation.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// A blob, or empty.
    pub(crate) picture: String,
    pub(crate) created_ms: u64,
    pub(crate) join: Join,
    pub(crate) capacity: u32,
}

table! {
    Group in "groups", key (id: String);
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            // It passes by itself.
            Refusal::Muted { until_ms } if until_ms < crate::rights::FOREVER_MS => {
                Self::new(refusal.code(), message).retryable()
            }
            _ => Self::new(refusal.code(), message),
        }
    }
}

pub(crate) fn unknown_group() -> Error {
    Error::new("unknown_group", "There is no such group.")
}

fn charter_key(group: &str) -> String {
    let mut key = String::with_capacity(8 + group.len());
    key.push_str("charter/");
    key.push_str(group);
    key
}

/// Reads the charter of a group.
pub(crate) fn charter(cx: &Context, group: &str) -> Result<Charter, Error> {
    // Ids of conversations have 26 characters; what clients make up may be longer than a key can be.
    if group.len() > 64 {
        return Err(unknown_group());
    }
    let bytes = cx.kv().get(charter_key(group))?.ok_or_else(unknown_group)?;
    let damaged = || Error::new("damaged", "The charter of this group can't be read.");
    match bytes.split_first() {
        Some((&CHARTER_VERSION, charter)) => postcard::from_bytes(charter).map_err(|_| damaged()),
        _ => Err(damaged()),
    }
}

/// Works out where someone stands who is a member, with one more read if the charter does not know.
pub(crate) fn standing(cx: &Context, charter: &Charter, group: &str, actor: &str) -> Result<Standing, Error> {
    let terms = match charter.known(actor) {
        Known::Terms(terms) => terms,
        Known::Elsewhere => {
            let member = cx.table::<Member>().get((group, actor))?;
            member.ok_or_else(not_a_member)?.terms
        }
    };
    Ok(charter.standing(&terms))
}

pub(crate) fn not_a_member() -> Error {
    Error::new("not_a_member", "You are not a member of this group.")
}

/// A group that was not dissolved, as a call has it in hand.
pub(crate) struct OpenGroup<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) id: String,
    pub(crate) charter: Charter,
}

impl<'a> OpenGroup<'a> {
    pub(crate) fn find(cx: &'a Context, id: &str) -> Result<Self, Error> {
        let charter = charter(cx, id)?;
        charter.check_open()?;
        Ok(Self {
            cx,
            id: id.to_owned(),
            charter,
        })
    }

    /// Finds a group where it does not matter that it may be gone.
    pub(crate) fn find_if_open(cx: &'a Context, id: &str) -> Result<Option<Self>, Error> {
        match Self::find(cx, id) {
            Ok(group) => Ok(Some(group)),
            Err(error) if matches!(&*error.code, "dissolved" | "unknown_group") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds a group in which the caller has a permission; returns the caller as well.
    pub(crate) fn find_for(cx: &'a Context, id: &str, permission: Permission) -> Result<(Self, Standing), Error> {
        let group = Self::find(cx, id)?;
        let (_, standing) = group.caller()?;
        standing.check(permission)?;
        Ok((group, standing))
    }

    /// Finds a group of which the caller is a member.
    pub(crate) fn find_own(cx: &'a Context, id: &str) -> Result<(Self, Member), Error> {
        let group = Self::find(cx, id)?;
        let (member, _) = group.caller()?;
        Ok((group, member))
    }

    pub(crate) fn caller(&self) -> Result<(Member, Standing), Error> {
        let member = self.member(&self.cx.caller.actor)?.ok_or_else(not_a_member)?;
        let standing = self.charter.standing(&member.terms);
        Ok((member, standing))
    }

    pub(crate) fn member(&self, actor: &str) -> Result<Option<Member>, Error> {
        Ok(self.cx.table::<Member>().get((&*self.id, actor))?)
    }

    /// Finds somebody else whom something is to be done to.
    pub(crate) fn other(&self, actor: &str) -> Result<(Member, Standing), Error> {
        let unknown = || Error::new("unknown_member", format!("{actor:?} is not a member of this group."));
        let member = self.member(actor)?.ok_or_else(unknown)?;
        let standing = self.charter.standing(&member.terms);
        Ok((member, standing))
    }

    pub(crate) fn row(&self) -> Result<Group, Error> {
        self.cx.table::<Group>().get(&self.id)?.ok_or_else(unknown_group)
    }

    /// Writes the charter; every message on its way is then decided about anew.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let encoded = postcard::to_extend(&self.charter, vec![CHARTER_VERSION]);
        let bytes = encoded.map_err(|error| Error::new("damaged", error.to_string()))?;
        Ok(self.cx.kv().set(charter_key(&self.id), bytes)?)
    }

    /// Gives a member other terms.
    pub(crate) fn set_terms(&mut self, member: &mut Member, terms: Terms) -> Result<(), Error> {
        self.charter.note(&member.actor, &member.terms, &terms);
        member.terms = terms;
        self.cx.table::<Member>().put(member)?;
        self.save()
    }

    /// Tells all members what changed, on behalf of the caller.
    pub(crate) fn tell(&self, content: &serde_json::Value) -> Result<(), Error> {
        let sender = match &*self.cx.caller.actor {
            "" => "groups",
            actor => actor,
        };
        Ok(self.cx.conversations().append(&self.id, sender, NOTICE, content)?)
    }
}
