//! JSON Schemas of types, known at compile time so that they fit into the manifest.

/// A type that has a JSON Schema (2020-12). [`record!`](crate::record!) implements it for structs.
#[diagnostic::on_unimplemented(note = "declare parameters and results of methods with `record!`")]
pub trait Schema {
    /// The schema, JSON.
    const JSON: &'static str;
    /// The schema of a list of these.
    const LIST: &'static str;
    /// True if a member of this type may be missing.
    const OPTIONAL: bool = false;
}

macro_rules! plain {
    ($($type:ty => $json:literal),* $(,)?) => {
        $(
            impl Schema for $type {
                const JSON: &'static str = $json;
                const LIST: &'static str = const_format::concatcp!("{\"type\":\"array\",\"items\":", $json, "}");
            }
        )*
    };
}

plain! {
    String => r#"{"type":"string"}"#,
    bool => r#"{"type":"boolean"}"#,
    u32 => r#"{"type":"integer","minimum":0}"#,
    u64 => r#"{"type":"integer","minimum":0}"#,
    i64 => r#"{"type":"integer"}"#,
    f64 => r#"{"type":"number"}"#,
}

impl<T: Schema> Schema for Option<T> {
    /// The schema of a member that is present and not null.
    const JSON: &'static str = T::JSON;
    const LIST: &'static str = T::LIST;
    const OPTIONAL: bool = true;
}

impl<T: Schema> Schema for Vec<T> {
    const JSON: &'static str = T::LIST;
    /// The schema of lists of lists doesn't describe the inner members.
    const LIST: &'static str = r#"{"type":"array","items":{"type":"array"}}"#;
}

/// Removes the comma at the start of a list of members.
#[doc(hidden)]
#[must_use]
pub const fn without_leading_comma(text: &'static str) -> &'static str {
    if text.is_empty() { text } else { text.split_at(1).1 }
}

/// Declares a struct that is sent as a JSON object, with its schema. Unknown members are errors.
#[macro_export]
macro_rules! record {
    (
        $(#[$doc:meta])*
        $visibility:vis struct $name:ident { $($(#[$field_doc:meta])* $field_visibility:vis $field:ident : $type:ty),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "courtyard_plugin_sdk::serde", deny_unknown_fields)]
        $visibility struct $name {
            $($(#[$field_doc])* $field_visibility $field: $type),*
        }

        impl $crate::Schema for $name {
            const JSON: &'static str = $crate::const_format::concatcp!(
                "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{",
                $crate::__without_leading_comma($crate::const_format::concatcp!(
                    "" $(, ",\"", stringify!($field), "\":", <$type as $crate::Schema>::JSON)*
                )),
                "},\"required\":[",
                $crate::__without_leading_comma($crate::const_format::concatcp!(
                    "" $(, if <$type as $crate::Schema>::OPTIONAL { "" } else { concat!(",\"", stringify!($field), "\"") })*
                )),
                "]}"
            );
            const LIST: &'static str =
                $crate::const_format::concatcp!("{\"type\":\"array\",\"items\":", <$name as $crate::Schema>::JSON, "}");
        }
    };
}
