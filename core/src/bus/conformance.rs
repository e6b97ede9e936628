//! What every bus must do.
