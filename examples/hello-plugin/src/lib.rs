//! hello-plugin
