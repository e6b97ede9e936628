//! Accounts: names, password hashes, profiles, pictures, when they were seen last. Knows nothing of signing in or of others.

pub(crate) mod account;
pub(crate) mod avatar;
pub(crate) mod field;
pub(crate) mod last_seen;
pub(crate) mod name_index;
pub(crate) mod password_hash;
pub(crate) mod person;
pub(crate) mod profile;
