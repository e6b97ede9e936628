//! Media types as uploaders declare them.

/// Returns a media type in lower case and without parameters.
pub(crate) fn normalized(declared: &str) -> String {
    let (media_type, _) = declared.split_once(';').unwrap_or((declared, ""));
    media_type.trim().to_ascii_lowercase()
}
