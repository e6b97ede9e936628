//! Methods for roles and overrides; [`crate::rights`] decides.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::group::OpenGroup;
use crate::params::{Nothing, OfGroup};
use crate::rights::{Permission, Permissions, Refusal, Role, RoleChange, RoleId};
use crate::text;

record! {
    /// A role.
    pub(crate) struct RoleInfo { role: String, title: String, rank: u32, permissions: Vec<String> }
}
record! {
    /// All roles of a group, the highest first.
    pub(crate) struct Roles { roles: Vec<RoleInfo> }
}
record! {
    /// A new role; a rank is 0 to 999.
    pub(crate) struct NewRole { group: String, title: String, rank: u32, permissions: Vec<String> }
}
record! {
    /// A role that was made.
    pub(crate) struct RoleMade { role: String }
}
record! {
    /// What of a role is to change; the rest stays.
    pub(crate) struct ChangedRole {
        group: String,
        role: String,
        title: Option<String>,
        rank: Option<u32>,
        permissions: Option<Vec<String>>,
    }
}
record! {
    /// Which role.
    pub(crate) struct OfRole { group: String, role: String }
}
record! {
    /// Who gets which role.
    pub(crate) struct SetRole { group: String, actor: String, role: String }
}
record! {
    /// What a member may, or may not, whatever the role says; in the place of what was said before.
    pub(crate) struct SetOverrides { group: String, actor: String, allow: Vec<String>, deny: Vec<String> }
}

fn permissions(names: &[String]) -> Result<Permissions, Error> {
    Permissions::parse(names)
        .map_err(|name| Error::new("unknown_permission", format!("There is no permission {name:?}.")))
}

fn role(text: &str) -> Result<RoleId, Error> {
    Ok(RoleId::parse(text).ok_or(Refusal::UnknownRole)?)
}

fn rank(rank: u32) -> Result<u16, Error> {
    Ok(u16::try_from(rank).map_err(|_| Refusal::BadRank)?)
}

fn title(text: &str) -> Result<String, Error> {
    text::line(text, 32, "bad_title")
}

impl Groups {
    pub(crate) fn roles(&self, cx: &Context, params: OfGroup) -> Result<Roles, Error> {
        let (group, _) = OpenGroup::find_own(cx, &params.group)?;
        let info = |role: &Role| RoleInfo {
            role: role.id.to_string(),
            title: role.title.clone(),
            rank: role.rank.into(),
            permissions: role.permissions.names(),
        };
        let mut roles: Vec<RoleInfo> = group.charter.roles().iter().map(info).collect();
        roles.sort_by_key(|role| std::cmp::Reverse(role.rank));
        Ok(Roles { roles })
    }

    pub(crate) fn add_role(&self, cx: &Context, params: NewRole) -> Result<RoleMade, Error> {
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::ManageRoles)?;
        let new = (
            title(&params.title)?,
            rank(params.rank)?,
            permissions(&params.permissions)?,
        );
        // Owner, admin and member are there anyway.
        let id = group
            .charter
            .add_role(&standing, new, self.settings.roles as usize + 3)?;
        group.save()?;
        group.tell(&json!({"event": "roles"}))?;
        Ok(RoleMade { role: id.to_string() })
    }

    pub(crate) fn change_role(&self, cx: &Context, params: ChangedRole) -> Result<Nothing, Error> {
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::ManageRoles)?;
        let change = RoleChange {
            title: params.title.as_deref().map(title).transpose()?,
            rank: params.rank.map(rank).transpose()?,
            permissions: params.permissions.as_deref().map(permissions).transpose()?,
        };
        group.charter.change_role(&standing, role(&params.role)?, change)?;
        group.save()?;
        group.tell(&json!({"event": "roles"}))?;
        Ok(Nothing {})
    }

    pub(crate) fn remove_role(&self, cx: &Context, params: OfRole) -> Result<Nothing, Error> {
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::ManageRoles)?;
        group.charter.remove_role(&standing, role(&params.role)?)?;
        group.save()?;
        group.tell(&json!({"event": "roles"}))?;
        Ok(Nothing {})
    }

    pub(crate) fn set_role(&self, cx: &Context, params: SetRole) -> Result<Nothing, Error> {
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::ManageRoles)?;
        let (mut member, _) = group.other(&params.actor)?;
        let terms = group.charter.assign(&standing, &member.terms, role(&params.role)?)?;
        group.set_terms(&mut member, terms)?;
        group.tell(&json!({"event": "role", "actor": params.actor, "role": params.role}))?;
        Ok(Nothing {})
    }

    pub(crate) fn set_overrides(&self, cx: &Context, params: SetOverrides) -> Result<Nothing, Error> {
        let (mut group, standing) = OpenGroup::find_for(cx, &params.group, Permission::ManageRoles)?;
        let (mut member, _) = group.other(&params.actor)?;
        let (allow, deny) = (permissions(&params.allow)?, permissions(&params.deny)?);
        let terms = group.charter.override_with(&standing, &member.terms, allow, deny)?;
        group.set_terms(&mut member, terms)?;
        group.tell(&json!({"event": "role", "actor": params.actor, "role": member.terms.role.to_string()}))?;
        Ok(Nothing {})
    }
}
