//! Profiles, friends, blocks.

use std::collections::BTreeMap;

use super::*;

/// Registers Ann and Bob.
pub(super) fn two(host: &TestHost<Users>) -> (Caller, Caller) {
    (register(host, "ann").0, register(host, "bob").0)
}

pub(super) fn person(caller: &Caller) -> Value {
    json!({ "actor": caller.actor })
}

pub(super) fn befriend(host: &TestHost<Users>, one: &Caller, other: &Caller) {
    done(host, one, "request_friend", person(other));
    done(host, other, "accept_friend", person(one));
}

/// Takes the signals, and returns those of a name by their receivers.
pub(super) fn signals(host: &TestHost<Users>, name: &str) -> BTreeMap<String, Vec<Value>> {
    let mut signals = BTreeMap::<String, Vec<Value>>::new();
    for signal in host.take_signals() {
        for actor in signal.actors {
            if signal.name == name {
                signals.entry(actor).or_default().push(signal.payload.clone());
            }
        }
    }
    signals
}

pub(super) fn state(host: &TestHost<Users>, viewer: &Caller, actor: &Caller) -> String {
    let seen = done(host, viewer, "presence", json!({"actors": [actor.actor]}));
    seen["people"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_profile_shows_what_the_viewer_may_see() {
    let host = host_with(&json!({"fields": [
        {"name": "city", "type": "text"},
        {"name": "phone", "type": "text", "visible": "friends"},
        {"name": "shoe_size", "type": "number", "min": 10, "visible": "owner"},
    ]}));
    let (ann, bob) = two(&host);
    let changes = json!({
        "display_name": "Ann A.", "bio": "Hello.", "locale": "de-CH", "time_zone": "Europe/Zurich",
        "fields": {"city": "Bern", "phone": "1", "shoe_size": 38},
    });
    let own = done(&host, &ann, "set_profile", changes);
    assert_eq!(own["fields"], json!({"city": "Bern", "phone": "1", "shoe_size": 38}));
    let seen = done(&host, &bob, "profile", person(&ann));
    assert_eq!((&seen["bio"], &seen["relation"]), (&json!("Hello."), &json!("none")));
    assert_eq!(seen["fields"], json!({"city": "Bern"}));
    befriend(&host, &ann, &bob);
    let seen = done(&host, &bob, "profile", person(&ann));
    assert_eq!(seen["fields"], json!({"city": "Bern", "phone": "1"}));
    assert_eq!(
        done(&host, &bob, "profiles", json!({"actors": [ann.actor]}))["people"][0]["display_name"],
        "Ann A."
    );

    done(&host, &ann, "set_profile", json!({"bio": "", "fields": {"city": null}}));
    let seen = done(&host, &bob, "profile", person(&ann));
    assert_eq!((&seen["bio"], &seen["fields"]), (&json!(""), &json!({"phone": "1"})));
    assert_eq!(seen["locale"], "de-CH", "a missing member stays");
    for (changes, wanted) in [
        (json!({"fields": {"size": 1}}), "unknown_field"),
        (json!({"fields": {"shoe_size": 9}}), "invalid_field"),
        (json!({"bio": "x".repeat(501)}), "invalid_bio"),
        (json!({"locale": "x"}), "invalid_locale"),
        (json!({"time_zone": "here now"}), "invalid_time_zone"),
        (json!({"avatar": "x"}), "unknown_picture"),
    ] {
        assert_eq!(refused(&host, &ann, "set_profile", changes), wanted);
    }
    assert_eq!(
        refused(&host, &ann, "profile", json!({"actor": "nobody"})),
        "unknown_person"
    );
}

#[test]
fn people_are_found_once_by_words_of_their_names_in_any_order() {
    let host = host();
    let (ann, bob) = two(&host);
    done(&host, &ann, "set_profile", json!({"display_name": "Ann-Marie Annan"}));
    done(&host, &bob, "set_profile", json!({"display_name": "Bob Marley"}));
    let search = |query: &str| {
        let (mut names, mut after) = (Vec::new(), Value::Null);
        loop {
            let mut params = json!({"query": query, "limit": 1});
            if !after.is_null() {
                params["after"] = after;
            }
            let page = done(&host, &bob, "search", params);
            let people = page["people"].as_array().unwrap().clone();
            names.extend(people.iter().map(|person| person["name"].as_str().unwrap().to_owned()));
            after = page["next"].clone();
            if after.is_null() {
                return names;
            }
        }
    };
    assert_eq!(search("MAR"), ["ann", "bob"]);
    assert_eq!(search("ann"), ["ann"], "three of her words match");
    assert_eq!(search("mar b"), ["bob"]);
    assert_eq!(search("marie, ann"), ["ann"]);
    assert!(search("nn").is_empty());
    assert_eq!(refused(&host, &bob, "search", json!({"query": " - "})), "invalid_query");
    done(&host, &bob, "set_profile", json!({"display_name": "Robert"}));
    assert_eq!(
        (search("marl"), search("rob"), search("bob")),
        (vec![], vec!["bob".to_owned()], vec!["bob".to_owned()])
    );
    done(&host, &ann, "close_account", json!({"password": "correct horse"}));
    assert!(search("ann").is_empty());
}

#[test]
fn the_last_uploaded_picture_replaces_the_one_before() {
    let host = host();
    let (ann, bob) = two(&host);
    let upload = |kind: &str, bytes: &[u8]| host.upload(&ann, "me", kind, None, bytes);
    assert_eq!(upload("image/svg+xml", b"x").unwrap_err().code, "invalid_media_type");
    assert_eq!(
        upload("image/png", &[0; 1_048_577]).unwrap_err().code,
        "limit_picture_bytes"
    );
    let stranger = host.upload(&anonymous(), "me", "image/png", None, b"x");
    assert_eq!(stranger.unwrap_err().code, "unauthenticated");
    let first = upload("image/png", b"first").unwrap();
    let second = upload("image/png", b"second").unwrap();
    assert_eq!(
        host.blobs().into_keys().collect::<Vec<_>>(),
        [second.as_str()],
        "the first one is deleted"
    );
    assert_ne!(first, second);
    assert_eq!(done(&host, &bob, "profile", person(&ann))["avatar"], json!(second));
    assert_eq!(host.download(&bob, &second, false).unwrap(), b"second");
    assert_eq!(
        host.download(&anonymous(), &second, false).unwrap_err().code,
        "unauthenticated"
    );
    assert_eq!(host.remove_blob(&bob, &second).unwrap_err().code, "forbidden");
    assert_eq!(
        refused(&host, &bob, "set_profile", json!({"avatar": second})),
        "unknown_picture"
    );
    done(&host, &ann, "set_profile", json!({"avatar": ""}));
    assert!(host.blobs().is_empty());
    assert_eq!(done(&host, &ann, "whoami", json!({}))["avatar"], json!(null));
}

#[test]
fn friend_requests_are_signalled_to_both_people() {
    let host = host();
    let (ann, bob) = two(&host);
    let request = json!({"actor": bob.actor, "text": "It's me."});
    assert_eq!(
        done(&host, &ann, "request_friend", request.clone())["state"],
        "requested"
    );
    let received = signals(&host, "friend");
    assert_eq!(
        received[&bob.actor],
        [json!({"actor": ann.actor, "by": ann.actor, "change": "requested"})]
    );
    assert_eq!(
        received[&ann.actor],
        [json!({"actor": bob.actor, "by": ann.actor, "change": "requested"})]
    );
    assert_eq!(
        done(&host, &ann, "request_friend", request)["state"],
        "requested",
        "repeating a request changes nothing"
    );
    assert!(signals(&host, "friend").is_empty());

    let incoming = done(&host, &bob, "friend_requests", json!({}));
    assert_eq!(incoming["requests"][0]["person"]["name"], "ann");
    assert_eq!(incoming["requests"][0]["text"], "It's me.");
    let outgoing = done(&host, &ann, "friend_requests", json!({"direction": "out"}));
    assert_eq!(outgoing["requests"][0]["person"]["name"], "bob");
    assert_eq!(
        refused(&host, &ann, "accept_friend", person(&bob)),
        "unknown_request",
        "nobody accepts for others"
    );

    done(&host, &bob, "refuse_friend", person(&ann));
    assert_eq!(refused(&host, &bob, "refuse_friend", person(&ann)), "unknown_request");
    assert_eq!(refused(&host, &ann, "request_friend", person(&bob)), "rate_limited");
    host.set_clock(1_060_000);
    done(&host, &ann, "request_friend", person(&bob));
    done(&host, &ann, "withdraw_friend", person(&bob));
    assert_eq!(refused(&host, &ann, "request_friend", person(&bob)), "rate_limited");
    host.set_clock(1_120_000);
    assert_eq!(refused(&host, &bob, "accept_friend", person(&ann)), "unknown_request");

    // Two people who send each other requests become friends.
    done(&host, &ann, "request_friend", person(&bob));
    assert_eq!(done(&host, &bob, "request_friend", person(&ann))["state"], "friends");
    assert_eq!(refused(&host, &bob, "request_friend", person(&ann)), "conflict");
    for (own, other) in [(&ann, "bob"), (&bob, "ann")] {
        let friends = done(&host, own, "friends", json!({}))["friends"].clone();
        assert_eq!(
            (friends.as_array().unwrap().len(), &friends[0]["person"]["name"]),
            (1, &json!(other))
        );
        assert!(
            done(&host, own, "friend_requests", json!({}))["requests"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
    done(&host, &bob, "remove_friend", person(&ann));
    assert_eq!(refused(&host, &ann, "remove_friend", person(&bob)), "unknown_friend");
    assert_eq!(refused(&host, &ann, "request_friend", person(&ann)), "invalid_actor");
    let events: Vec<String> = host.take_events().into_iter().map(|(name, _)| name).collect();
    assert_eq!(events, ["registered", "registered", "friend_added", "friend_removed"]);
}

#[test]
fn remarks_and_tags_are_private_and_sort_friends() {
    let host = host();
    let ann = register(&host, "ann").0;
    let others: Vec<Caller> = (0..5)
        .map(|number| register(&host, &format!("bob{number}")).0)
        .collect();
    for other in &others {
        befriend(&host, &ann, other);
    }
    let notes = json!({"actor": others[0].actor, "remark": " The baker ", "tags": ["town", "work", "town "]});
    done(&host, &ann, "set_friend", notes);
    done(
        &host,
        &ann,
        "set_friend",
        json!({"actor": others[3].actor, "tags": ["town"]}),
    );
    assert!(!signals(&host, "friend").contains_key("nobody"));
    let tagged = |tag: &str| {
        let list = done(&host, &ann, "friends", json!({"tag": tag}));
        let friends = list["friends"].as_array().unwrap().clone();
        let mut names: Vec<String> = friends
            .iter()
            .map(|friend| friend["person"]["name"].to_string())
            .collect();
        names.sort();
        names
    };
    assert_eq!(tagged("town"), ["\"bob0\"", "\"bob3\""]);
    assert_eq!(tagged("work"), ["\"bob0\""]);
    let tags = done(&host, &ann, "friend_tags", json!({}));
    assert_eq!(
        tags["tags"],
        json!([{"tag": "town", "friends": 2}, {"tag": "work", "friends": 1}])
    );
    let theirs = done(&host, &others[0], "friends", json!({}));
    assert_eq!(
        (&theirs["friends"][0]["remark"], &theirs["friends"][0]["tags"]),
        (&json!(""), &json!([]))
    );
    done(&host, &ann, "set_friend", json!({"actor": others[0].actor, "tags": []}));
    assert_eq!(tagged("town"), ["\"bob3\""]);
    assert_eq!(
        refused(&host, &ann, "set_friend", json!({"actor": "nobody", "remark": ""})),
        "unknown_friend"
    );
    for notes in [json!({"tags": [""]}), json!({"tags": ["x".repeat(33)]})] {
        let mut notes = notes;
        notes["actor"] = json!(others[0].actor);
        assert_eq!(refused(&host, &ann, "set_friend", notes), "invalid_tag");
    }

    // In pages.
    let (mut seen, mut after) = (0, Value::Null);
    loop {
        let mut query = json!({"limit": 2});
        if !after.is_null() {
            query["after"] = after;
        }
        let page = done(&host, &ann, "friends", query);
        seen += page["friends"].as_array().unwrap().len();
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn lists_have_bounds() {
    let host = host_with(&json!({"friends": 1, "friend_requests": 1, "blocks": 1}));
    let people: Vec<Caller> = (0..5)
        .map(|number| register(&host, &format!("bob{number}")).0)
        .collect();
    done(&host, &people[0], "request_friend", person(&people[1]));
    assert_eq!(
        refused(&host, &people[0], "request_friend", person(&people[2])),
        "limit_requests"
    );
    assert_eq!(
        refused(&host, &people[2], "request_friend", person(&people[1])),
        "limit_requests"
    );
    done(&host, &people[1], "accept_friend", person(&people[0]));
    assert_eq!(
        refused(&host, &people[0], "request_friend", person(&people[2])),
        "limit_friends"
    );
    done(&host, &people[2], "request_friend", person(&people[0]));
    assert_eq!(
        refused(&host, &people[0], "accept_friend", person(&people[2])),
        "limit_friends"
    );
    done(&host, &people[0], "block", person(&people[3]));
    assert_eq!(refused(&host, &people[0], "block", person(&people[4])), "limit_blocks");
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    assert_eq!(
        refused(&host, &people[0], "presence", json!({"actors": many})),
        "invalid_actors"
    );
}

#[test]
fn a_block_holds_on_every_path_in_both_directions() {
    let host = host();
    let (ann, bob) = two(&host);
    befriend(&host, &ann, &bob);
    let conversation = done(&host, &ann, "open_direct", person(&bob))["conversation"].clone();
    let act = |actor: &Caller, name: &str| Act {
        name: name.to_owned(),
        conversation: conversation.as_str().unwrap().to_owned(),
        conversation_kind: "direct".to_owned(),
        actor: actor.actor.clone(),
        ..Act::default()
    };
    let send = |from: &Caller, to: &Caller| host.before_send(&TestMessage::direct(&from.actor, &to.actor, "Hello"));
    host.set_online(&[&ann.actor, &bob.actor]);
    assert_eq!(state(&host, &bob, &ann), "online");
    assert!(host.before_act(&act(&bob, "react")).is_ok());
    let _ = host.take_signals();

    done(&host, &ann, "block", person(&bob));
    done(&host, &ann, "block", person(&bob));
    let signals = host.take_signals();
    let to_bob: Vec<_> = signals
        .iter()
        .filter(|signal| signal.actors.contains(&bob.actor))
        .collect();
    let names: Vec<&str> = to_bob.iter().map(|signal| signal.name.as_str()).collect();
    assert_eq!(names, ["presence", "friend"], "no signal reveals the block");
    assert_eq!(to_bob[0].payload["state"], "offline");
    for (from, to) in [(&ann, &bob), (&bob, &ann)] {
        assert!(matches!(send(from, to), Verdict::Reject(error) if error.code == "forbidden"));
        assert_eq!(host.before_act(&act(from, "react")).unwrap_err().code, "forbidden");
        assert!(
            host.before_act(&act(from, "recall")).is_ok(),
            "recalling one's own messages stays allowed"
        );
        assert_eq!(refused(&host, from, "open_direct", person(to)), "forbidden");
        assert_eq!(refused(&host, from, "request_friend", person(to)), "forbidden");
        assert_eq!(state(&host, from, to), "offline");
        assert!(
            done(&host, from, "friends", json!({}))["friends"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(done(&host, &ann, "profile", person(&bob))["relation"], "blocked");
    assert_eq!(done(&host, &bob, "profile", person(&ann))["relation"], "none");
    assert_eq!(
        done(&host, &ann, "blocked", json!({}))["blocked"][0]["person"]["name"],
        "bob"
    );
    assert!(
        done(&host, &bob, "blocked", json!({}))["blocked"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    // The conversation is open again once both blocks are removed.
    done(&host, &bob, "block", person(&ann));
    done(&host, &ann, "unblock", person(&bob));
    assert!(matches!(send(&bob, &ann), Verdict::Reject(_)));
    done(&host, &bob, "unblock", person(&ann));
    assert_eq!(send(&bob, &ann), Verdict::Accept);
    assert_eq!(state(&host, &bob, &ann), "online", "they have a conversation");
    assert_eq!(done(&host, &bob, "request_friend", person(&ann))["state"], "requested");
    // A block deletes pending requests as well.
    done(&host, &ann, "block", person(&bob));
    assert!(
        done(&host, &bob, "friend_requests", json!({"direction": "out"}))["requests"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn closing_an_account_ends_its_friendships_profile_and_conversations() {
    let host = host();
    let (ann, bob) = two(&host);
    befriend(&host, &ann, &bob);
    let cleo = register(&host, "cleo").0;
    done(&host, &bob, "request_friend", person(&cleo));
    done(&host, &bob, "set_profile", json!({"bio": "Hello."}));
    host.upload(&bob, "me", "image/png", None, b"me").unwrap();
    for other in [&ann, &cleo] {
        done(&host, other, "open_direct", person(&bob));
    }
    done(&host, &bob, "close_account", json!({"password": "correct horse"}));
    host.run_jobs().unwrap();
    for other in [&ann, &cleo] {
        let message = TestMessage::direct(&other.actor, &bob.actor, "Hello");
        assert!(matches!(host.before_send(&message), Verdict::Reject(error) if error.code == "conflict_closed"));
        assert!(
            done(&host, other, "friends", json!({}))["friends"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert!(
            done(&host, other, "friend_requests", json!({}))["requests"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert_eq!(refused(&host, other, "request_friend", person(&bob)), "conflict_closed");
    }
    // Unblocking doesn't open the conversation again.
    done(&host, &ann, "block", person(&bob));
    done(&host, &ann, "unblock", person(&bob));
    let message = TestMessage::direct(&ann.actor, &bob.actor, "Hello");
    assert!(matches!(host.before_send(&message), Verdict::Reject(error) if error.code == "conflict_closed"));
    assert_eq!(done(&host, &ann, "profile", person(&bob))["bio"], "");
    assert!(host.blobs().is_empty());
}
