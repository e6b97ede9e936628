//! Reads all values below a key prefix.

use courtyard_plugin_sdk::prelude::*;
use serde::de::DeserializeOwned;

/// Returns the values below a prefix that ends with a slash, each with the rest of its key; skips values that don't parse.
pub(crate) fn read<T: DeserializeOwned>(cx: &Context, prefix: &str) -> Result<Vec<(String, T)>, Error> {
    let mut end = prefix.to_owned();
    // `0` is the next character after the slash.
    end.pop();
    end.push('0');
    let entries = cx.kv().scan(prefix, end, u32::MAX)?;
    let parsed = entries.into_iter().filter_map(|(key, json)| {
        let id = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
        serde_json::from_slice(&json).ok().map(|value| (id, value))
    });
    Ok(parsed.collect())
}
