//! Frames of clients: the fast parser and the complete one agree.

use courtyard::internals::wire::ClientFrame;

/// Levels of nesting, as by default.
const DEPTH: usize = 32;

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let parsed = ClientFrame::parse(text, DEPTH);
    // White space behind the first brace keeps the fast parser out, and changes nothing else.
    let Some(rest) = text.strip_prefix('{') else {
        return;
    };
    let spaced = format!("{{ {rest}");
    let again = ClientFrame::parse(&spaced, DEPTH);
    match (&parsed, &again) {
        (Ok(parsed), Ok(again)) => assert_eq!(format!("{parsed:?}"), format!("{again:?}")),
        // Sentences name columns, so codes are compared.
        (Err(parsed), Err(again)) => assert_eq!((&parsed.id, &parsed.error.code), (&again.id, &again.error.code)),
        _ => panic!("one parser accepts what the other one refuses: {parsed:?}, {again:?}"),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"type":"send","id":"1","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","client_id":"a","kind":"text","content":{"text":"hello"}}"#,
        r#"{"type":"send","id":"1","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","client_id":"a","kind":"text","content":{"text":"a\u0041\ud83d\ude00","reply_to":3}}"#,
        r#"{"type":"hello","versions":[1],"device":"phone","credentials":{"token":"ann"}}"#,
        r#"{"type":"call","id":"c","method":"users.profile","params":{"actor":"ann","deep":[[[1]]]}}"#,
        r#"{"type":"history","id":"h","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","after":1,"limit":50}"#,
        r#"{"type":"sync","id":"s","since":12}"#,
        r#"{"type":"receipt","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","read":9,"delivered":10}"#,
        r#"{"type":"react","id":"r","conversation":"01ARZ3NDEKTSV4RRFFQ69G5FAV","target":2,"emoji":"x"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
