//! Who may do what in a group: permissions, roles, ranks and overrides, as pure values.
//!
//! Nothing here reads or writes. The rules are:
//! - A member has the permissions of the role and those allowed to them, without those denied to them.
//! - Nobody acts on someone of equal or higher rank.
//! - Nobody gives a permission that they don't have, whether by a role, by allowing it or by not denying it any more.
//! - The owner has every permission, and is above all others.

mod permission;
mod policy;
#[cfg(test)]
pub(crate) mod random_walk;
mod refusal;
mod role;
mod role_changes;
mod standing;
#[cfg(test)]
mod tests;

pub(crate) use permission::{Permission, Permissions};
#[cfg(test)]
pub(crate) use policy::LISTED;
pub(crate) use policy::{Charter, Form, Known};
pub(crate) use refusal::Refusal;
pub(crate) use role::{Role, RoleId};
pub(crate) use role_changes::RoleChange;
pub(crate) use standing::{FOREVER_MS, Standing, Terms};
