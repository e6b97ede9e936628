//! What every kind of plugin answers, held against its limits and the contract; and how quick it is.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::hooks::{Failure, Identity, PluginError};

/// Quick calls in a row until a slow plugin counts as quick again.
const QUICK_AGAIN: u32 = 100;

/// What most functions of a plugin return: a value, or an error that its author foresaw.
pub(super) type Answered<T> = Result<T, PluginError>;

/// Holds bytes against the limit of one result.
pub(super) fn sized(bytes: Vec<u8>, most: usize) -> Result<Bytes, Failure> {
    if bytes.len() > most {
        Err(Failure::Limit("result bytes"))
    } else {
        Ok(bytes.into())
    }
}

/// Checks who a plugin says that a token stands for: actor, credential, end.
pub(super) fn identity(answer: Answered<Option<(String, String, u64)>>) -> Result<Answered<Option<Identity>>, Failure> {
    let checked = |(actor, credential, expires_at_ms): (String, String, u64)| {
        let actor = actor.parse();
        actor.map(|actor| Identity {
            actor,
            credential,
            expires_at_ms,
        })
    };
    match answer {
        Ok(found) => match found.map(checked).transpose() {
            Ok(identity) => Ok(Ok(identity)),
            Err(error) => Err(Failure::Contract(error.to_string())),
        },
        Err(error) => Ok(Err(error)),
    }
}

/// Checks what a viewer is to see.
pub(super) fn contents(
    answer: Answered<Vec<Option<Vec<u8>>>>,
    most: usize,
) -> Result<Answered<Vec<Option<Bytes>>>, Failure> {
    let sized = |content: Option<Vec<u8>>| content.map(|bytes| sized(bytes, most)).transpose();
    match answer {
        Ok(contents) => Ok(Ok(contents.into_iter().map(sized).collect::<Result<_, _>>()?)),
        Err(error) => Ok(Err(error)),
    }
}

/// Checks what a method returns, since it goes into a frame as it is.
pub(super) fn method_result(answer: Answered<Vec<u8>>, most: usize) -> Result<Answered<Bytes>, Failure> {
    match answer {
        Ok(json) if serde_json::from_slice::<&serde_json::value::RawValue>(&json).is_err() => {
            Err(Failure::Contract("the result of a method is no JSON".to_owned()))
        }
        Ok(json) => sized(json, most).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Whether calls have lately taken long.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Counts down quick calls after a slow one.
    slow: AtomicU32,
}

impl Pace {
    pub(super) fn note(&self, slow: bool) {
        if slow {
            self.slow.store(QUICK_AGAIN, Ordering::Relaxed);
        } else if self.is_slow() {
            let less = |slow: u32| slow.checked_sub(1);
            // At 0 it stays there.
            let _ = self.slow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_returns_json_within_its_limit() {
        assert_eq!(method_result(Ok(b"{}".to_vec()), 2), Ok(Ok(Bytes::from_static(b"{}"))));
        assert_eq!(
            method_result(Ok(b"[1]".to_vec()), 2),
            Err(Failure::Limit("result bytes"))
        );
        assert!(matches!(method_result(Ok(b"{".to_vec()), 9), Err(Failure::Contract(_))));
        assert!(matches!(
            method_result(Ok(b"\xff".to_vec()), 9),
            Err(Failure::Contract(_))
        ));
    }

    #[test]
    fn an_actor_that_can_not_be_breaks_the_contract() {
        let found = |actor: &str| identity(Ok(Some((actor.to_owned(), String::new(), 0))));
        assert!(matches!(found("ann"), Ok(Ok(Some(_)))));
        assert!(matches!(found(""), Err(Failure::Contract(_))));
    }

    #[test]
    fn a_plugin_counts_as_quick_again_after_many_quick_calls() {
        let pace = Pace::default();
        pace.note(true);
        for _ in 1..QUICK_AGAIN {
            pace.note(false);
        }
        assert!(pace.is_slow());
        pace.note(false);
        assert!(!pace.is_slow());
    }
}
