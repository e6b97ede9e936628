//! courtyard-tests
