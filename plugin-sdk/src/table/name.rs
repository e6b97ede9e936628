//! Names of tables and indexes.

/// Stops the compiler at a name of a table or an index that breaks the rules which separate tables.
pub(super) const fn check(table: &str, indexes: &[&str]) {
    assert!(
        is_name(table),
        "`Row::TABLE` is 1 to 32 lower-case letters, digits and `_`"
    );
    let mut at = 0;
    while at < indexes.len() {
        assert!(
            is_name(indexes[at]),
            "`Index::NAME` is 1 to 32 lower-case letters, digits and `_`"
        );
        let mut other = 0;
        while other < at {
            assert!(
                !same(indexes[at], indexes[other]),
                "two indexes of a table have the same name"
            );
            other += 1;
        }
        at += 1;
    }
}

const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        at += 1;
    }
    1 <= at && at <= 32
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::check;

    #[test]
    fn names_are_short_plain_and_unique() {
        let is_good = |table: &str, indexes: &[&str]| catch_unwind(|| check(table, indexes)).is_ok();
        assert!(is_good("a", &[]) && is_good("friends_2", &["state", "states", "stat"]));
        assert!(is_good(
            "a_name_of_thirty_two_bytes_as_is",
            &["a_name_of_thirty_two_bytes_as_is"]
        ));
        for wrong in [
            "",
            "A",
            "a b",
            "a\0",
            "é",
            "a-b",
            "a_name_that_is_far_too_long_to_be_one",
        ] {
            assert!(!is_good(wrong, &[]) && !is_good("a", &["b", wrong]), "{wrong}");
        }
        assert!(!is_good("a", &["b", "c", "b"]));
    }
}
