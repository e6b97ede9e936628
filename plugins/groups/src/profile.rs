//! What is seen of a group, and how it is changed.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::counter::Counter;
use crate::group::{Group, Join, OpenGroup, unknown_group};
use crate::invitation::Invitation;
use crate::lifecycle;
use crate::member::{ByActor, ByRole, Member, Notify};
use crate::params::{Nothing, OfGroup, Onward, Several, page};
use crate::rights::{Form, Permission, RoleId};
use crate::text;

record! {
    /// What is seen of a group.
    pub(crate) struct Info {
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
    /// One's own membership.
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
    /// Some members, and where the next ones begin.
    pub(crate) struct Members { members: Vec<MemberInfo>, next: Option<Cursor> }
}
record! {
    /// Whose members; of one role only, if one is named.
    pub(crate) struct Listed { group: String, role: Option<String>, after: Option<Cursor>, limit: Option<u32> }
}
record! {
    /// One of one's groups.
    pub(crate) struct Own { group: String, form: String, name: String, picture: String, role: String, notify: String }
}
record! {
    /// Some of one's groups, and where the next ones begin.
    pub(crate) struct Owns { groups: Vec<Own>, next: Option<Cursor> }
}
record! {
    /// What is to change; the rest stays.
    pub(crate) struct EditProfile {
        group: String,
        name: Option<String>,
        description: Option<String>,
        /// Empty for none.
        picture: Option<String>,
    }
}
record! {
    /// What is to change; the rest stays.
    pub(crate) struct Configure { group: String, join: Option<String>, capacity: Option<u32> }
}
record! {
    /// Which messages one wants to be told of: `all`, `mentions` or `none`.
    pub(crate) struct SetNotify { group: String, notify: String }
}
record! {
    /// Which messages somebody wants to be told of.
    pub(crate) struct Rule { actor: String, notify: String }
}
record! {
    /// Which messages people want to be told of.
    pub(crate) struct Rules { rules: Vec<Rule> }
}

impl Groups {
    pub(crate) fn info(&self, cx: &Context, params: OfGroup) -> Result<Info, Error> {
        let group = OpenGroup::find(cx, &params.group)?;
        let (row, own) = (group.row()?, &cx.caller.actor);
        let is_member = group.member(own)?.is_some();
        let invited = || cx.table::<Invitation>().contains((&*group.id, &**own));
        if !is_member && row.join == Join::Invite && !invited()? {
            return Err(unknown_group());
        }
        Ok(Info {
            form: group.charter.form.kind().to_owned(),
            name: row.name,
            description: row.description,
            picture: row.picture,
            members: Counter::Members(&group.id).get(cx)?,
            capacity: row.capacity,
            join: row.join.name().to_owned(),
            created_ms: row.created_ms,
            all_muted: group.charter.all_muted,
            slow_seconds: group.charter.slow_s,
            owner: group.charter.owner,
            group: group.id,
            is_member,
        })
    }

    pub(crate) fn membership(&self, cx: &Context, params: OfGroup) -> Result<Membership, Error> {
        let group = OpenGroup::find(cx, &params.group)?;
        let (member, standing) = group.caller()?;
        Ok(Membership {
            role: shown_role(&group, &member),
            rank: standing.rank.into(),
            permissions: standing.rights.names(),
            muted_until_ms: member.terms.muted_until_ms,
            joined_ms: member.joined_ms,
            notify: member.notify.name().to_owned(),
        })
    }

    pub(crate) fn members(&self, cx: &Context, params: Listed) -> Result<Members, Error> {
        let (group, _) = OpenGroup::find_own(cx, &params.group)?;
        let table = cx.table::<Member>();
        let scan = match params.role.as_deref().map(RoleId::parse) {
            None => table.scan((&*group.id,)),
            Some(Some(role)) if role != RoleId::MEMBER => table.by(ByRole).scan((&*group.id, role.0)),
            Some(_) => return Err(Error::new("bad_role", "This is a role other than `member`.")),
        };
        let found = scan.after(params.after).page(page(params.limit))?;
        let info = |member: Member| {
            let standing = group.charter.standing(&member.terms);
            MemberInfo {
                role: shown_role(&group, &member),
                rank: standing.rank.into(),
                allow: member.terms.allow.names(),
                deny: member.terms.deny.names(),
                muted_until_ms: member.terms.muted_until_ms,
                joined_ms: member.joined_ms,
                actor: member.actor,
                by: member.by,
            }
        };
        Ok(Members {
            members: found.rows.into_iter().map(info).collect(),
            next: found.next,
        })
    }

    pub(crate) fn mine(&self, cx: &Context, params: Onward) -> Result<Owns, Error> {
        let table = cx.table::<Member>().by(ByActor);
        let scan = table.scan(&*cx.caller.actor).after(params.after);
        let found = scan.page(page(params.limit))?;
        let mut groups = Vec::new();
        for member in found.rows {
            // One that is being dissolved is none any more.
            let Some(group) = OpenGroup::find_if_open(cx, &member.group)? else {
                continue;
            };
            let row = group.row()?;
            groups.push(Own {
                form: group.charter.form.kind().to_owned(),
                name: row.name,
                picture: row.picture,
                role: shown_role(&group, &member),
                notify: member.notify.name().to_owned(),
                group: group.id,
            });
        }
        Ok(Owns {
            groups,
            next: found.next,
        })
    }

    pub(crate) fn edit_profile(&self, cx: &Context, params: EditProfile) -> Result<Nothing, Error> {
        let (group, _) = OpenGroup::find_for(cx, &params.group, Permission::EditProfile)?;
        let mut row = group.row()?;
        match params.name.as_deref() {
            Some("") if group.charter.form == Form::Discussion => row.name = String::new(),
            Some(name) => row.name = text::line(name, self.settings.name_characters, "bad_name")?,
            None => {}
        }
        if let Some(description) = &params.description {
            let most = self.settings.description_characters;
            row.description = text::lines(description, most, "bad_description")?;
        }
        if let Some(picture) = &params.picture {
            row.picture = text::picture(picture)?;
        }
        cx.table::<Group>().put(&row)?;
        let (name, description, picture) = (row.name, row.description, row.picture);
        group.tell(&json!({"event": "profile", "name": name, "description": description, "picture": picture}))?;
        Ok(Nothing {})
    }

    pub(crate) fn configure(&self, cx: &Context, params: Configure) -> Result<Nothing, Error> {
        let (group, _) = OpenGroup::find_for(cx, &params.group, Permission::ManageJoins)?;
        let mut row = group.row()?;
        if let Some(join) = &params.join {
            row.join = Join::parse(join)?;
        }
        if let Some(wanted) = params.capacity {
            row.capacity = lifecycle::capacity(self, group.charter.form, Some(wanted))?;
        }
        cx.table::<Group>().put(&row)?;
        Ok(Nothing {})
    }

    pub(crate) fn set_notify(&self, cx: &Context, params: SetNotify) -> Result<Nothing, Error> {
        let (_, mut member) = OpenGroup::find_own(cx, &params.group)?;
        member.notify = Notify::parse(&params.notify)?;
        cx.table::<Member>().put(&member)?;
        Ok(Nothing {})
    }

    /// For plugins that tell people of messages, and for oneself.
    pub(crate) fn notify_rules(&self, cx: &Context, params: Several) -> Result<Rules, Error> {
        crate::params::check_actors(&params.actors)?;
        let others = params.actors.iter().any(|actor| *actor != cx.caller.actor);
        if others && cx.caller.plugin.is_empty() {
            return Err(Error::new("not_yours", "Only plugins ask about others."));
        }
        let group = OpenGroup::find(cx, &params.group)?;
        let mut rules = Vec::new();
        for actor in params.actors {
            let member = group.member(&actor)?;
            rules.extend(member.map(|member| Rule {
                actor,
                notify: member.notify.name().to_owned(),
            }));
        }
        Ok(Rules { rules })
    }
}

/// Returns the role as others see it: one that was removed is that of members.
fn shown_role(group: &OpenGroup<'_>, member: &Member) -> String {
    let role = group.charter.role(member.terms.role);
    role.map_or(RoleId::MEMBER, |role| role.id).to_string()
}
