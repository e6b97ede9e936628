//! courtyard-users
