//! Manifests of plugins, by themselves and inside of artifacts.

use courtyard::internals::plugin::Artifact;
use courtyard_plugin_sdk::manifest::Manifest;

const MANIFEST: &str = r#"{"id":"words","version":"1.2.3","description":"Words.","contract":"1.0.0","capabilities":["kv"],
"hooks":[{"hook":"before_send","class":"guard","contents":["text"],"conversations":["direct"]}],
"methods":[{"name":"list","params":{"type":"object"},"result":{"type":"array"}}]}"#;

pub(crate) fn run(input: &[u8]) {
    // A manifest that parses keeps its rules; any other has a reason.
    if let Err(error) = Manifest::parse(input) {
        assert!(!error.to_string().is_empty());
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![MANIFEST.as_bytes().to_vec()]
}

pub(crate) fn run_artifact(input: &[u8]) {
    if let Err(error) = Artifact::parse(input.to_vec()) {
        assert!(!error.to_string().is_empty());
    }
}

pub(crate) fn artifact_seeds() -> Vec<Vec<u8>> {
    let module = b"\0asm\x01\0\0\0".to_vec();
    let component = b"\0asm\x0d\0\x01\0".to_vec();
    let packed = Artifact::pack(module.clone(), MANIFEST).ok();
    [Some(module), Some(component), packed].into_iter().flatten().collect()
}
