//! Groups begin, change hands and end.

use courtyard_plugin_sdk::prelude::*;
use serde_json::json;

use crate::Groups;
use crate::deletion;
use crate::group::{Group, Join, OpenGroup};
use crate::membership::check_people;
use crate::params::{Nothing, OfGroup, OfMember, distinct, is_actor};
use crate::rights::{Charter, Form, RoleId, Terms};
use crate::settings::Inviting;
use crate::text;

record! {
    /// A new group or discussion.
    pub(crate) struct Create {
        /// `group`, which it is if this is left out, or `discussion`.
        form: Option<String>,
        /// A discussion may be without.
        name: Option<String>,
        description: Option<String>,
        picture: Option<String>,
        /// Who is invited.
        members: Option<Vec<String>>,
        /// `open`, `approval` or `invite`, which it is if this is left out.
        join: Option<String>,
        capacity: Option<u32>,
    }
}
record! {
    /// A group that began.
    pub(crate) struct Created { group: String }
}

/// Decides how many members a group may have at most.
pub(crate) fn capacity(groups: &Groups, form: Form, wanted: Option<u32>) -> Result<u32, Error> {
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
        Err(Error::new("bad_capacity", format!("This has 1 to {most} members.")))
    }
}

impl Groups {
    pub(crate) fn create(&self, cx: &Context, params: Create) -> Result<Created, Error> {
        let form = match params.form.as_deref() {
            None | Some("group") => Form::Group,
            Some("discussion") => Form::Discussion,
            Some(_) => return Err(Error::new("bad_form", "This is `group` or `discussion`.")),
        };
        let most = self.settings.name_characters;
        let name = match (form, params.name.as_deref()) {
            (Form::Discussion, None | Some("")) => String::new(),
            (_, name) => text::line(name.unwrap_or_default(), most, "bad_name")?,
        };
        let description = params.description.as_deref().unwrap_or_default();
        let most = self.settings.description_characters;
        let description = text::lines(description, most, "bad_description")?;
        let picture = text::picture(params.picture.as_deref().unwrap_or_default())?;
        let join = Join::parse(params.join.as_deref().unwrap_or("invite"))?;
        let capacity = capacity(self, form, params.capacity)?;
        let own = &cx.caller.actor;
        let mut others = distinct(params.members.unwrap_or_default());
        others.retain(|actor| actor != own);
        if others.len() >= capacity as usize || others.len() > 50 || !others.iter().all(|actor| is_actor(actor)) {
            return Err(Error::new(
                "bad_actors",
                "These are up to 50 people, and no more than there is room for.",
            ));
        }
        check_people(cx, &self.settings, &others)?;

        let address: String = cx.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let conversation = cx
            .conversations()
            .open(&address, form.kind(), std::slice::from_ref(own))?;
        let charter = match form {
            Form::Group => Charter::group(own),
            Form::Discussion => Charter::discussion(),
        };
        let mut group = OpenGroup {
            cx,
            id: conversation.id,
            charter,
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
        group.found(own, &self.settings)?;
        match self.inviting(form) {
            Inviting::Add => group.admit(&self.settings, &others, own)?,
            Inviting::Ask => self.ask_in(&group, &others)?,
        }
        Ok(Created { group: group.id })
    }

    pub(crate) fn inviting(&self, form: Form) -> Inviting {
        match form {
            Form::Group => self.settings.group_invites,
            Form::Discussion => self.settings.discussion_invites,
        }
    }

    pub(crate) fn transfer(&self, cx: &Context, params: OfMember) -> Result<Nothing, Error> {
        let mut group = OpenGroup::find(cx, &params.group)?;
        let (mut owner, standing) = group.caller()?;
        check_owner(&group)?;
        let (mut heir, other) = group.other(&params.actor)?;
        standing.outranks(&other)?;
        group.charter.owner.clone_from(&heir.actor);
        group.set_terms(&mut heir, Terms::of(RoleId::OWNER))?;
        group.set_terms(&mut owner, Terms::of(RoleId::ADMIN))?;
        group.tell(&json!({"event": "owner", "actor": heir.actor}))?;
        Ok(Nothing {})
    }

    pub(crate) fn dissolve(&self, cx: &Context, params: OfGroup) -> Result<Nothing, Error> {
        let group = OpenGroup::find(cx, &params.group)?;
        group.caller()?;
        check_owner(&group)?;
        deletion::begin(group)?;
        Ok(Nothing {})
    }
}

/// Refuses everybody but the owner, and everybody in a discussion.
fn check_owner(group: &OpenGroup<'_>) -> Result<(), Error> {
    if group.charter.form == Form::Discussion {
        return Err(Error::new("not_in_discussions", "A discussion has no owner."));
    }
    if group.charter.owner != group.cx.caller.actor {
        return Err(Error::new("not_the_owner", "Only the owner can do that."));
    }
    Ok(())
}
