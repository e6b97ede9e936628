//! The manifest of a plugin: JSON in the custom section `courtyard:manifest`. Hosts read it before any code of the plugin
//! runs.

use serde::{Deserialize, Serialize};

/// Why a manifest is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not JSON of this format.
    #[error("it can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
}

macro_rules! hooks {
    ($($(#[doc = $doc:literal])* $hook:ident = $name:ident $(($($property:ident $(= $value:literal)?),*))?,)*) => {
        /// A function of the plugin that the host calls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum HookName {
            $($(#[doc = $doc])* $hook,)*
        }

        impl HookName {
            /// All hooks.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$hook),*];

            /// Returns the name as manifests, logs and metrics write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$hook => stringify!($name),)*
                }
            }

            const fn properties(self) -> HookProperties {
                match self {
                    $(Self::$hook => HookProperties {
                        $($($property: property!($property $(= $value)?),)*)?
                        ..HookProperties::PLAIN
                    },)*
                }
            }
        }

        /// A function for each hook, under its name in `register!`.
        #[doc(hidden)]
        pub mod hook_names {
            $(
                #[must_use]
                pub const fn $name() -> super::HookName {
                    super::HookName::$hook
                }
            )*
        }
    };
}

macro_rules! property {
    (capability = $capability:literal) => {
        Some($capability)
    };
    ($flag:ident) => {
        true
    };
}

/// What else the list of hooks says about one.
struct HookProperties {
    /// True if the hook observes committed events at least once.
    observed: bool,
    /// True if the hook takes the filter `watched`.
    watched: bool,
    /// True if the hook is not listed in a manifest.
    undeclared: bool,
    capability: Option<&'static str>,
}

impl HookProperties {
    const PLAIN: Self = Self {
        observed: false,
        watched: false,
        undeclared: false,
        capability: None,
    };
}

// The only list of the hooks. `docs/reference/contract.md` has a row for each, and a test compares the two.
hooks! {
    /// Resolves a token to an identity. Guard.
    Authenticate = authenticate,
    /// Decides about a message before it is in the log. Guard or transform.
    BeforeSend = before_send (watched),
    /// Observes a message in the log. Observe.
    AfterSend = after_send (watched, observed),
    /// Changes what one viewer sees of messages. Render.
    Render = render,
    /// Runs when a timer of the plugin is due.
    Timer = timer (capability = "timers"),
    /// Observes that a client has signed in. Observe.
    Connected = connected,
    /// Observes that the connection of a signed-in client has ended. Observe.
    Disconnected = disconnected,
    /// Decides about an act on a message in the log, or a signal. Guard.
    BeforeAct = before_act (watched),
    /// Observes an act in the log. Observe.
    AfterAct = after_act (watched, observed),
    /// Decides about a new conversation, or a change of its members. Guard.
    BeforeChange = before_change,
    /// Observes a committed change of a conversation. Observe.
    AfterChange = after_change (observed),
    /// Observes a message that offline members missed. Observe.
    Push = push (watched, observed),
    /// Observes an event of another plugin. Observe.
    Event = event (observed, capability = "events"),
    /// Answers a request to the plugin's part of the HTTP interface.
    Http = http (capability = "http"),
    /// Decides about a new upload of a blob of the plugin. Guard.
    BeforeUpload = before_upload (capability = "blobs"),
    /// Decides about a blob of the plugin whose last byte has arrived. Guard.
    CompleteUpload = complete_upload (capability = "blobs"),
    /// Decides about a download of a blob of the plugin. Guard.
    BeforeDownload = before_download (capability = "blobs"),
    /// Decides about the removal of a blob of the plugin. Guard.
    BeforeRemove = before_remove (capability = "blobs"),
    /// Runs a job of the plugin. Action lane.
    Action = action (capability = "jobs"),
    /// Runs a transaction of a job. Comes with `action`, and is not declared.
    Transaction = transaction (undeclared),
    /// Runs a method that a client calls. Methods are declared one by one.
    Method = method (undeclared),
    /// Changes the keys of another version. Every plugin has it, and it is not declared.
    Migrate = migrate (undeclared),
}

impl HookName {
    /// Returns whether the hook observes committed events at least once.
    #[must_use]
    pub const fn is_observed(self) -> bool {
        self.properties().observed
    }

    /// Returns whether the hook takes the filter `watched`: only conversations that the plugin chooses while it runs.
    #[must_use]
    pub const fn can_be_watched(self) -> bool {
        self.properties().watched
    }

    /// Returns the capability that a plugin needs to declare the hook.
    #[must_use]
    pub const fn capability(self) -> Option<&'static str> {
        self.properties().capability
    }

    /// Returns whether the hook is listed among the hooks of a manifest.
    #[must_use]
    pub const fn is_declared(self) -> bool {
        !self.properties().undeclared
    }
}

macro_rules! capabilities {
    ($($capability:ident,)*) => {
        /// The capabilities that a manifest may request. `http` has no service: it is the plugin's own part of the HTTP
        /// interface.
        pub const CAPABILITIES: [&str; [$(stringify!($capability)),*].len()] = [$(stringify!($capability)),*];

        /// A function for each capability, under its name in `register!`.
        #[doc(hidden)]
        pub mod capability_names {
            $(
                #[must_use]
                pub const fn $capability() -> &'static str {
                    stringify!($capability)
                }
            )*
        }
    };
}

capabilities! {
    kv,
    conversations,
    memberships,
    sessions,
    methods,
    timers,
    events,
    annotations,
    watches,
    http,
    jobs,
    fetch,
    blobs,
    secrets,
    metrics,
    clock,
    random,
    log,
}

/// The capabilities that every plugin has without a grant.
pub const ALWAYS_GRANTED: [&str; 4] = ["clock", "random", "log", "metrics"];

/// A function for each class of `before_send`, under its name in `register!`.
#[doc(hidden)]
pub mod class_names {
    #[must_use]
    pub const fn guard() -> super::Class {
        super::Class::Guard
    }

    #[must_use]
    pub const fn transform() -> super::Class {
        super::Class::Transform
    }
}

/// The effect of a failure of `before_send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A failure rejects the message.
    Guard,
    /// A failure skips only this plugin. The hook can't reject.
    Transform,
}

/// A hook with its filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The hook.
    pub hook: HookName,
    /// Required for `before_send`, and invalid for other hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The kinds of conversations that it sees; empty for any.
    #[serde(default)]
    pub conversation_kinds: Vec<String>,
    /// The kinds of content that it sees; empty for any.
    #[serde(default)]
    pub content_kinds: Vec<String>,
    /// Only for `event`: the events that it sees, as `PLUGIN.NAME`; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Only for hooks that [can be watched](HookName::can_be_watched): restricts the hook to conversations that the plugin
    /// watches, and those with a member that it watches. Needs the capability `watches`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watched: bool,
}

/// A method that clients may call as `PLUGIN.NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodEntry {
    /// Its name, without the plugin's id.
    pub name: String,
    /// True if sessions that are not signed in may call it.
    #[serde(default)]
    pub anonymous: bool,
    /// JSON Schema of the parameters.
    pub params: serde_json::Value,
    /// JSON Schema of the result.
    pub result: serde_json::Value,
}

/// The declarations of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1.
    pub manifest: u32,
    /// 1 to 32 of a-z 0-9 _ -, a letter first.
    pub id: String,
    /// The version of the plugin.
    pub version: String,
    /// The version of the contract that it was built for.
    pub contract: String,
    /// A description for people.
    #[serde(default)]
    pub description: String,
    /// Plugins that the host calls before this one, if they are configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// The capabilities that it requests, besides clock, random, log and metrics.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The hooks that the host calls.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// The methods that clients may call.
    #[serde(default)]
    pub methods: Vec<MethodEntry>,
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// If the bytes aren't JSON of this format, or a value breaks a rule.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let invalid = |reason: String| Err(ManifestError::Invalid(reason));
        if self.manifest != 1 {
            return invalid(format!(
                "it has format {}, and this version reads format 1",
                self.manifest
            ));
        }
        if !is_name(&self.id, b"_-") {
            return invalid(format!(
                "not a plugin id: {:?}; an id is 1 to 32 of a-z 0-9 _ -, a letter first",
                self.id
            ));
        }
        for method in &self.methods {
            if !is_name(&method.name, b"_") {
                return invalid(format!(
                    "not a method name: {:?}; a name is 1 to 32 of a-z 0-9 _, a letter first",
                    method.name
                ));
            }
            if self.methods.iter().filter(|other| other.name == method.name).count() > 1 {
                return invalid(format!("the method {:?} is declared twice", method.name));
            }
        }
        for hook in &self.hooks {
            if !hook.hook.is_declared() {
                return invalid(format!("{:?} can't be listed among the hooks", hook.hook.name()));
            }
            if (hook.hook == HookName::BeforeSend) != hook.class.is_some() {
                return invalid("`class` is required for `before_send`, and invalid for other hooks".to_owned());
            }
            if let Some(needed) = hook.hook.capability()
                && !self.capabilities.iter().any(|capability| capability == needed)
            {
                return invalid(format!(
                    "the hook {:?} needs the capability {needed:?}",
                    hook.hook.name()
                ));
            }
            if hook.watched && !hook.hook.can_be_watched() {
                return invalid(format!(
                    "the hook {:?} doesn't take the filter `watched`",
                    hook.hook.name()
                ));
            }
            if hook.watched && !self.capabilities.iter().any(|capability| capability == "watches") {
                return invalid("the filter `watched` needs the capability \"watches\"".to_owned());
            }
            if self.hooks.iter().filter(|other| other.hook == hook.hook).count() > 1 {
                return invalid(format!("the hook {:?} is declared twice", hook.hook));
            }
        }
        Ok(())
    }
}

fn is_name(text: &str, more: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"manifest":1,"id":"a","version":"1","contract":"1.0.0","hooks":[{"hook":"before_send","class":"guard"}]}"#;

    #[test]
    fn a_valid_manifest_is_parsed() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.hooks[0].class, Some(Class::Guard));
    }

    #[test]
    fn invalid_manifests_are_rejected() {
        for (wrong, right) in [
            (r#""manifest":2"#, r#""manifest":1"#),
            (r#""id":"A""#, r#""id":"a""#),
            (r#""hook":"render""#, r#""hook":"before_send""#),
            (r#""more":1,"id":"a""#, r#""id":"a""#),
            (r#""class":"guard","watched":true"#, r#""class":"guard""#),
            (
                r#""hook":"after_send","watched":true"#,
                r#""hook":"before_send","class":"guard""#,
            ),
        ] {
            assert!(
                Manifest::parse(GOOD.replace(right, wrong).as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }
}
