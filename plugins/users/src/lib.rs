//! The users plugin: register and log in with name and password, opaque tokens, people, direct conversations.

mod account;
mod password;
mod token;

use courtyard_plugin_sdk::prelude::*;

use account::{Account, DisplayName, Name};
use password::{Cost, Password};
use token::Login;

/// Most people in one answer.
const PAGE: u32 = 100;

record! {
    /// A new account.
    struct Register {
        name: String,
        password: String,
        display_name: Option<String>,
    }
}
record! {
    /// Name and password.
    struct LogIn { name: String, password: String }
}
record! {
    /// A login: what to connect with, and until when.
    struct Session { actor: String, token: String, expires_ms: u64 }
}
record! {
    /// Nothing.
    struct Nothing {}
}
record! {
    /// Someone.
    struct Person { actor: String, name: String, display_name: String }
}
record! {
    /// Who is looked for: names that begin so, behind the name of an earlier answer's `next`.
    struct Query { query: Option<String>, after: Option<String>, limit: Option<u32> }
}
record! {
    /// Some people, and where the next ones begin.
    struct People { people: Vec<Person>, next: Option<String> }
}
record! {
    /// Who is asked about.
    struct Actors { actors: Vec<String> }
}
record! {
    /// Someone's id.
    struct Whom { actor: String }
}
record! {
    /// A conversation.
    struct Opened { conversation: String }
}
record! {
    /// The password, to be sure.
    struct Confirmed { password: String }
}

/// The operator's settings.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    token_days: u64,
    argon2: Cost,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_days: 30,
            argon2: Cost::default(),
        }
    }
}

/// The plugin.
pub struct Users {
    settings: Settings,
}

impl Plugin for Users {
    fn start(configuration: &str) -> Result<Self, Error> {
        let settings: Settings =
            serde_json::from_str(configuration).map_err(|error| Error::new("bad_configuration", error.to_string()))?;
        settings.argon2.check()?;
        Ok(Self { settings })
    }

    fn authenticate(&self, cx: &Context, _app: &str, token: &str) -> Result<Option<Identity>, Error> {
        if !token::is_ours(token) {
            return Ok(None);
        }
        let ended = || Error::new("token_ended", "The login has ended; log in again.");
        let login: Login = cx.kv().get_json(token::key(token))?.ok_or_else(ended)?;
        if login.expires_ms <= cx.now_ms() || account::is_closed(cx, &login.actor)? {
            return Err(ended());
        }
        Ok(Some(Identity {
            actor: login.actor,
            credential: login.id,
            expires_at_ms: login.expires_ms,
        }))
    }

    /// Nobody writes to an account that was closed.
    fn before_send(&self, cx: &Context, message: &Message<'_>) -> Verdict {
        match account::is_closed(cx, message.receiver()) {
            Ok(false) => Verdict::Accept,
            Ok(true) => Verdict::reject("account_closed", "This account was closed."),
            Err(error) => Verdict::Reject(error),
        }
    }
}

impl Users {
    fn register(&self, cx: &Context, params: Register) -> Result<Session, Error> {
        let name = Name::parse(&params.name)?;
        let display_name = DisplayName::parse(params.display_name.as_deref().unwrap_or(&params.name))?;
        let password = Password::parse(&params.password)?;
        if account::find(cx, &name)?.is_some() {
            return Err(Error::new("name_taken", "This name is taken."));
        }
        let actor = format!("u{}", token::hex(&cx.random::<12>()));
        let account = Account {
            actor: actor.clone(),
            name: params.name,
            display_name: display_name.0,
            password: password.hash(cx.random(), self.settings.argon2),
        };
        account.create(cx, &name)?;
        self.log_in(cx, actor)
    }

    fn login(&self, cx: &Context, params: LogIn) -> Result<Session, Error> {
        let wrong = || Error::new("wrong_credentials", "The name or the password is wrong.");
        let account = match Name::parse(&params.name) {
            Ok(name) => account::find(cx, &name)?,
            Err(_) => None,
        };
        let Some(account) = account else {
            // As long as with an account, so that the time does not tell which names there are.
            password::waste_time(&params.password, self.settings.argon2);
            return Err(wrong());
        };
        if !account.password.is(&params.password) || account::is_closed(cx, &account.actor)? {
            return Err(wrong());
        }
        self.log_in(cx, account.actor)
    }

    fn log_in(&self, cx: &Context, actor: String) -> Result<Session, Error> {
        let (token, id) = token::new(cx);
        let lifetime = self.settings.token_days.saturating_mul(24 * 60 * 60 * 1_000);
        let login = Login {
            actor,
            id,
            expires_ms: cx.now_ms().saturating_add(lifetime),
        };
        cx.kv().set_json(token::key(&token), &login)?;
        cx.kv()
            .set(token::login_key(&login.actor, &login.id), token::key(&token))?;
        Ok(Session {
            actor: login.actor,
            token,
            expires_ms: login.expires_ms,
        })
    }

    fn logout(&self, cx: &Context, _params: Nothing) -> Result<Nothing, Error> {
        let key = token::login_key(&cx.caller.actor, &cx.caller.credential);
        if let Some(token) = cx.kv().get(&key)? {
            cx.kv().delete(token)?;
            cx.kv().delete(&key)?;
        }
        cx.sessions().end(&cx.caller.actor, Some(&cx.caller.credential));
        Ok(Nothing {})
    }

    fn whoami(&self, cx: &Context, _params: Nothing) -> Result<Person, Error> {
        account::of_actor(cx, &cx.caller.actor)?.map(person).ok_or_else(unknown)
    }

    fn people(&self, cx: &Context, params: Query) -> Result<People, Error> {
        let prefix = params.query.unwrap_or_default().to_lowercase();
        let limit = params.limit.unwrap_or(50).clamp(1, PAGE);
        let found = account::list(cx, &prefix, params.after.as_deref(), limit + 1)?;
        let more = found.len() > limit as usize;
        let mut people = Vec::new();
        for account in found.into_iter().take(limit as usize) {
            people.push(account);
        }
        let next = more
            .then(|| people.last().map(|account| account.name.to_lowercase()))
            .flatten();
        let mut open = Vec::new();
        for account in people {
            if !account::is_closed(cx, &account.actor)? {
                open.push(person(account));
            }
        }
        Ok(People { people: open, next })
    }

    fn profiles(&self, cx: &Context, params: Actors) -> Result<People, Error> {
        if params.actors.len() > PAGE as usize {
            return Err(Error::new("too_many", "Ask about 100 people at most."));
        }
        let mut people = Vec::new();
        for actor in &params.actors {
            people.extend(account::of_actor(cx, actor)?.map(person));
        }
        Ok(People { people, next: None })
    }

    fn open_direct(&self, cx: &Context, params: Whom) -> Result<Opened, Error> {
        let (own, other) = (cx.caller.actor.clone(), params.actor);
        if own == other {
            return Err(Error::new("not_with_yourself", "A conversation takes two."));
        }
        account::of_actor(cx, &other)?.ok_or_else(unknown)?;
        if account::is_closed(cx, &other)? {
            return Err(Error::new("account_closed", "This account was closed."));
        }
        let mut members = [own, other];
        members.sort();
        let conversation = cx.conversations().open(&members.join("+"), "direct", &members)?;
        Ok(Opened {
            conversation: conversation.id,
        })
    }

    fn close_account(&self, cx: &Context, params: Confirmed) -> Result<Nothing, Error> {
        let account = account::of_actor(cx, &cx.caller.actor)?.ok_or_else(unknown)?;
        if !account.password.is(&params.password) {
            return Err(Error::new("wrong_credentials", "The password is wrong."));
        }
        account::close(cx, &account.actor)?;
        cx.sessions().end(&account.actor, None);
        Ok(Nothing {})
    }
}

fn person(account: Account) -> Person {
    Person {
        actor: account.actor,
        name: account.name,
        display_name: account.display_name,
    }
}

fn unknown() -> Error {
    Error::new("unknown_person", "There is no such person.")
}

register! {
    plugin: Users,
    id: "users",
    description: "Accounts, logins and direct conversations.",
    capabilities: [kv, conversations, sessions],
    hooks: [authenticate, before_send(guard) { conversations: ["direct"] }],
    methods: [
        register(anonymous), login(anonymous), logout, whoami, people, profiles, open_direct, close_account,
    ],
}

#[cfg(test)]
mod tests;
