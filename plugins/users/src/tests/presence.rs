//! Who sees whose presence.

use super::social::{befriend, person, signals, state, two};
use super::*;

#[test]
fn presence_is_for_friends_and_members_of_a_conversation() {
    let host = host();
    let (ann, bob) = two(&host);
    host.set_online(&[&ann.actor]);
    assert_eq!(state(&host, &bob, &ann), "offline", "strangers see nothing");
    done(&host, &bob, "open_direct", person(&ann));
    assert_eq!(state(&host, &bob, &ann), "online");
    host.connected(&ann);
    assert!(signals(&host, "presence").is_empty(), "only friends get the signal");
    befriend(&host, &ann, &bob);
    let _ = host.take_signals();

    host.connected(&ann);
    let signals_by_actor = signals(&host, "presence");
    assert_eq!(signals_by_actor.keys().collect::<Vec<_>>(), [&bob.actor]);
    assert_eq!(signals_by_actor[&bob.actor][0]["state"], "online");
    host.disconnected(&ann);
    assert!(signals(&host, "presence").is_empty(), "another device is connected");
    host.set_online(&[]);
    host.disconnected(&ann);
    assert_eq!(signals(&host, "presence")[&bob.actor][0]["state"], "offline");
    let seen = done(&host, &bob, "presence", json!({"actors": [ann.actor]}));
    assert_eq!(seen["people"][0]["last_seen_ms"], 1_000_000);
}

#[test]
fn the_chosen_status_is_visible_until_it_expires() {
    let host = host();
    let (ann, bob) = two(&host);
    befriend(&host, &ann, &bob);
    host.set_online(&[&ann.actor]);
    let _ = host.take_signals();
    let show = json!({"state": "busy", "text": "Lunch", "until_ms": 2_000_000});
    done(&host, &ann, "set_presence", show);
    let signals_by_actor = signals(&host, "presence");
    assert_eq!(signals_by_actor[&bob.actor][0]["text"], "Lunch");
    assert!(signals_by_actor.contains_key(&ann.actor), "own devices get the signal");
    assert_eq!(refused(&host, &ann, "set_idle", json!({"idle": true})), "rate_limited");
    host.set_clock(1_002_000);
    done(&host, &ann, "set_idle", json!({"idle": true}));
    assert!(signals(&host, "presence").is_empty(), "busy stays busy");
    assert_eq!(state(&host, &bob, &ann), "busy");
    host.set_clock(2_000_000);
    assert_eq!(state(&host, &bob, &ann), "online");
    done(&host, &ann, "set_idle", json!({"idle": true}));
    assert_eq!(signals(&host, "presence")[&bob.actor][0]["state"], "idle");

    host.set_clock(2_002_000);
    done(
        &host,
        &ann,
        "set_presence",
        json!({"state": "invisible", "text": "secret"}),
    );
    let signals_by_actor = signals(&host, "presence");
    assert_eq!(signals_by_actor[&bob.actor][0]["state"], "offline");
    assert!(!signals_by_actor[&bob.actor][0].to_string().contains("secret"));
    host.connected(&ann);
    host.disconnected(&ann);
    assert!(
        signals(&host, "presence").is_empty(),
        "an invisible person connects and disconnects unseen"
    );
    assert_eq!(
        (state(&host, &bob, &ann), state(&host, &ann, &ann)),
        ("offline".into(), "invisible".into())
    );
    host.set_clock(2_004_000);
    for (show, wanted) in [
        (json!({"state": "dancing"}), "invalid_state"),
        (json!({"text": "x".repeat(101)}), "invalid_text"),
        (json!({"until_ms": 2_000_000}), "invalid_time"),
    ] {
        assert_eq!(refused(&host, &ann, "set_presence", show), wanted);
    }
    done(&host, &ann, "set_presence", json!({}));
    assert_eq!(state(&host, &bob, &ann), "online");
}
