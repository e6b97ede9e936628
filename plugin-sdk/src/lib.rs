//! courtyard-plugin-sdk
