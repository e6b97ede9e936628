//! What instances are created from.

use wasmtime::component::{self, Component};
use wasmtime::{InstancePre, Module, Store};

use super::abi::{GuestExports, InPlace, InPlaceExports};
use super::bindings::exports::courtyard::plugin::message::Verdict;
use super::exports::{Exports, LinkedInstance};
use super::state::InstanceState;
use crate::plugin::contract::interface;

/// Compiled code, linked with the granted services, from which instances are created.
pub(super) struct Template {
    code: LinkedCode,
    pub(super) exports: Exports,
}

/// Linked code.
enum LinkedCode {
    Component(component::InstancePre<InstanceState>),
    Module {
        pre: InstancePre<InstanceState>,
        guest: GuestExports,
        in_place: Option<InPlaceExports>,
    },
}

impl Template {
    /// Creates a template from a component; `None` if it has no `lifecycle`.
    pub(super) fn of_component(component: &Component, pre: component::InstancePre<InstanceState>) -> Option<Self> {
        Some(Self {
            code: LinkedCode::Component(pre),
            exports: Exports::of_component(component)?,
        })
    }

    /// Creates a template from a module that is called without a component around it. `None` if it lacks `lifecycle`, the
    /// memory or the allocator, or if an export has another type than in the contract.
    pub(super) fn of_module(module: &Module, pre: InstancePre<InstanceState>) -> Option<Self> {
        Some(Self {
            code: LinkedCode::Module {
                pre,
                guest: GuestExports::find(module)?,
                in_place: InPlaceExports::find(module, &interface("message")).ok()?,
            },
            exports: Exports::of_module(module).ok()??,
        })
    }

    pub(super) fn instantiate(&self, store: &mut Store<InstanceState>) -> wasmtime::Result<LinkedInstance> {
        match &self.code {
            LinkedCode::Component(pre) => pre.instantiate(store).map(LinkedInstance::Component),
            LinkedCode::Module { pre, guest, .. } => {
                let instance = pre.instantiate(&mut *store)?;
                guest.attach(store, &instance)?;
                Ok(LinkedInstance::Module(instance))
            }
        }
    }

    /// Returns the in-place `before-send` of an instance; `None` if the plugin has none.
    pub(super) fn in_place(
        &self,
        store: &mut Store<InstanceState>,
        instance: &LinkedInstance,
    ) -> Option<InPlace<Verdict>> {
        match (&self.code, instance) {
            (LinkedCode::Module { in_place, .. }, LinkedInstance::Module(instance)) => {
                in_place.as_ref()?.of(store, instance)
            }
            _ => None,
        }
    }
}
