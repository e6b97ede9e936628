//! courtyard-client
