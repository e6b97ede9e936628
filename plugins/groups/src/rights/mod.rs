//! Who may do what in a group: permissions, roles, ranks and overrides, as pure values.
//!
//! Nothing here reads or writes. The rules are:
//! - A member has the permissions of the role and those allowed to them, without those denied to them.
//! - Nobody acts on someone of equal or higher rank.
//! - Nobody gives a permission that they don't have, whether by a role, by allowing it or by not denying it any more.
//! - The owner has every permission, and is above all others.

mod authority;
mod charter;
mod permission;
mod refusal;
mod role;
mod standing;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod walk;

pub(crate) use authority::RoleChange;
#[cfg(test)]
pub(crate) use charter::LISTED;
pub(crate) use charter::{Charter, Form, Known};
pub(crate) use permission::{Permission, Permissions};
pub(crate) use refusal::Refusal;
pub(crate) use role::{Role, RoleId};
pub(crate) use standing::{FOREVER_MS, Standing, Terms};
