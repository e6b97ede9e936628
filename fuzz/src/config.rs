//! Configurations: each mistake is reported, none panics.

use std::path::Path;

use courtyard::Config;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Err(errors) = Config::parse(text, "courtyard.toml", Path::new("/nowhere")) {
        assert!(!errors.to_string().is_empty());
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../config/courtyard.toml").to_vec(),
        b"[[listen]]\naddress = \"127.0.0.1:0\"\n".to_vec(),
    ]
}
