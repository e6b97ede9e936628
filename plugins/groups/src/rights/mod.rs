//! Who may do what in a group: permissions, roles, ranks and overrides, as pure values without reads and writes.
//!
//! The rules are:
//! - A member has the permissions of the role and the allowed ones, without the denied ones.
//! - Nobody acts on a member of equal or higher rank.
//! - Nobody grants a permission that they don't have: not by a role, by allowing it, or by lifting a denial.
//! - The owner has every permission and the highest rank.

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
pub(crate) use policy::{Form, GroupPolicy, PolicyLookup};
pub(crate) use refusal::Refusal;
pub(crate) use role::{Role, RoleId};
pub(crate) use role_changes::RoleChange;
pub(crate) use standing::{FOREVER_MS, MemberPolicy, Standing};
