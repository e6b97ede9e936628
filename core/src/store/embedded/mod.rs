//! stub
/// stub
pub struct EmbeddedStore;
/// stub
pub struct EmbeddedOptions;
