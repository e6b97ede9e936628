//! Calls of services as values, for plugins in the host's process and in native libraries.

use serde::{Deserialize, Serialize};

use crate::service::{Conversation, Entries, Level, StoredMessage};
use crate::{Blob, Error, FetchRequest, HttpResponse, ServiceError};

/// A call of a service. Each variant is the function of that name in `wit/services.wit`, with its arguments.
#[allow(missing_docs, reason = "the contract describes them")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ServiceRequest {
    Get(#[serde(with = "serde_bytes")] Vec<u8>),
    Set(
        #[serde(with = "serde_bytes")] Vec<u8>,
        #[serde(with = "serde_bytes")] Vec<u8>,
    ),
    SetUntil(
        #[serde(with = "serde_bytes")] Vec<u8>,
        #[serde(with = "serde_bytes")] Vec<u8>,
        u64,
    ),
    Delete(#[serde(with = "serde_bytes")] Vec<u8>),
    Scan(Vec<u8>, Vec<u8>, u32, bool),
    Open(String, String, Vec<String>),
    Find(String),
    Conversation(String),
    AddMembers(String, Vec<String>),
    RemoveMembers(String, Vec<String>),
    Append {
        conversation: String,
        sender: String,
        kind: String,
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
    Read(String, u64, u32),
    Recall(String, u64, String),
    Annotate(String, u64, String, Vec<u8>),
    WatchConversation(String, bool),
    WatchActor(String, bool),
    Publish(String, Vec<u8>),
    AddJob(String, u64, Vec<u8>),
    Transact(String, Vec<u8>),
    Fetch(FetchRequest),
    Blob(String),
    Blobs(String, u32),
    KeepBlob(String),
    RemoveBlob(String),
    ReadBlob(String, u64, u32),
    WriteBlob {
        name: String,
        media_type: String,
        conversation: String,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    Secret(String),
    Count(String, u64),
    Observe(String, f64),
    EndSessions(String, Option<String>),
    Online(Vec<String>),
    Signal(Vec<String>, String, Vec<u8>),
    Call(String, Vec<u8>),
    SetTimer(String, u64, Vec<u8>),
    CancelTimer(String),
    Log(Level, String),
    NowMs,
    Random(u32),
    // Native libraries encode the index of a variant: add new ones at the end.
    IsMember(String, String),
}

impl ServiceRequest {
    /// Returns the capability that the service needs; none if every plugin has it.
    #[must_use]
    pub fn capability(&self) -> Option<&'static str> {
        match self {
            Self::Get(_) | Self::Set(..) | Self::SetUntil(..) | Self::Delete(_) | Self::Scan(..) => Some("kv"),
            Self::Open(..)
            | Self::Find(_)
            | Self::Conversation(_)
            | Self::AddMembers(..)
            | Self::RemoveMembers(..)
            | Self::Append { .. }
            | Self::Read(..)
            | Self::Recall(..) => Some("conversations"),
            Self::IsMember(..) => Some("memberships"),
            Self::Annotate(..) => Some("annotations"),
            Self::WatchConversation(..) | Self::WatchActor(..) => Some("watches"),
            Self::Publish(..) => Some("events"),
            Self::AddJob(..) | Self::Transact(..) => Some("jobs"),
            Self::Fetch(_) => Some("fetch"),
            Self::Blob(_)
            | Self::Blobs(..)
            | Self::KeepBlob(_)
            | Self::RemoveBlob(_)
            | Self::ReadBlob(..)
            | Self::WriteBlob { .. } => Some("blobs"),
            Self::Secret(_) => Some("secrets"),
            Self::EndSessions(..) | Self::Online(_) | Self::Signal(..) => Some("sessions"),
            Self::Call(..) => Some("methods"),
            Self::SetTimer(..) | Self::CancelTimer(_) => Some("timers"),
            Self::Count(..) | Self::Observe(..) | Self::Log(..) | Self::NowMs | Self::Random(_) => None,
        }
    }
}

/// The result of a service.
#[allow(missing_docs, reason = "they are the results of the services")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ServiceResponse {
    Done,
    Value(#[serde(with = "serde_bytes")] Option<Vec<u8>>),
    Entries(Entries),
    Conversation(Conversation),
    Messages(Vec<StoredMessage>),
    Flags(Vec<bool>),
    Called(Result<Vec<u8>, Error>),
    Fetched(Result<HttpResponse, Error>),
    Blobs(Vec<Blob>),
    Wrote(Result<String, Error>),
    Text(Option<String>),
    NowMs(u64),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// The result of a service, or its error.
pub type ServiceResult = Result<ServiceResponse, ServiceError>;
