//! Error messages with their causes.

use std::error::Error;

/// Returns the message of an error and those of its causes, separated by `: `.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        next = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Level(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn the_message_has_all_causes_in_order() {
        let error = Level("a", Some(Box::new(Level("b", Some(Box::new(Level("c", None)))))));
        assert_eq!(with_causes(&error), "a: b: c");
    }
}
