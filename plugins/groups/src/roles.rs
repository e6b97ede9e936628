//! The methods for roles and overrides; [`crate::rights`] makes the decisions.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::error;
use crate::group::GroupContext;
use crate::params::{GroupParams, Nothing};
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
    /// Parameters of `add_role`; a rank is 0 to 999.
    pub(crate) struct AddRoleParams { group: String, title: String, rank: u32, permissions: Vec<String> }
}
record! {
    /// Result of `add_role`.
    pub(crate) struct AddRoleResult { role: String }
}
record! {
    /// Parameters of `change_role`. A missing member stays.
    pub(crate) struct ChangeRoleParams {
        group: String,
        role: String,
        title: Option<String>,
        rank: Option<u32>,
        permissions: Option<Vec<String>>,
    }
}
record! {
    /// One role of a group.
    pub(crate) struct RoleParams { group: String, role: String }
}
record! {
    /// Parameters of `set_role`.
    pub(crate) struct SetRoleParams { group: String, actor: String, role: String }
}
record! {
    /// Parameters of `set_overrides`: permissions that are allowed or denied in spite of the role. Replaces earlier overrides.
    pub(crate) struct SetOverridesParams { group: String, actor: String, allow: Vec<String>, deny: Vec<String> }
}

fn permissions(names: &[String]) -> Result<Permissions, Error> {
    Permissions::parse(names)
        .map_err(|name| Error::new(error::UNKNOWN_PERMISSION, format!("Unknown permission: {name:?}.")))
}

fn role(text: &str) -> Result<RoleId, Error> {
    Ok(RoleId::parse(text).ok_or(Refusal::UnknownRole)?)
}

fn rank(rank: u32) -> Result<u16, Error> {
    Ok(u16::try_from(rank).map_err(|_| Refusal::BadRank)?)
}

fn title(text: &str) -> Result<String, Error> {
    text::line(text, 32, error::INVALID_TITLE)
}

impl Groups {
    pub(crate) fn roles(&self, cx: &Context, params: GroupParams) -> Result<Roles, Error> {
        let (group, _) = GroupContext::find_own(cx, &params.group)?;
        let info = |role: &Role| RoleInfo {
            role: role.id.to_string(),
            title: role.title.clone(),
            rank: role.rank.into(),
            permissions: role.permissions.names(),
        };
        let mut roles: Vec<RoleInfo> = group.policy.roles().iter().map(info).collect();
        roles.sort_by_key(|role| std::cmp::Reverse(role.rank));
        Ok(Roles { roles })
    }

    pub(crate) fn add_role(&self, cx: &Context, params: AddRoleParams) -> Result<AddRoleResult, Error> {
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::ManageRoles)?;
        let new = (
            title(&params.title)?,
            rank(params.rank)?,
            permissions(&params.permissions)?,
        );
        // Owner, admin and member don't count.
        let id = group
            .policy
            .add_role(&standing, new, self.settings.roles as usize + 3)?;
        group.save()?;
        group.append_notice(&json!({"event": "roles"}))?;
        Ok(AddRoleResult { role: id.to_string() })
    }

    pub(crate) fn change_role(&self, cx: &Context, params: ChangeRoleParams) -> Result<Nothing, Error> {
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::ManageRoles)?;
        let change = RoleChange {
            title: params.title.as_deref().map(title).transpose()?,
            rank: params.rank.map(rank).transpose()?,
            permissions: params.permissions.as_deref().map(permissions).transpose()?,
        };
        group.policy.change_role(&standing, role(&params.role)?, change)?;
        group.save()?;
        group.append_notice(&json!({"event": "roles"}))?;
        Ok(Nothing {})
    }

    pub(crate) fn remove_role(&self, cx: &Context, params: RoleParams) -> Result<Nothing, Error> {
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::ManageRoles)?;
        group.policy.remove_role(&standing, role(&params.role)?)?;
        group.save()?;
        group.append_notice(&json!({"event": "roles"}))?;
        Ok(Nothing {})
    }

    pub(crate) fn set_role(&self, cx: &Context, params: SetRoleParams) -> Result<Nothing, Error> {
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::ManageRoles)?;
        let (mut member, _) = group.target(&params.actor)?;
        let policy = group
            .policy
            .assign_role(&standing, &member.policy, role(&params.role)?)?;
        group.set_member_policy(&mut member, policy)?;
        group.append_notice(&json!({"event": "role", "actor": params.actor, "role": params.role}))?;
        Ok(Nothing {})
    }

    pub(crate) fn set_overrides(&self, cx: &Context, params: SetOverridesParams) -> Result<Nothing, Error> {
        let (mut group, standing) = GroupContext::find_permitted(cx, &params.group, Permission::ManageRoles)?;
        let (mut member, _) = group.target(&params.actor)?;
        let (allow, deny) = (permissions(&params.allow)?, permissions(&params.deny)?);
        let policy = group.policy.set_overrides(&standing, &member.policy, allow, deny)?;
        group.set_member_policy(&mut member, policy)?;
        group
            .append_notice(&json!({"event": "role", "actor": params.actor, "role": member.policy.role.to_string()}))?;
        Ok(Nothing {})
    }
}
