//! Creating, transferring and dissolving groups.

use courtyard_plugin_sdk::prelude::*;
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::Groups;
use crate::deletion;
use crate::error;
use crate::group::{Group, GroupContext, JoinMode};
use crate::membership::check_people;
use crate::params::{GroupParams, MemberParams, Nothing, distinct, is_actor};
use crate::rights::{Form, GroupPolicy, MemberPolicy, RoleId};
use crate::settings::InviteMode;
use crate::text;

record! {
    /// Parameters of `create`.
    pub(crate) struct CreateParams {
        /// `group` (the default) or `discussion`.
        form: Option<String>,
        /// May be empty for a discussion.
        name: Option<String>,
        description: Option<String>,
        picture: Option<String>,
        /// The invited people.
        members: Option<Vec<String>>,
        /// `open`, `approval` or `invite` (the default).
        join: Option<String>,
        capacity: Option<u32>,
    }
}
record! {
    /// Result of `create`.
    pub(crate) struct CreateResult { group: String }
}

/// Returns the capacity: the wanted one if the configuration allows it, or the default.
pub(crate) fn check_capacity(groups: &Groups, form: Form, wanted: Option<u32>) -> Result<u32, Error> {
    let settings = &groups.settings;
    let most = match form {
        Form::Group => settings.max_capacity,
        Form::Discussion => settings.discussion_capacity,
    };
    let capacity = wanted.unwrap_or(match form {
        Form::Group => settings.capacity,
        Form::Discussion => settings.discussion_capacity,
    });
    if (1..=most).contains(&capacity) {
        Ok(capacity)
    } else {
        Err(Error::new(
            error::INVALID_CAPACITY,
            format!("`capacity` must be 1 to {most}."),
        ))
    }
}

impl Groups {
    pub(crate) fn create(&self, cx: &Context, params: CreateParams) -> Result<CreateResult, Error> {
        let form = match params.form.as_deref() {
            None | Some("group") => Form::Group,
            Some("discussion") => Form::Discussion,
            Some(_) => {
                return Err(Error::new(
                    error::INVALID_FORM,
                    "`form` must be `group` or `discussion`.",
                ));
            }
        };
        let most = self.settings.name_characters;
        let name = match (form, params.name.as_deref()) {
            (Form::Discussion, None | Some("")) => String::new(),
            (_, name) => text::line(name.unwrap_or_default(), most, error::INVALID_NAME)?,
        };
        let description = params.description.as_deref().unwrap_or_default();
        let most = self.settings.description_characters;
        let description = text::lines(description, most, error::INVALID_DESCRIPTION)?;
        let picture = text::picture(params.picture.as_deref().unwrap_or_default())?;
        let join = JoinMode::parse(params.join.as_deref().unwrap_or("invite"))?;
        let capacity = check_capacity(self, form, params.capacity)?;
        let own = &cx.caller.actor;
        let mut others = distinct(params.members.unwrap_or_default());
        others.retain(|actor| actor != own);
        if others.len() >= capacity as usize || others.len() > 50 || !others.iter().all(|actor| is_actor(actor)) {
            return Err(Error::new(
                error::INVALID_ACTORS,
                "`members` takes up to 50 actor ids, and fewer than the capacity.",
            ));
        }
        check_people(cx, &self.settings, &others)?;

        let address = HEXLOWER.encode(&cx.random::<16>());
        let conversation = cx
            .conversations()
            .open(&address, form.kind(), std::slice::from_ref(own))?;
        let policy = match form {
            Form::Group => GroupPolicy::group(own),
            Form::Discussion => GroupPolicy::discussion(),
        };
        let mut group = GroupContext {
            cx,
            id: conversation.id,
            policy,
        };
        cx.table::<Group>().insert(&Group {
            id: group.id.clone(),
            name,
            description,
            picture,
            created_ms: cx.now_ms(),
            join,
            capacity,
        })?;
        group.save()?;
        group.add_founder(own, &self.settings)?;
        match self.invite_mode(form) {
            InviteMode::Add => group.add_members(&self.settings, &others, own)?,
            InviteMode::Ask => self.send_invitations(&group, &others)?,
        }
        Ok(CreateResult { group: group.id })
    }

    /// Returns how invited people become members.
    pub(crate) fn invite_mode(&self, form: Form) -> InviteMode {
        match form {
            Form::Group => self.settings.group_invites,
            Form::Discussion => self.settings.discussion_invites,
        }
    }

    pub(crate) fn transfer(&self, cx: &Context, params: MemberParams) -> Result<Nothing, Error> {
        let mut group = GroupContext::find(cx, &params.group)?;
        let (mut old_owner, standing) = group.caller()?;
        check_owner(&group)?;
        let (mut new_owner, other) = group.target(&params.actor)?;
        standing.outranks(&other)?;
        group.policy.owner.clone_from(&new_owner.actor);
        group.set_member_policy(&mut new_owner, MemberPolicy::of(RoleId::OWNER))?;
        group.set_member_policy(&mut old_owner, MemberPolicy::of(RoleId::ADMIN))?;
        group.append_notice(&json!({"event": "owner", "actor": new_owner.actor}))?;
        Ok(Nothing {})
    }

    pub(crate) fn dissolve(&self, cx: &Context, params: GroupParams) -> Result<Nothing, Error> {
        let group = GroupContext::find(cx, &params.group)?;
        group.caller()?;
        check_owner(&group)?;
        deletion::start(group)?;
        Ok(Nothing {})
    }
}

/// Rejects everybody except the owner, and everybody in a discussion.
fn check_owner(group: &GroupContext<'_>) -> Result<(), Error> {
    if group.policy.form == Form::Discussion {
        return Err(Error::new(error::CONFLICT, "A discussion has no owner."));
    }
    if group.policy.owner != group.cx.caller.actor {
        return Err(Error::new(error::FORBIDDEN, "Only the owner can do this."));
    }
    Ok(())
}
