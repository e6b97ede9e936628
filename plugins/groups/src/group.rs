//! Groups: their stored form, and the group that a call works with.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::member::Member;
use crate::rights::{GroupPolicy, MemberPolicy, Permission, PolicyLookup, Refusal, Standing};

/// The kind of messages about changes of a group.
pub(crate) const NOTICE: &str = "custom:group";
/// The kind of announcements.
pub(crate) const ANNOUNCEMENT: &str = "custom:announcement";

/// The version of the stored form of policies, their first byte.
const POLICY_VERSION: u8 = 1;

/// How people join who are not invited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JoinMode {
    /// Joining is immediate.
    Open,
    /// Somebody has to approve the request.
    Approval,
    /// Only invited people can join.
    Invite,
}

impl JoinMode {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "open" => Ok(Self::Open),
            "approval" => Ok(Self::Approval),
            "invite" => Ok(Self::Invite),
            _ => Err(Error::new(
                error::INVALID_JOIN,
                "`join` must be `open`, `approval` or `invite`.",
            )),
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

/// The profile of a group. Checking a message doesn't read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The id of the conversation.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// The id of a blob, or empty.
    pub(crate) picture: String,
    pub(crate) created_ms: u64,
    pub(crate) join: JoinMode,
    pub(crate) capacity: u32,
}

table! {
    Group in "groups", key (id: String);
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            // The mute ends, so a retry can succeed.
            Refusal::Muted { until_ms } if until_ms < crate::rights::FOREVER_MS => {
                Self::new(refusal.code(), message).retryable()
            }
            _ => Self::new(refusal.code(), message),
        }
    }
}

pub(crate) fn unknown_group() -> Error {
    Error::new(error::UNKNOWN_GROUP, "No group has this id.")
}

fn policy_key(group: &str) -> String {
    let mut key = String::with_capacity(8 + group.len());
    key.push_str("charter/");
    key.push_str(group);
    key
}

/// Reads the policy of a group, also of a dissolved one.
pub(crate) fn load_policy(cx: &Context, group: &str) -> Result<GroupPolicy, Error> {
    // Ids of conversations have 26 characters. A longer text from a client may exceed the limit of keys.
    if group.len() > 64 {
        return Err(unknown_group());
    }
    let bytes = cx.kv().get(policy_key(group))?.ok_or_else(unknown_group)?;
    let unreadable = || Error::new(error::INTERNAL, "The stored policy of this group can't be read.");
    match bytes.split_first() {
        Some((&POLICY_VERSION, policy)) => postcard::from_bytes(policy).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

/// Returns the standing of a member. Reads the member's row if the policy doesn't list the member.
pub(crate) fn load_standing(cx: &Context, policy: &GroupPolicy, group: &str, actor: &str) -> Result<Standing, Error> {
    let member_policy = match policy.lookup(actor) {
        PolicyLookup::Found(found) => found,
        PolicyLookup::InMemberRow => {
            let member = cx.table::<Member>().get((group, actor))?;
            member.ok_or_else(not_a_member)?.policy
        }
    };
    Ok(policy.standing(&member_policy))
}

pub(crate) fn not_a_member() -> Error {
    Error::new(error::FORBIDDEN, "You are not a member of this group.")
}

/// An active group with its policy, for the duration of one call.
pub(crate) struct GroupContext<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) id: String,
    pub(crate) policy: GroupPolicy,
}

impl<'a> GroupContext<'a> {
    /// Returns a group.
    ///
    /// # Errors
    /// `unknown_group`, or `conflict_dissolved`.
    pub(crate) fn find(cx: &'a Context, id: &str) -> Result<Self, Error> {
        let policy = load_policy(cx, id)?;
        policy.check_active()?;
        Ok(Self {
            cx,
            id: id.to_owned(),
            policy,
        })
    }

    /// Returns a group, or `None` if it is unknown or dissolved.
    pub(crate) fn find_if_active(cx: &'a Context, id: &str) -> Result<Option<Self>, Error> {
        match Self::find(cx, id) {
            Ok(group) => Ok(Some(group)),
            Err(error) if matches!(&*error.code, error::CONFLICT_DISSOLVED | error::UNKNOWN_GROUP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a group in which the caller has a permission, with the standing of the caller.
    pub(crate) fn find_permitted(cx: &'a Context, id: &str, permission: Permission) -> Result<(Self, Standing), Error> {
        let group = Self::find(cx, id)?;
        let (_, standing) = group.caller()?;
        standing.check(permission)?;
        Ok((group, standing))
    }

    /// Returns a group of which the caller is a member, with the caller's row.
    pub(crate) fn find_own(cx: &'a Context, id: &str) -> Result<(Self, Member), Error> {
        let group = Self::find(cx, id)?;
        let (member, _) = group.caller()?;
        Ok((group, member))
    }

    /// Returns the membership and the standing of the caller.
    pub(crate) fn caller(&self) -> Result<(Member, Standing), Error> {
        let member = self.member(&self.cx.caller.actor)?.ok_or_else(not_a_member)?;
        let standing = self.policy.standing(&member.policy);
        Ok((member, standing))
    }

    pub(crate) fn member(&self, actor: &str) -> Result<Option<Member>, Error> {
        Ok(self.cx.table::<Member>().get((&*self.id, actor))?)
    }

    /// Returns the membership and the standing of a member on whom the caller acts.
    pub(crate) fn target(&self, actor: &str) -> Result<(Member, Standing), Error> {
        let unknown = || {
            Error::new(
                error::UNKNOWN_MEMBER,
                format!("{actor:?} is not a member of this group."),
            )
        };
        let member = self.member(actor)?.ok_or_else(unknown)?;
        let standing = self.policy.standing(&member.policy);
        Ok((member, standing))
    }

    /// Reads the profile of the group.
    pub(crate) fn row(&self) -> Result<Group, Error> {
        self.cx.table::<Group>().get(&self.id)?.ok_or_else(unknown_group)
    }

    /// Stores the policy. Messages in flight that have read the old one are checked again.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let encoded = postcard::to_extend(&self.policy, vec![POLICY_VERSION]);
        let bytes = encoded.map_err(|error| Error::new(error::INTERNAL, error.to_string()))?;
        Ok(self.cx.kv().set(policy_key(&self.id), bytes)?)
    }

    /// Stores the policy of a member, in the row and in the group's policy.
    pub(crate) fn set_member_policy(&mut self, member: &mut Member, policy: MemberPolicy) -> Result<(), Error> {
        self.policy.record_change(&member.actor, &member.policy, &policy);
        member.policy = policy;
        self.cx.table::<Member>().put(member)?;
        self.save()
    }

    /// Appends a message about a change to the conversation, on behalf of the caller.
    pub(crate) fn append_notice(&self, content: &serde_json::Value) -> Result<(), Error> {
        let sender = match &*self.cx.caller.actor {
            "" => "groups",
            actor => actor,
        };
        Ok(self.cx.conversations().append(&self.id, sender, NOTICE, content)?)
    }
}
