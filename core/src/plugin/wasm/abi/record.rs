//! Types of several fields: lists of parameters, records and variants.

use wasmtime::{Result, ValRaw, ValType};

use super::value::{Flatten, Layout, LiftParams, Lower, LowerParams, larger};
use super::{Flat, HasGuest, Lifting, Lowering, aligned};

/// Implements types whose fields follow each other in memory, each aligned.
macro_rules! fields {
    ([$($generic:ident),*] $type:ty { $($field:tt: $field_type:ty),* }) => {
        impl<$($generic: Layout),*> Layout for $type {
            const ALIGN: usize = {
                let align = 1;
                $(let align = larger(align, <$field_type>::ALIGN);)*
                align
            };
            const SIZE: usize = {
                let end = 0;
                $(let end = aligned(end, <$field_type>::ALIGN) + <$field_type>::SIZE;)*
                aligned(end, <Self as Layout>::ALIGN)
            };
            const FLAT: usize = 0 $(+ <$field_type>::FLAT)*;
        }

        impl<$($generic: Flatten),*> Flatten for $type {
            fn flatten(types: &mut Vec<ValType>) {
                $(<$field_type>::flatten(types);)*
                let _ = types;
            }
        }

        impl<$($generic: Lower),*> Lower for $type {
            fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
                $(
                    let at = aligned(at, <$field_type>::ALIGN);
                    self.$field.store(cx, at)?;
                    let at = at + <$field_type>::SIZE;
                )*
                let _ = (cx, at);
                Ok(())
            }
        }

        impl<$($generic: LowerParams),*> LowerParams for $type {
            fn lower<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, flat: &mut Flat) -> Result<()> {
                $(self.$field.lower(cx, flat)?;)*
                let _ = (cx, flat);
                Ok(())
            }
        }
    };
}

/// Implements lists of parameters.
macro_rules! lists {
    ($(($($generic:ident $field:tt),*))*) => {$(
        fields! { [$($generic),*] ($($generic,)*) { $($field: $generic),* } }

        impl<$($generic: LiftParams),*> LiftParams for ($($generic,)*) {
            fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
                let _ = (&cx, &flat);
                Ok(($($generic::lift(cx, flat)?,)*))
            }
        }
    )*};
}

/// Implements records by their fields, in the order of the contract.
macro_rules! records {
    ($($type:path { $($field:ident: $field_type:ty),* })*) => {$(
        fields! { [] $type { $($field: $field_type),* } }

        impl Lift for $type {
            fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
                $(
                    let at = aligned(at, <$field_type>::ALIGN);
                    let $field = <$field_type>::load(cx, at)?;
                    let at = at + <$field_type>::SIZE;
                )*
                let _ = at;
                Ok(Self { $($field),* })
            }
        }

        impl LiftParams for $type {
            fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
                Ok(Self { $($field: LiftParams::lift(cx, flat)?),* })
            }
        }
    )*};
}

/// Implements variants by their cases: a byte with the number of the case, followed by its aligned value.
macro_rules! variants {
    ($($type:path { $($number:literal $case:ident $(($value:ident: $field_type:ty))?),* })*) => {$(
        impl Layout for $type {
            const ALIGN: usize = {
                let align = 1;
                $($(let align = larger(align, <$field_type>::ALIGN);)?)*
                align
            };
            const SIZE: usize = {
                let max = 0;
                $($(let max = larger(max, <$field_type>::SIZE);)?)*
                aligned(Self::ALIGN + max, Self::ALIGN)
            };
            const FLAT: usize = {
                let max = 0;
                $($(let max = larger(max, <$field_type>::FLAT);)?)*
                1 + max
            };
        }

        impl Lower for $type {
            fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
                match self {
                    $(Self::$case $(($value))? => {
                        cx.write(at, &[$number])?;
                        $($value.store(cx, at + Self::ALIGN)?;)?
                    })*
                }
                Ok(())
            }
        }

        impl Lift for $type {
            fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
                match cx.array(at)? {
                    $([$number] => Ok(Self::$case $((<$field_type>::load(cx, at + Self::ALIGN)?))?),)*
                    [case] => unknown_case(case.into()),
                }
            }
        }
    )*};
}

pub(in crate::plugin::wasm) use {fields, records, variants};

lists! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}
