//! courtyard-plugin-sdk-macros
