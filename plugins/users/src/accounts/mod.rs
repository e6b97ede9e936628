//! Accounts: names, password hashes, profiles, pictures, last use. Imports neither `sign_in` nor `social`.

pub(crate) mod account;
pub(crate) mod avatar;
pub(crate) mod field;
pub(crate) mod last_seen;
pub(crate) mod name_index;
pub(crate) mod password_hash;
pub(crate) mod person;
pub(crate) mod profile;
