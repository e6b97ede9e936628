//! Types of the contract, and their layout in memory.

use wasmtime::{Result, ValRaw, ValType, bail};

use super::{Flat, HasGuest, Lifting, Lowering, aligned, checked_address, number};

/// Layout of a type in memory, and its number of parameters.
pub(in crate::plugin::wasm) trait Layout: Sized {
    /// Size in memory, in bytes.
    const SIZE: usize;
    /// Alignment in memory, in bytes.
    const ALIGN: usize;
    /// Number of numbers of a parameter or a result of this type.
    const FLAT: usize;
}

/// A type that can be a parameter.
pub(in crate::plugin::wasm) trait Flatten: Layout {
    /// Appends the types of its numbers.
    fn flatten(types: &mut Vec<ValType>);
}

/// A type that the host passes to a guest.
pub(in crate::plugin::wasm) trait Lower: Layout {
    /// Writes the value to memory, at an aligned address.
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()>;

    /// Writes several values, one after another.
    fn store_all<G: HasGuest>(values: &[Self], cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        let addresses = (at..).step_by(Self::SIZE);
        values
            .iter()
            .zip(addresses)
            .try_for_each(|(value, at)| value.store(cx, at))
    }

    /// Type of the only number, for a type of exactly one number that a function can return directly.
    const NUMBER: Option<ValType> = None;

    /// Returns the number of [`Lower::NUMBER`].
    fn number(&self) -> Option<ValRaw> {
        None
    }
}

/// A type that the host passes to a guest as a parameter.
pub(in crate::plugin::wasm) trait LowerParams: Lower + Flatten {
    /// Appends its numbers to `flat`. Writes to memory what they point to.
    fn lower<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, flat: &mut Flat) -> Result<()>;
}

/// A type that a guest passes to the host.
pub(in crate::plugin::wasm) trait Lift: Layout {
    /// Reads a value from memory, at an aligned address.
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self>;

    /// Reads several values, one after another.
    fn load_all(cx: &mut Lifting<'_>, at: usize, count: usize) -> Result<Vec<Self>> {
        let addresses = (at..).step_by(Self::SIZE).take(count);
        addresses.map(|at| Self::load(cx, at)).collect()
    }
}

/// A type that a guest passes to the host as a parameter.
pub(in crate::plugin::wasm) trait LiftParams: Flatten {
    /// Consumes its numbers from `flat`. Reads from memory what they point to.
    fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self>;
}

/// Returns the next of the numbers that [`Flatten::flatten`] listed.
fn next(flat: &mut impl Iterator<Item = ValRaw>) -> Result<ValRaw> {
    flat.next()
        .ok_or_else(|| wasmtime::Error::msg("a parameter of the guest is missing"))
}

/// Implements the layout of types of one number: their size in bytes, and the type of the number.
macro_rules! numbers {
    ($($type:ty: $size:literal $flat:ident;)*) => {$(
        impl Layout for $type {
            const SIZE: usize = $size;
            const ALIGN: usize = $size;
            const FLAT: usize = 1;
        }

        impl Flatten for $type {
            fn flatten(types: &mut Vec<ValType>) {
                types.push(ValType::$flat);
            }
        }
    )*};
}

numbers! {
    bool: 1 I32;
    u8: 1 I32;
    u16: 2 I32;
    u32: 4 I32;
    u64: 8 I64;
    f64: 8 F64;
}

/// Implements lowering and lifting of types of one number: the type of the number, its constructor and its getter.
macro_rules! lower_and_lift {
    ($($type:ty: $flat:ident $make:ident $get:ident;)*) => {$(
        impl Lower for $type {
            fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
                cx.write(at, &self.to_le_bytes())
            }

            const NUMBER: Option<ValType> = Some(ValType::$flat);

            fn number(&self) -> Option<ValRaw> {
                Some(ValRaw::$make((*self).into()))
            }
        }

        impl LowerParams for $type {
            fn lower<G: HasGuest>(&self, _: &mut Lowering<'_, G>, flat: &mut Flat) -> Result<()> {
                flat.push(ValRaw::$make((*self).into()))
            }
        }

        impl Lift for $type {
            fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
                Ok(Self::from_le_bytes(cx.array(at)?))
            }
        }

        impl LiftParams for $type {
            fn lift(_: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
                Ok(next(flat)?.$get().try_into()?)
            }
        }
    )*};
}

lower_and_lift! {
    u16: I32 u32 get_u32;
    u32: I32 u32 get_u32;
    u64: I64 u64 get_u64;
}

impl LiftParams for f64 {
    fn lift(_: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        Ok(Self::from_bits(next(flat)?.get_f64()))
    }
}

impl Lower for bool {
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        cx.write(at, &[u8::from(*self)])
    }

    const NUMBER: Option<ValType> = Some(ValType::I32);

    fn number(&self) -> Option<ValRaw> {
        Some(ValRaw::u32((*self).into()))
    }
}

impl LowerParams for bool {
    fn lower<G: HasGuest>(&self, _: &mut Lowering<'_, G>, flat: &mut Flat) -> Result<()> {
        flat.push(ValRaw::u32((*self).into()))
    }
}

impl Lift for bool {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        let [byte] = cx.array(at)?;
        Ok(byte != 0)
    }
}

impl LiftParams for bool {
    fn lift(_: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        Ok(next(flat)?.get_u32() != 0)
    }
}

// A byte occurs only in lists.

impl Lower for u8 {
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        cx.write(at, &[*self])
    }

    fn store_all<G: HasGuest>(values: &[Self], cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        cx.write(at, values)
    }
}

impl Lift for u8 {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        let [byte] = cx.array(at)?;
        Ok(byte)
    }

    fn load_all(cx: &mut Lifting<'_>, at: usize, count: usize) -> Result<Vec<Self>> {
        cx.bytes(at, count).map(<[u8]>::to_vec)
    }
}

impl<T: Layout> Layout for Vec<T> {
    const SIZE: usize = 8;
    const ALIGN: usize = 4;
    const FLAT: usize = 2;
}

impl<T: Layout> Flatten for Vec<T> {
    fn flatten(types: &mut Vec<ValType>) {
        types.extend([ValType::I32, ValType::I32]);
    }
}

/// Writes a list to newly allocated memory, and returns its address.
fn store_list<T: Lower, G: HasGuest>(list: &[T], cx: &mut Lowering<'_, G>) -> Result<usize> {
    let at = cx.allocate(T::ALIGN, list.len().saturating_mul(T::SIZE))?;
    T::store_all(list, cx, at)?;
    Ok(at)
}

/// Writes the address and the length of a list.
fn store_slice<G: HasGuest>(cx: &mut Lowering<'_, G>, at: usize, (list, length): (usize, usize)) -> Result<()> {
    cx.write(at, &u32::try_from(list)?.to_le_bytes())?;
    cx.write(at + 4, &u32::try_from(length)?.to_le_bytes())
}

impl<T: Lower> Lower for Vec<T> {
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        let list = store_list(self, cx)?;
        store_slice(cx, at, (list, self.len()))
    }
}

impl<T: Lower> LowerParams for Vec<T> {
    fn lower<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, flat: &mut Flat) -> Result<()> {
        let list = store_list(self, cx)?;
        flat.push(number(list)?)?;
        flat.push(number(self.len())?)
    }
}

/// Reads a list that has `count` elements at an address, and counts its bytes against the limit of the call.
fn load_list<T: Lift>(cx: &mut Lifting<'_>, at: u32, count: u32) -> Result<Vec<T>> {
    let count = count as usize;
    let at = checked_address(at, T::ALIGN, count.saturating_mul(T::SIZE), cx.memory.len())?;
    cx.count(count.saturating_mul(size_of::<T>()))?;
    T::load_all(cx, at, count)
}

impl<T: Lift> Lift for Vec<T> {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        let (list, count) = (u32::load(cx, at)?, u32::load(cx, at + 4)?);
        load_list(cx, list, count)
    }
}

impl<T: Lift> LiftParams for Vec<T> {
    fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        let (list, count) = (next(flat)?.get_u32(), next(flat)?.get_u32());
        load_list(cx, list, count)
    }
}

impl Layout for String {
    const SIZE: usize = <Vec<u8>>::SIZE;
    const ALIGN: usize = <Vec<u8>>::ALIGN;
    const FLAT: usize = <Vec<u8>>::FLAT;
}

impl Flatten for String {
    fn flatten(types: &mut Vec<ValType>) {
        <Vec<u8>>::flatten(types);
    }
}

impl Lower for String {
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        let text = store_list(self.as_bytes(), cx)?;
        store_slice(cx, at, (text, self.len()))
    }
}

impl LowerParams for String {
    fn lower<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, flat: &mut Flat) -> Result<()> {
        let text = store_list(self.as_bytes(), cx)?;
        flat.push(number(text)?)?;
        flat.push(number(self.len())?)
    }
}

fn text(bytes: Vec<u8>) -> Result<String> {
    Ok(String::from_utf8(bytes)?)
}

impl Lift for String {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        text(Lift::load(cx, at)?)
    }
}

impl LiftParams for String {
    fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        text(LiftParams::lift(cx, flat)?)
    }
}

/// Returns the larger number. `usize::max` is not const.
pub(in crate::plugin::wasm) const fn larger(left: usize, right: usize) -> usize {
    if left > right { left } else { right }
}

// No value, such as that of `result<_, error>` on success.

impl Layout for () {
    const SIZE: usize = 0;
    const ALIGN: usize = 1;
    const FLAT: usize = 0;
}

impl Lower for () {
    fn store<G: HasGuest>(&self, _: &mut Lowering<'_, G>, _: usize) -> Result<()> {
        Ok(())
    }
}

impl Lift for () {
    fn load(_: &mut Lifting<'_>, _: usize) -> Result<Self> {
        Ok(())
    }
}

impl Flatten for () {
    fn flatten(_: &mut Vec<ValType>) {}
}

impl LiftParams for () {
    fn lift(_: &mut Lifting<'_>, _: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        Ok(())
    }
}

// Options and results are variants: a byte with the number of the case, followed by the aligned value of the case.

impl<T: Layout> Layout for Option<T> {
    const ALIGN: usize = T::ALIGN;
    const SIZE: usize = aligned(T::ALIGN + T::SIZE, T::ALIGN);
    const FLAT: usize = 1 + T::FLAT;
}

impl<T: Flatten> Flatten for Option<T> {
    fn flatten(types: &mut Vec<ValType>) {
        types.push(ValType::I32);
        T::flatten(types);
    }
}

impl<T: Lower> Lower for Option<T> {
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        cx.write(at, &[self.is_some().into()])?;
        match self {
            Some(value) => value.store(cx, at + Self::ALIGN),
            None => Ok(()),
        }
    }
}

impl<T: Lift> Lift for Option<T> {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        match cx.array(at)? {
            [0] => Ok(None),
            [1] => T::load(cx, at + Self::ALIGN).map(Some),
            [case] => unknown_case(case.into()),
        }
    }
}

impl<T: LiftParams> LiftParams for Option<T> {
    fn lift(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        match next(flat)?.get_u32() {
            0 => {
                // Skips the numbers of the value, which are unused.
                (0..T::FLAT).try_for_each(|_| next(flat).map(drop))?;
                Ok(None)
            }
            1 => T::lift(cx, flat).map(Some),
            case => unknown_case(case),
        }
    }
}

impl<T: Layout, E: Layout> Layout for Result<T, E> {
    const ALIGN: usize = larger(T::ALIGN, E::ALIGN);
    const SIZE: usize = aligned(Self::ALIGN + larger(T::SIZE, E::SIZE), Self::ALIGN);
    const FLAT: usize = 1 + larger(T::FLAT, E::FLAT);
}

impl<T: Lower, E: Lower> Lower for Result<T, E> {
    fn store<G: HasGuest>(&self, cx: &mut Lowering<'_, G>, at: usize) -> Result<()> {
        cx.write(at, &[self.is_err().into()])?;
        match self {
            Ok(value) => value.store(cx, at + Self::ALIGN),
            Err(error) => error.store(cx, at + Self::ALIGN),
        }
    }
}

impl<T: Lift, E: Lift> Lift for Result<T, E> {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        match cx.array(at)? {
            [0] => T::load(cx, at + Self::ALIGN).map(Ok),
            [1] => E::load(cx, at + Self::ALIGN).map(Err),
            [case] => unknown_case(case.into()),
        }
    }
}

pub(in crate::plugin::wasm) fn unknown_case<T>(case: u32) -> Result<T> {
    bail!("the guest passed the unknown case {case}");
}
