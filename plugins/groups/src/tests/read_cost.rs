//! The number of reads of checks, and of writes of changes.

use std::collections::HashMap;

use courtyard_plugin_sdk::native::{Services, enter};
use courtyard_plugin_sdk::request::{ServiceRequest, ServiceResponse, ServiceResult};
use courtyard_plugin_sdk::{Context, ServiceError};

use super::*;
use crate::rights::LISTED;

/// A read-only key space that counts reads.
struct CountingReads {
    keys: HashMap<Vec<u8>, Vec<u8>>,
    reads: usize,
    bytes: usize,
}

impl Services for CountingReads {
    fn handle(&mut self, request: ServiceRequest) -> ServiceResult {
        let ServiceRequest::Get(key) = request else {
            return Err(ServiceError::Unavailable);
        };
        let value = self.keys.get(&key).cloned();
        self.reads += 1;
        self.bytes += value.as_ref().map_or(0, Vec::len);
        Ok(ServiceResponse::Value(value))
    }
}

/// Checks a message, and returns the number of reads and the number of bytes read.
fn cost(host: &Host, group: &str, sender: &str) -> (usize, usize) {
    let keys = host.run(|cx| Ok(cx.kv().scan("", "", 10_000)?)).unwrap();
    let counting = CountingReads {
        keys: keys.into_iter().collect(),
        reads: 0,
        bytes: 0,
    };
    let plugin = Groups::start("{}").unwrap();
    let message = text(group, sender);
    let check = || message.with(1, |message| plugin.before_send(&Context::default(), message));
    let (counted, verdict) = enter(counting, check);
    assert_eq!(verdict, Ok(Verdict::Accept));
    let counted = counted.unwrap();
    (counted.reads, counted.bytes)
}

#[test]
fn a_message_takes_one_small_read_and_a_second_only_beyond_the_listed_members() {
    let host = host();
    let names: Vec<String> = (0..=LISTED + 1).map(|number| format!("m{number:03}")).collect();
    let mut actors = vec!["ann", "bob"];
    actors.extend(names.iter().map(String::as_str));
    let group = group_of(&host, &actors);
    let allow = |actor: &str| {
        let params = json!({"group": group, "actor": actor, "allow": ["pin"], "deny": []});
        done(&host, "ann", "set_overrides", params);
    };
    for name in &names[..LISTED] {
        allow(name);
    }
    for sender in ["ann", "bob", "m000", "m127"] {
        let (reads, bytes) = cost(&host, &group, sender);
        assert_eq!(reads, 1, "{sender}");
        assert!(bytes < 4_096, "{bytes}");
    }
    allow("m128");
    for (sender, reads) in [("ann", 1), ("m000", 1), ("m128", 2), ("bob", 2)] {
        assert_eq!(cost(&host, &group, sender).0, reads, "{sender}");
    }
}

#[test]
fn a_change_of_the_group_writes_its_policy_and_no_member() {
    let host = host();
    let group = group_of(&host, &["ann", "bob", "cleo"]);
    let stored = || host.run(|cx| Ok(cx.kv().scan("", "", 10_000)?)).unwrap();
    for (method, more) in [
        ("mute_all", json!({"on": true})),
        ("slow_mode", json!({"seconds": 5})),
        ("change_role", json!({"role": "member", "permissions": ["react"]})),
        ("add_role", json!({"title": "Helper", "rank": 3, "permissions": []})),
        ("remove_role", json!({"role": "r3"})),
    ] {
        let before = stored();
        let params = with_members(json!({"group": group}), &more);
        done(&host, "ann", method, params);
        let after = stored();
        assert_eq!(before.len(), after.len(), "{method}");
        let changed: Vec<_> = after.iter().filter(|entry| !before.contains(entry)).collect();
        assert_eq!(changed.len(), 1, "{method}");
        assert_eq!(changed[0].0, format!("charter/{group}").into_bytes(), "{method}");
    }
}
