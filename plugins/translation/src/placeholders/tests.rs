#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn kept_of(text: &str) -> Vec<&str> {
    Protected::new(text, &["Courtyard".to_owned()]).kept().collect()
}

#[test]
fn code_links_mentions_and_words_are_protected() {
    let cases: [(&str, &[&str]); 14] = [
        ("see https://a.example/x?y=1.", &["https://a.example/x?y=1"]),
        ("(www.a.example)", &["www.a.example"]),
        ("看https://a.example/路", &["https://a.example/"]),
        ("write to ann@mail.example, please", &["ann@mail.example"]),
        ("hello @ann.b and @all!", &["@ann.b", "@all"]),
        ("an a@b is nothing", &[]),
        ("run `let x = 1;` now", &["`let x = 1;`"]),
        ("```\nfn main() {}\n``` and", &["```\nfn main() {}\n```"]),
        ("```\nnever closed", &["```\nnever closed"]),
        ("it's ` alone", &[]),
        ("nice :smile: at 12:30:", &[":smile:"]),
        ("we like Courtyard, not Courtyards", &["Courtyard"]),
        ("mailto: me", &[]),
        ("🙂@李雷 你好", &["@李雷"]),
    ];
    for (text, wanted) in cases {
        assert_eq!(kept_of(text), wanted, "{text}");
    }
    assert!(!Protected::new("https://a.example @ann 12 :-) `code`", &[]).has_prose());
    assert_eq!(Protected::new("at 3pm `x` see you", &[]).prose(), "at see you");
}

#[test]
fn placeholders_are_restored_in_any_order_and_damage_is_detected() {
    let text = "Ask @ann about https://a.example at 10:30";
    let protected = Protected::new(text, &[]);
    assert_eq!(protected.masked().unwrap(), "Ask {0} about {1} at 10:30");
    assert_eq!(
        protected.restore("Um 10:30 über {1} frag {0}").unwrap(),
        "Um 10:30 über https://a.example frag @ann"
    );
    for broken in [
        "Frag {0} um 10:30",
        "Frag {0} {0} {1} um 10:30",
        "Frag {0} {1} {2} um 10:30",
        "Frag { 0 } {1} um 10:30",
        "Frag {00} {1} um 10:30",
        "Frag {0} {1} um 10:31",
        "Frag {0}\n{1} um 10:30",
        "Frag {0} {1} um 10:30 \u{202e}",
        "Frag {0} {1",
        "",
    ] {
        assert_eq!(protected.restore(broken), None, "{broken}");
    }
    assert_eq!(
        Protected::new(" I go\n", &[]).restore("  ich gehe").unwrap(),
        " ich gehe\n"
    );
    let bloated = format!("{{0}} {{1}} 10:30 {}", "x".repeat(1_000));
    assert_eq!(protected.restore(&bloated), None);
}

#[test]
fn a_text_with_placeholders_uses_other_delimiters() {
    let protected = Protected::new("{0} for @ann", &[]);
    assert_eq!(protected.masked().unwrap(), "{0} for [[0]]");
    assert_eq!(protected.restore("{0} für [[0]]").unwrap(), "{0} für @ann");
    assert_eq!(Protected::new("{ [[ << @ann hi", &[]).masked(), None);
}

#[test]
fn translated_segments_are_joined_with_the_protected_pieces() {
    let protected = Protected::new("Hello @ann,\n  how are 2 you? `x`\n", &[]);
    let segments = protected.segments().unwrap();
    assert_eq!(segments, ["Hello", "how are", "you?"]);
    let texts = |texts: [&str; 3]| texts.map(str::to_owned);
    assert_eq!(
        protected.join(&texts(["Hallo", "wie geht", "es?"])).unwrap(),
        "Hallo @ann,\n  wie geht 2 es? `x`\n"
    );
    assert_eq!(protected.join(&texts(["Hallo", "wie", "es?"])[..2]), None);
    assert_eq!(protected.join(&texts(["Hallo", "", "es?"])), None);
    let four = ["a", "b", "c", "d"].map(str::to_owned);
    assert_eq!(protected.join(&four), None);
    assert_eq!(Protected::new(&"a 1 ".repeat(65), &[]).segments(), None);
}

#[test]
fn every_text_round_trips() {
    // Every combination of up to four meaningful parts.
    let parts = [
        "`", "```", "@", "https://", "www.", "a", "é", "😀", ".", ":", "1", "{", "\n", "-", "mailto:", "x@y.z",
    ];
    let mut texts = vec![String::new()];
    for _ in 0..4 {
        let longer: Vec<String> = texts
            .iter()
            .flat_map(|text| parts.map(|part| format!("{text}{part}")))
            .collect();
        texts = longer;
        for text in &texts {
            let protected = Protected::new(text, &["a".to_owned()]);
            let whole: String = protected.pieces.iter().map(|(_, piece)| *piece).collect();
            assert_eq!(&whole, text);
            if let Some(masked) = protected.masked()
                && !text.trim().is_empty()
            {
                assert_eq!(protected.restore(&masked).as_deref(), Some(text.as_str()), "{masked}");
            }
            let same: Vec<String> = protected
                .segments()
                .unwrap()
                .iter()
                .map(|part| (*part).to_owned())
                .collect();
            assert_eq!(protected.join(&same).as_deref(), Some(text.as_str()));
        }
    }
}
