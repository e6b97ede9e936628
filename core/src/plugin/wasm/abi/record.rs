//! Types of several parts: lists of parameters, records and variants.

/// Lays out parts in their order: each begins behind the one before it, aligned.
macro_rules! parts {
    ([$($generic:ident),*] $type:ty { $($field:tt: $part:ty),* }) => {
        impl<$($generic: Layout),*> Layout for $type {
            const ALIGN: usize = {
                let align = 1;
                $(let align = greater(align, <$part>::ALIGN);)*
                align
            };
            const SIZE: usize = {
                let end = 0;
                $(let end = aligned(end, <$part>::ALIGN) + <$part>::SIZE;)*
                aligned(end, <Self as Layout>::ALIGN)
            };
            const FLAT: usize = 0 $(+ <$part>::FLAT)*;
        }

        impl<$($generic: Flatten),*> Flatten for $type {
            fn flatten(types: &mut Vec<ValType>) {
                $(<$part>::flatten(types);)*
                let _ = types;
            }
        }

        impl<$($generic: Lower),*> Lower for $type {
            fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
                $(
                    let at = aligned(at, <$part>::ALIGN);
                    self.$field.store(cx, at)?;
                    let at = at + <$part>::SIZE;
                )*
                let _ = (cx, at);
                Ok(())
            }
        }

        impl<$($generic: Pass),*> Pass for $type {
            fn pass(&self, cx: &mut Lowering<'_>, flat: &mut Flat) -> Result<()> {
                $(self.$field.pass(cx, flat)?;)*
                let _ = (cx, flat);
                Ok(())
            }
        }
    };
}

/// Describes lists of parameters.
macro_rules! lists {
    ($(($($generic:ident $field:tt),*))*) => {$(
        parts! { [$($generic),*] ($($generic,)*) { $($field: $generic),* } }

        impl<$($generic: Take),*> Take for ($($generic,)*) {
            fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
                let _ = (&cx, &flat);
                Ok(($($generic::take(cx, flat)?,)*))
            }
        }
    )*};
}

/// Describes records by their fields, in the order of the contract.
macro_rules! records {
    ($($type:path { $($field:ident: $part:ty),* })*) => {$(
        parts! { [] $type { $($field: $part),* } }

        impl Lift for $type {
            fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
                $(
                    let at = aligned(at, <$part>::ALIGN);
                    let $field = <$part>::load(cx, at)?;
                    let at = at + <$part>::SIZE;
                )*
                let _ = at;
                Ok(Self { $($field),* })
            }
        }

        impl Take for $type {
            fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
                Ok(Self { $($field: Take::take(cx, flat)?),* })
            }
        }
    )*};
}

/// Describes variants by their cases: a byte tells which one it is, and behind it, aligned, is its value.
macro_rules! variants {
    ($($type:path { $($number:literal $case:ident $(($value:ident: $part:ty))?),* })*) => {$(
        impl Layout for $type {
            const ALIGN: usize = {
                let align = 1;
                $($(let align = greater(align, <$part>::ALIGN);)?)*
                align
            };
            const SIZE: usize = {
                let most = 0;
                $($(let most = greater(most, <$part>::SIZE);)?)*
                aligned(Self::ALIGN + most, Self::ALIGN)
            };
            const FLAT: usize = {
                let most = 0;
                $($(let most = greater(most, <$part>::FLAT);)?)*
                1 + most
            };
        }

        impl Lower for $type {
            fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
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
                    $([$number] => Ok(Self::$case $((<$part>::load(cx, at + Self::ALIGN)?))?),)*
                    [case] => unknown_case(case.into()),
                }
            }
        }
    )*};
}

pub(super) use {lists, parts, records, variants};
