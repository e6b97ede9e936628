//! The users plugin: accounts, sign-in, sessions, profiles, friends, blocks, presence, direct conversations.
//!
//! `accounts` is the base. `sign_in` and `social` import it, and neither imports the other. Closing an account touches all
//! three, so [`account_closure`] stands above them.

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
use sign_in::throttle::{AnonymousRateLimit, PasswordThrottle};
use sign_in::{gateway, oidc, session};
use social::block;
use social::presence_rate::PresenceRateLimit;

/// The plugin.
#[derive(Debug)]
pub struct Users {
    settings: Settings,
    password_throttle: PasswordThrottle,
    presence_rate: PresenceRateLimit,
    anonymous_rate: AnonymousRateLimit,
}

impl Plugin for Users {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings = Settings::parse(configuration)?;
        Ok(Self {
            password_throttle: PasswordThrottle::new(settings.wrong_passwords),
            presence_rate: PresenceRateLimit::new(settings.presence.interval_ms),
            anonymous_rate: AnonymousRateLimit::new(settings.strangers_per_minute),
            settings,
        })
    }

    fn authenticate(&self, cx: &Context, _app: &str, token: &str) -> Result<Option<Identity>, Error> {
        self.authenticate_token(cx, token)
    }

    fn connected(&self, cx: &Context) {
        let announced = self.on_connected(cx);
        log_failure(
            cx,
            announced.and_then(|()| session::touch(cx, self.settings.seen_minutes)),
        );
    }

    fn disconnected(&self, cx: &Context) {
        let announced = self.on_disconnected(cx);
        log_failure(
            cx,
            announced.and_then(|()| session::touch(cx, self.settings.seen_minutes)),
        );
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
            account_closure::JOB => account_closure::CloseAccountTask::run(job, cx),
            gateway::JOB => self.settings.codes.send(cx, job),
            oidc::PREPARE => self.prepare_flow(cx, job),
            oidc::EXCHANGE => self.run_exchange(cx, job),
            _ => Err(Error::new(error::UNKNOWN_JOB, format!("Unknown job {:?}.", job.name))),
        }
    }

    fn transact(&self, cx: &Context, name: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            account_closure::JOB => typed(payload, |task: account_closure::CloseAccountTask| task.run_batch(cx)),
            oidc::READ => typed(payload, |id: String| {
                oidc::read(cx, &id, &self.settings.oidc.provider(&id)?.issuer)
            }),
            oidc::STORE => typed(payload, |cached: oidc::CachedProvider| oidc::store(cx, &cached)),
            oidc::FLOW => typed(payload, |state: String| oidc::SignInFlow::find(cx, &state)),
            oidc::PREPARED => typed(payload, |prepared: oidc::PreparedFlow| self.set_ready(cx, &prepared)),
            oidc::FINISH => typed(payload, |verified: oidc::VerifiedSignIn| self.finish_flow(cx, verified)),
            oidc::FAIL => typed(payload, |failure: oidc::FlowFailure| failure.save(cx)),
            _ => Err(Error::new(
                error::UNKNOWN_TRANSACTION,
                format!("Unknown transaction {name:?}."),
            )),
        }
    }
}

/// Logs the error of a hook that has nobody to return it to.
fn log_failure(cx: &Context, result: Result<(), Error>) {
    if let Err(error) = result {
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
