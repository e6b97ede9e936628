//! Keys of tables: bytes that decode encode to themselves.

use courtyard_plugin_sdk::table::Key;

pub(crate) fn run(input: &[u8]) {
    check::<String>(input);
    check::<Vec<u8>>(input);
    check::<u64>(input);
    check::<i64>(input);
    check::<bool>(input);
    check::<Option<String>>(input);
    check::<(String, u64)>(input);
    check::<(Option<u32>, Vec<u8>, [u8; 16])>(input);
}

fn check<K: Key>(input: &[u8]) {
    let mut rest = input;
    let Some(key) = K::decode(&mut rest) else {
        return;
    };
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    assert_eq!(bytes, input[..input.len() - rest.len()], "two encodings of one key");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0; 24], vec![1; 24], vec![0xff; 24]];
    let mut encoded = Vec::new();
    courtyard_plugin_sdk::table::AsKey::<(String, u64)>::encode(&("ann\0x".to_owned(), 7_u64), &mut encoded);
    seeds.push(encoded);
    seeds
}
