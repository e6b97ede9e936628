//! The users plugin: accounts, logins and sessions, profiles, friends, who keeps whom out, presence, direct conversations.

mod account_closure;
mod accounts;
mod error;
mod prefix_scan;
mod secret;
mod settings;
mod sign_in;
mod social;

use courtyard_plugin_sdk::prelude::*;

use accounts::avatar;
use settings::Settings;
use sign_in::throttle::{Throttle, Window};
use sign_in::{gateway, oidc, session};
use social::block;
use social::pace::Pace;

/// The plugin.
#[derive(Debug)]
pub struct Users {
    settings: Settings,
    throttle: Throttle,
    pace: Pace,
    strangers: Window,
}

impl Plugin for Users {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings = Settings::parse(configuration)?;
        Ok(Self {
            throttle: Throttle::new(settings.wrong_passwords),
            pace: Pace::new(settings.presence.interval_ms),
            strangers: Window::new(settings.strangers_per_minute),
            settings,
        })
    }

    fn authenticate(&self, cx: &Context, _app: &str, token: &str) -> Result<Option<Identity>, Error> {
        self.identify(cx, token)
    }

    fn connected(&self, cx: &Context) {
        let shown = self.came(cx);
        said(cx, shown.and_then(|()| session::saw(cx, self.settings.seen_minutes)));
    }

    fn disconnected(&self, cx: &Context) {
        let shown = self.went(cx);
        said(cx, shown.and_then(|()| session::saw(cx, self.settings.seen_minutes)));
    }

    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        self.check_message(cx, message)
    }

    fn before_act(&self, cx: &Context, act: &Act) -> Result<(), Error> {
        self.check_act(cx, act)
    }

    fn before_change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        block::check_change(cx, change)
    }

    fn before_upload(&self, cx: &Context, blob: &Blob, _is_member: bool) -> Result<(), Error> {
        self.check_picture(cx, blob)
    }

    fn complete_upload(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        avatar::replace(cx, &blob.uploader, Some(blob.id.clone()))
    }

    fn before_download(&self, cx: &Context, blob: &Blob, _is_member: bool) -> Result<(), Error> {
        self.may_see_picture(cx, blob)
    }

    fn before_remove(&self, cx: &Context, blob: &Blob) -> Result<(), Error> {
        self.check_removal(cx, blob)
    }

    fn action(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        match job.name.as_str() {
            account_closure::JOB => account_closure::Farewell::run(job, cx),
            gateway::JOB => self.settings.codes.send(cx, job),
            oidc::PREPARE => self.prepare(cx, job),
            oidc::EXCHANGE => self.exchange(cx, job),
            _ => Err(Error::new("unknown_job", "There is no such job.")),
        }
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            account_closure::JOB => typed(payload, |farewell: account_closure::Farewell| farewell.step(cx)),
            oidc::READ => typed(payload, |id: String| {
                oidc::read(cx, &id, &self.settings.oidc.provider(&id)?.issuer)
            }),
            oidc::KEEP => typed(payload, |cached: oidc::Cached| oidc::keep(cx, &cached)),
            oidc::FLOW => typed(payload, |state: String| oidc::Flow::find(cx, &state)),
            oidc::PREPARED => typed(payload, |prepared: oidc::Prepared| self.prepared(cx, &prepared)),
            oidc::FINISH => typed(payload, |changed: oidc::Changed| self.changed(cx, changed)),
            oidc::FAIL => typed(payload, |failed: oidc::Failed| failed.note(cx)),
            _ => Err(Error::new("unknown_transaction", "There is no such transaction.")),
        }
    }
}

/// Logs what nobody else is told.
fn said(cx: &Context, done: Result<(), Error>) {
    if let Err(error) = done {
        cx.log().warn(&format!("presence: {}: {}", error.code, error.message));
    }
}

register! {
    plugin: Users,
    id: "users",
    description: "Accounts, logins, profiles, friends, presence and direct conversations.",
    capabilities: [kv, conversations, sessions, events, jobs, fetch, blobs, secrets, watches],
    hooks: [
        authenticate, connected, disconnected,
        before_send(guard) { conversations: ["direct"], watched },
        before_act { conversations: ["direct"], watched }, before_change,
        before_upload, complete_upload, before_download, before_remove, action,
    ],
    methods: [
        register(anonymous), login(anonymous), logout, whoami, people, profiles, reachable, open_direct, close_account,
        change_password, sessions, end_session, end_other_sessions, refresh,
        request_code(anonymous), sign_in(anonymous), addresses, add_address, confirm_address, remove_address,
        oidc_providers(anonymous), oidc_start(anonymous), oidc_finish(anonymous), oidc_result(anonymous),
        identities, remove_identity,
        profile, set_profile, search,
        friends, set_friend, remove_friend, friend_tags,
        request_friend, accept_friend, refuse_friend, withdraw_friend, friend_requests,
        block, unblock, blocked, ban, unban,
        presence, set_presence, set_idle,
    ],
}

#[cfg(test)]
mod tests;
