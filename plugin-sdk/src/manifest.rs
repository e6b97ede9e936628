//! What a plugin declares: JSON in the custom section `courtyard:manifest`, read before any of its code runs.

use serde::{Deserialize, Serialize};

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not the JSON that this version knows.
    #[error("it can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
}

/// Where the host enters a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookName {
    /// Who a token stands for. Guard.
    Authenticate,
    /// About a message on its way into the log. Guard or transform.
    BeforeSend,
    /// Of a message that is in the log. Observe.
    AfterSend,
    /// What a viewer sees of a message. Render.
    Render,
    /// A timer that the plugin set.
    Timer,
    /// A client has signed in. Observe.
    Connected,
    /// The connection of a client that was signed in has ended. Observe.
    Disconnected,
    /// Something that is done about a message in the log. Guard.
    BeforeAct,
    /// Of such an act that is in the log. Observe.
    AfterAct,
    /// About a conversation that begins or whose members change. Guard.
    BeforeChange,
    /// Of such a change that is committed. Observe.
    AfterChange,
    /// A message for actors who are not online. Observe.
    Push,
    /// An event of another plugin. Observe.
    Event,
    /// A request to the plugin's part of the HTTP interface.
    Http,
    /// About an upload of a blob of the plugin that begins. Guard.
    BeforeUpload,
    /// About a blob of the plugin all of whose bytes are there. Guard.
    CompleteUpload,
    /// About a download of a blob of the plugin. Guard.
    BeforeDownload,
    /// About the removal of a blob of the plugin. Guard.
    BeforeRemove,
    /// A job of the plugin. Action lane.
    Action,
    /// What a job hands over to be kept. It is not declared.
    Transaction,
    /// A method that a client calls. Methods are declared one by one.
    Method,
    /// The change of keys from one version to another. It is not declared.
    Migrate,
}

impl HookName {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Authenticate,
        Self::BeforeSend,
        Self::AfterSend,
        Self::Render,
        Self::Timer,
        Self::Connected,
        Self::Disconnected,
        Self::BeforeAct,
        Self::AfterAct,
        Self::BeforeChange,
        Self::AfterChange,
        Self::Push,
        Self::Event,
        Self::Http,
        Self::BeforeUpload,
        Self::CompleteUpload,
        Self::BeforeDownload,
        Self::BeforeRemove,
        Self::Action,
        Self::Transaction,
        Self::Method,
        Self::Migrate,
    ];

    /// Returns the name as manifests, logs and metrics write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::BeforeSend => "before_send",
            Self::AfterSend => "after_send",
            Self::Render => "render",
            Self::Timer => "timer",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::BeforeAct => "before_act",
            Self::AfterAct => "after_act",
            Self::BeforeChange => "before_change",
            Self::AfterChange => "after_change",
            Self::Push => "push",
            Self::Event => "event",
            Self::Http => "http",
            Self::BeforeUpload => "before_upload",
            Self::CompleteUpload => "complete_upload",
            Self::BeforeDownload => "before_download",
            Self::BeforeRemove => "before_remove",
            Self::Action => "action",
            Self::Transaction => "transaction",
            Self::Method => "method",
            Self::Migrate => "migrate",
        }
    }

    /// Whether it sees, at least once, what is committed.
    #[must_use]
    pub const fn is_observed(self) -> bool {
        matches!(
            self,
            Self::AfterSend | Self::AfterAct | Self::AfterChange | Self::Push | Self::Event
        )
    }

    /// Whether it can be asked for in some conversations alone that the plugin chooses while it runs.
    #[must_use]
    pub const fn can_be_watched(self) -> bool {
        matches!(
            self,
            Self::BeforeSend | Self::AfterSend | Self::BeforeAct | Self::AfterAct | Self::Push
        )
    }

    /// Returns the capability that a plugin needs to be entered there.
    #[must_use]
    pub const fn capability(self) -> Option<&'static str> {
        match self {
            Self::Timer => Some("timers"),
            Self::Event => Some("events"),
            Self::Http => Some("http"),
            Self::BeforeUpload | Self::CompleteUpload | Self::BeforeDownload | Self::BeforeRemove => Some("blobs"),
            Self::Action => Some("jobs"),
            _ => None,
        }
    }

    /// Whether it stands among the hooks of a manifest.
    #[must_use]
    pub const fn is_declared(self) -> bool {
        !matches!(self, Self::Method | Self::Migrate | Self::Transaction)
    }
}

/// How a `before_send` hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A failure rejects the message.
    Guard,
    /// A failure skips this plugin alone; it may not reject.
    Transform,
}

/// A hook with its filters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Which.
    pub hook: HookName,
    /// Only for `before_send`, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Kinds of conversations; empty for any.
    #[serde(default)]
    pub conversation_kinds: Vec<String>,
    /// Kinds of content; empty for any.
    #[serde(default)]
    pub content_kinds: Vec<String>,
    /// Only for `event`: which, as `PLUGIN.NAME`; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Only for `after_send`, `after_act` and `push`: conversations that the plugin watches, and those with a member that it
    /// watches. Needs the capability `watches`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watched: bool,
}

/// A method that clients may call as `PLUGIN.NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodEntry {
    /// Its name, without the plugin's id.
    pub name: String,
    /// Whether sessions that are not signed in may call it.
    #[serde(default)]
    pub anonymous: bool,
    /// JSON Schema of the parameters.
    pub params: serde_json::Value,
    /// JSON Schema of the result.
    pub result: serde_json::Value,
}

/// What a plugin declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1.
    pub manifest: u32,
    /// 1 to 32 of a-z 0-9 _ -, a letter first.
    pub id: String,
    /// Of the plugin.
    pub version: String,
    /// Of the contract.
    pub contract: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Plugins that are to be asked before it, if they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What it wants to use, besides clock, random, log and metrics.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Where it wants to be asked.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// What clients may call.
    #[serde(default)]
    pub methods: Vec<MethodEntry>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When the bytes are no JSON of this form, or a value breaks a rule.
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
                "{:?} is no plugin id: 1 to 32 of a-z 0-9 _ -, a letter first",
                self.id
            ));
        }
        for method in &self.methods {
            if !is_name(&method.name, b"_") {
                return invalid(format!(
                    "{:?} is no method name: 1 to 32 of a-z 0-9 _, a letter first",
                    method.name
                ));
            }
            if self.methods.iter().filter(|other| other.name == method.name).count() > 1 {
                return invalid(format!("the method {:?} is declared twice", method.name));
            }
        }
        for hook in &self.hooks {
            if !hook.hook.is_declared() {
                return invalid(format!("{:?} does not stand among the hooks", hook.hook.name()));
            }
            if (hook.hook == HookName::BeforeSend) != hook.class.is_some() {
                return invalid("`class` belongs to `before_send`, and is needed there".to_owned());
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
                return invalid(format!("`watched` is no filter of {:?}", hook.hook.name()));
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
    fn a_good_manifest_is_read() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.hooks[0].class, Some(Class::Guard));
    }

    #[test]
    fn mistakes_are_told() {
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
