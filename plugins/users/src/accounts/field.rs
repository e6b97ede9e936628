//! Custom fields of profiles, declared by the operator.

use courtyard_plugin_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{self, invalid_configuration};

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Text,
    Number,
    Boolean,
    /// A day such as `2000-02-29`.
    Date,
    /// One of `choices`.
    Choice,
}

/// Who sees a field, from the widest to the narrowest circle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Audience {
    /// Every signed-in person.
    #[default]
    Everyone,
    Friends,
    /// The owner alone.
    Owner,
}

/// The declaration of a field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub(crate) name: String,
    #[serde(rename = "type")]
    kind: Type,
    #[serde(default)]
    pub(crate) visible: Audience,
    /// Maximum length of a text, in characters.
    #[serde(default = "default_chars")]
    max_chars: usize,
    /// Least value of a number.
    min: Option<f64>,
    /// Greatest value of a number.
    max: Option<f64>,
    #[serde(default)]
    choices: Vec<String>,
}

fn default_chars() -> usize {
    200
}

impl Field {
    /// Rejects bad names, repeated names, and `choices` of the wrong type.
    pub(crate) fn check_all(fields: &[Self]) -> Result<(), Error> {
        for (index, field) in fields.iter().enumerate() {
            let name = &field.name;
            let is_name = (1..=32).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !is_name {
                return Err(invalid_configuration(format!(
                    "fields: {name:?} is not 1 to 32 of a-z 0-9 _"
                )));
            }
            if fields[..index].iter().any(|other| other.name == *name) {
                return Err(invalid_configuration(format!("fields: {name:?} is declared twice")));
            }
            if (field.kind == Type::Choice) == field.choices.is_empty() {
                return Err(invalid_configuration(format!(
                    "fields: {name:?}: type \"choice\" needs `choices`, other types must not have them"
                )));
            }
        }
        Ok(())
    }

    /// Checks a value against the declaration.
    ///
    /// # Errors
    /// `invalid_field`.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Error> {
        let expected = match (self.kind, value) {
            (Type::Text, Value::String(text)) => {
                let fits = text.chars().count() <= self.max_chars
                    && !text.chars().any(|char| char.is_control() && char != '\n');
                (!fits).then(|| format!("up to {} printable characters", self.max_chars))
            }
            (Type::Number, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                let fits = number >= self.min.unwrap_or(f64::MIN) && number <= self.max.unwrap_or(f64::MAX);
                (!fits).then(|| "a number between its bounds".to_owned())
            }
            (Type::Boolean, Value::Bool(_)) => None,
            (Type::Date, Value::String(text)) if is_date(text) => None,
            (Type::Choice, Value::String(text)) if self.choices.contains(text) => None,
            (Type::Text, _) => Some("a text".to_owned()),
            (Type::Number, _) => Some("a number".to_owned()),
            (Type::Boolean, _) => Some("true or false".to_owned()),
            (Type::Date, _) => Some("a day such as 2000-02-29".to_owned()),
            (Type::Choice, _) => Some(format!("one of {}", self.choices.join(", "))),
        };
        expected.map_or(Ok(()), |expected| {
            Err(Error::new(
                error::INVALID_FIELD,
                format!("Field {:?}: expected {expected}.", self.name),
            ))
        })
    }
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_form = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !has_form {
        return false;
    }
    let number = |range| {
        text.get(range)
            .and_then(|digits: &str| digits.parse::<u32>().ok())
            .unwrap_or(0)
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn field(more: Value) -> Field {
        let mut field = json!({"name": "x"});
        for (key, value) in more.as_object().unwrap() {
            field[key] = value.clone();
        }
        serde_json::from_value(field).unwrap()
    }

    #[test]
    fn values_are_checked_against_their_declaration() {
        let cases = [
            (json!({"type": "text", "max_chars": 3}), json!("äöü"), true),
            (json!({"type": "text", "max_chars": 3}), json!("four"), false),
            (json!({"type": "text"}), json!("bell \u{7}"), false),
            (json!({"type": "text"}), json!(7), false),
            (json!({"type": "number", "min": 1, "max": 2}), json!(1.5), true),
            (json!({"type": "number", "min": 1, "max": 2}), json!(3), false),
            (json!({"type": "boolean"}), json!(true), true),
            (json!({"type": "boolean"}), json!("true"), false),
            (json!({"type": "date"}), json!("2000-02-29"), true),
            (json!({"type": "date"}), json!("1900-02-29"), false),
            (json!({"type": "date"}), json!("2000-13-01"), false),
            (json!({"type": "date"}), json!("2000-1-1"), false),
            (json!({"type": "choice", "choices": ["red"]}), json!("red"), true),
            (json!({"type": "choice", "choices": ["red"]}), json!("blue"), false),
        ];
        for (declared, value, fits) in cases {
            assert_eq!(
                field(declared.clone()).check(&value).is_ok(),
                fits,
                "{declared} {value}"
            );
        }
    }

    #[test]
    fn invalid_declarations_are_rejected() {
        for declared in [
            json!({"name": "A", "type": "text"}),
            json!({"type": "choice"}),
            json!({"type": "text", "choices": ["x"]}),
        ] {
            assert!(Field::check_all(&[field(declared.clone())]).is_err(), "{declared}");
        }
        let twice = [field(json!({"type": "text"})), field(json!({"type": "date"}))];
        assert!(Field::check_all(&twice).is_err());
    }
}
