#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| courtyard_fuzz::run("key", input));
