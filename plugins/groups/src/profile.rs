//! The profile of a group, the lists of its members, and notification rules.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::error;
use crate::group::{Group, GroupContext, JoinMode, unknown_group};
use crate::invitation::Invitation;
use crate::lifecycle;
use crate::member::{ByActor, ByRole, Member, Notify};
use crate::params::{GroupActors, GroupParams, Nothing, OwnPage, page_size};
use crate::rights::{Form, Permission, RoleId};
use crate::text;

record! {
    /// The visible state of a group.
    pub(crate) struct GroupInfo {
        group: String,
        form: String,
        name: String,
        description: String,
        picture: String,
        owner: String,
        members: u64,
        capacity: u32,
        join: String,
        created_ms: u64,
        all_muted: bool,
        slow_seconds: u32,
        is_member: bool,
    }
}
record! {
    /// The membership of the caller.
    pub(crate) struct Membership {
        role: String,
        rank: u32,
        permissions: Vec<String>,
        muted_until_ms: u64,
        joined_ms: u64,
        notify: String,
    }
}
record! {
    /// A member.
    pub(crate) struct MemberInfo {
        actor: String,
        role: String,
        rank: u32,
        allow: Vec<String>,
        deny: Vec<String>,
        muted_until_ms: u64,
        joined_ms: u64,
        by: String,
    }
}
record! {
    /// A page of members.
    pub(crate) struct MemberPage { members: Vec<MemberInfo>, next: Option<Cursor> }
}
record! {
    /// Parameters of `members`: all members, or those with a role other than `member`.
    pub(crate) struct MemberQuery { group: String, role: Option<String>, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// A group of the caller.
    pub(crate) struct OwnGroup { group: String, form: String, name: String, picture: String, role: String, notify: String }
}
record! {
    /// A page of the caller's groups.
    pub(crate) struct OwnGroupPage { groups: Vec<OwnGroup>, next: Option<Cursor> }
}
record! {
    /// Parameters of `edit_profile`. A missing member stays.
    pub(crate) struct EditProfileParams {
        group: String,
        name: Option<String>,
        description: Option<String>,
        /// The id of a blob; empty for none.
        picture: Option<String>,
    }
}
record! {
    /// Parameters of `configure`. A missing member stays.
    pub(crate) struct ConfigureParams { group: String, join: Option<String>, capacity: Option<u32> }
}
record! {
    /// Parameters of `set_notify`: `all`, `mentions` or `none`.
    pub(crate) struct SetNotifyParams { group: String, notify: String }
}
record! {
    /// The notification rule of a member.
    pub(crate) struct NotifyRule { actor: String, notify: String }
}
record! {
    /// The notification rules of several members.
    pub(crate) struct NotifyRules { rules: Vec<NotifyRule> }
}

impl Groups {
    pub(crate) fn info(&self, cx: &Context, params: GroupParams) -> Result<GroupInfo, Error> {
        let group = GroupContext::find(cx, &params.group)?;
        let (row, own) = (group.row()?, &cx.caller.actor);
        let is_member = group.member(own)?.is_some();
        let invited = || cx.table::<Invitation>().contains((&*group.id, &**own));
        if !is_member && row.join == JoinMode::Invite && !invited()? {
            return Err(unknown_group());
        }
        Ok(GroupInfo {
            form: group.policy.form.kind().to_owned(),
            name: row.name,
            description: row.description,
            picture: row.picture,
            members: Counter::Members(&group.id).get(cx)?,
            capacity: row.capacity,
            join: row.join.name().to_owned(),
            created_ms: row.created_ms,
            all_muted: group.policy.all_muted,
            slow_seconds: group.policy.slow_s,
            owner: group.policy.owner,
            group: group.id,
            is_member,
        })
    }

    pub(crate) fn membership(&self, cx: &Context, params: GroupParams) -> Result<Membership, Error> {
        let group = GroupContext::find(cx, &params.group)?;
        let (member, standing) = group.caller()?;
        Ok(Membership {
            role: shown_role(&group, &member),
            rank: standing.rank.into(),
            permissions: standing.rights.names(),
            muted_until_ms: member.policy.muted_until_ms,
            joined_ms: member.joined_ms,
            notify: member.notify.name().to_owned(),
        })
    }

    pub(crate) fn members(&self, cx: &Context, params: MemberQuery) -> Result<MemberPage, Error> {
        let (group, _) = GroupContext::find_own(cx, &params.group)?;
        let table = cx.table::<Member>();
        let scan = match params.role.as_deref().map(RoleId::parse) {
            None => table.scan((&*group.id,)),
            Some(Some(role)) if role != RoleId::MEMBER => table.by(ByRole).scan((&*group.id, role.0)),
            Some(_) => {
                return Err(Error::new(
                    error::INVALID_ROLE,
                    "Not a role that can be listed: pass a role other than `member`.",
                ));
            }
        };
        let found = scan.after(params.after).page(page_size(params.limit))?;
        let info = |member: Member| {
            let standing = group.policy.standing(&member.policy);
            MemberInfo {
                role: shown_role(&group, &member),
                rank: standing.rank.into(),
                allow: member.policy.allow.names(),
                deny: member.policy.deny.names(),
                muted_until_ms: member.policy.muted_until_ms,
                joined_ms: member.joined_ms,
                actor: member.actor,
                by: member.by,
            }
        };
        Ok(MemberPage {
            members: found.rows.into_iter().map(info).collect(),
            next: found.next,
        })
    }

    pub(crate) fn mine(&self, cx: &Context, params: OwnPage) -> Result<OwnGroupPage, Error> {
        let table = cx.table::<Member>().by(ByActor);
        let scan = table.scan(&*cx.caller.actor).after(params.after);
        let found = scan.page(page_size(params.limit))?;
        let mut groups = Vec::new();
        for member in found.rows {
            // Skip groups that are being dissolved.
            let Some(group) = GroupContext::find_if_active(cx, &member.group)? else {
                continue;
            };
            let row = group.row()?;
            groups.push(OwnGroup {
                form: group.policy.form.kind().to_owned(),
                name: row.name,
                picture: row.picture,
                role: shown_role(&group, &member),
                notify: member.notify.name().to_owned(),
                group: group.id,
            });
        }
        Ok(OwnGroupPage {
            groups,
            next: found.next,
        })
    }

    pub(crate) fn edit_profile(&self, cx: &Context, params: EditProfileParams) -> Result<Nothing, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::EditProfile)?;
        let mut row = group.row()?;
        match params.name.as_deref() {
            Some("") if group.policy.form == Form::Discussion => row.name = String::new(),
            Some(name) => row.name = text::line(name, self.settings.name_characters, error::INVALID_NAME)?,
            None => {}
        }
        if let Some(description) = &params.description {
            let most = self.settings.description_characters;
            row.description = text::lines(description, most, error::INVALID_DESCRIPTION)?;
        }
        if let Some(picture) = &params.picture {
            row.picture = text::picture(picture)?;
        }
        cx.table::<Group>().put(&row)?;
        let (name, description, picture) = (row.name, row.description, row.picture);
        group.append_notice(
            &json!({"event": "profile", "name": name, "description": description, "picture": picture}),
        )?;
        Ok(Nothing {})
    }

    pub(crate) fn configure(&self, cx: &Context, params: ConfigureParams) -> Result<Nothing, Error> {
        let (group, _) = GroupContext::find_permitted(cx, &params.group, Permission::ManageJoins)?;
        let mut row = group.row()?;
        if let Some(join) = &params.join {
            row.join = JoinMode::parse(join)?;
        }
        if let Some(wanted) = params.capacity {
            row.capacity = lifecycle::check_capacity(self, group.policy.form, Some(wanted))?;
        }
        cx.table::<Group>().put(&row)?;
        Ok(Nothing {})
    }

    pub(crate) fn set_notify(&self, cx: &Context, params: SetNotifyParams) -> Result<Nothing, Error> {
        let (_, mut member) = GroupContext::find_own(cx, &params.group)?;
        member.notify = Notify::parse(&params.notify)?;
        cx.table::<Member>().put(&member)?;
        Ok(Nothing {})
    }

    /// Returns notification rules: of any members to plugins, of the caller to clients.
    pub(crate) fn notify_rules(&self, cx: &Context, params: GroupActors) -> Result<NotifyRules, Error> {
        crate::params::check_actors(&params.actors)?;
        let others = params.actors.iter().any(|actor| *actor != cx.caller.actor);
        if others && cx.caller.plugin.is_empty() {
            return Err(Error::new(
                error::FORBIDDEN,
                "Only plugins can read the notification rules of other people.",
            ));
        }
        let group = GroupContext::find(cx, &params.group)?;
        let mut rules = Vec::new();
        for actor in params.actors {
            let member = group.member(&actor)?;
            rules.extend(member.map(|member| NotifyRule {
                actor,
                notify: member.notify.name().to_owned(),
            }));
        }
        Ok(NotifyRules { rules })
    }
}

/// Returns the visible role of a member: `member` if the stored role has been removed.
fn shown_role(group: &GroupContext<'_>, member: &Member) -> String {
    let role = group.policy.role(member.policy.role);
    role.map_or(RoleId::MEMBER, |role| role.id).to_string()
}
