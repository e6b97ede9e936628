//! Types of the contract, and how they lie in memory.

use wasmtime::{Result, ValRaw, ValType, bail};

use super::{Flat, Lifting, Lowering, address, aligned, place};

/// How a type lies in memory, and of which numbers it is made.
pub(in crate::plugin::wasm) trait Layout: Sized {
    const SIZE: usize;
    const ALIGN: usize;
    /// Of how many numbers it is made as a parameter or a result.
    const FLAT: usize;
}

/// A type that can be a parameter.
pub(in crate::plugin::wasm) trait Flatten: Layout {
    /// Lists the numbers that it is made of.
    fn flatten(types: &mut Vec<ValType>);
}

/// A type that the host hands to a guest.
pub(in crate::plugin::wasm) trait Lower: Layout {
    /// Writes it into memory, at an aligned place.
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()>;

    /// Writes several.
    fn store_all(values: &[Self], cx: &mut Lowering<'_>, at: usize) -> Result<()> {
        let places = (at..).step_by(Self::SIZE);
        values
            .iter()
            .zip(places)
            .try_for_each(|(value, at)| value.store(cx, at))
    }

    /// The type of the only number that it is made of, if it is one.
    const NUMBER: Option<ValType> = None;

    /// Returns that number.
    fn number(&self) -> Option<ValRaw> {
        None
    }
}

/// A type that the host hands to a guest as a parameter.
pub(in crate::plugin::wasm) trait Pass: Lower + Flatten {
    fn pass(&self, cx: &mut Lowering<'_>, flat: &mut Flat) -> Result<()>;
}

/// A type that a guest hands to the host.
pub(in crate::plugin::wasm) trait Lift: Layout {
    /// Reads it from memory, at an aligned place.
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self>;

    /// Reads several.
    fn load_all(cx: &mut Lifting<'_>, at: usize, count: usize) -> Result<Vec<Self>> {
        let places = (at..).step_by(Self::SIZE).take(count);
        places.map(|at| Self::load(cx, at)).collect()
    }
}

/// A type that a guest hands to the host as a parameter.
pub(in crate::plugin::wasm) trait Take: Flatten {
    fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self>;
}

/// Takes the next of the numbers that [`Flatten::flatten`] listed.
fn next(flat: &mut impl Iterator<Item = ValRaw>) -> Result<ValRaw> {
    flat.next()
        .ok_or_else(|| wasmtime::Error::msg("a parameter of the guest is missing"))
}

/// Describes types of one number: their size, and the number that they are as a parameter.
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

/// Hands over types of one number: how it is made of the value, and the value of it.
macro_rules! handed_over {
    ($($type:ty: $flat:ident $make:ident $get:ident;)*) => {$(
        impl Lower for $type {
            fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
                cx.write(at, &self.to_le_bytes())
            }

            const NUMBER: Option<ValType> = Some(ValType::$flat);

            fn number(&self) -> Option<ValRaw> {
                Some(ValRaw::$make((*self).into()))
            }
        }

        impl Pass for $type {
            fn pass(&self, _: &mut Lowering<'_>, flat: &mut Flat) -> Result<()> {
                flat.push(ValRaw::$make((*self).into()))
            }
        }

        impl Lift for $type {
            fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
                Ok(Self::from_le_bytes(cx.array(at)?))
            }
        }

        impl Take for $type {
            fn take(_: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
                Ok(next(flat)?.$get().try_into()?)
            }
        }
    )*};
}

handed_over! {
    u16: I32 u32 get_u32;
    u32: I32 u32 get_u32;
    u64: I64 u64 get_u64;
}

impl Take for f64 {
    fn take(_: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        Ok(Self::from_bits(next(flat)?.get_f64()))
    }
}

impl Lower for bool {
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
        cx.write(at, &[u8::from(*self)])
    }

    const NUMBER: Option<ValType> = Some(ValType::I32);

    fn number(&self) -> Option<ValRaw> {
        Some(ValRaw::u32((*self).into()))
    }
}

impl Pass for bool {
    fn pass(&self, _: &mut Lowering<'_>, flat: &mut Flat) -> Result<()> {
        flat.push(ValRaw::u32((*self).into()))
    }
}

impl Lift for bool {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        let [byte] = cx.array(at)?;
        Ok(byte != 0)
    }
}

impl Take for bool {
    fn take(_: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        Ok(next(flat)?.get_u32() != 0)
    }
}

// A byte stands in lists alone.

impl Lower for u8 {
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
        cx.write(at, &[*self])
    }

    fn store_all(values: &[Self], cx: &mut Lowering<'_>, at: usize) -> Result<()> {
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

/// Puts a list into memory of its own.
fn store_list<T: Lower>(list: &[T], cx: &mut Lowering<'_>) -> Result<usize> {
    let at = cx.allocate(T::ALIGN, list.len().saturating_mul(T::SIZE))?;
    T::store_all(list, cx, at)?;
    Ok(at)
}

/// Writes where a list is, and how long.
fn store_slice(cx: &mut Lowering<'_>, at: usize, (list, length): (usize, usize)) -> Result<()> {
    cx.write(at, &u32::try_from(list)?.to_le_bytes())?;
    cx.write(at + 4, &u32::try_from(length)?.to_le_bytes())
}

impl<T: Lower> Lower for Vec<T> {
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
        let list = store_list(self, cx)?;
        store_slice(cx, at, (list, self.len()))
    }
}

impl<T: Lower> Pass for Vec<T> {
    fn pass(&self, cx: &mut Lowering<'_>, flat: &mut Flat) -> Result<()> {
        let list = store_list(self, cx)?;
        flat.push(address(list)?)?;
        flat.push(address(self.len())?)
    }
}

/// Reads a list from its own memory.
fn load_list<T: Lift>(cx: &mut Lifting<'_>, at: u32, count: u32) -> Result<Vec<T>> {
    let count = count as usize;
    let at = place(at, T::ALIGN, count.saturating_mul(T::SIZE), cx.memory.len())?;
    cx.count(count.saturating_mul(size_of::<T>()))?;
    T::load_all(cx, at, count)
}

impl<T: Lift> Lift for Vec<T> {
    fn load(cx: &mut Lifting<'_>, at: usize) -> Result<Self> {
        let (list, count) = (u32::load(cx, at)?, u32::load(cx, at + 4)?);
        load_list(cx, list, count)
    }
}

impl<T: Lift> Take for Vec<T> {
    fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
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
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
        let text = store_list(self.as_bytes(), cx)?;
        store_slice(cx, at, (text, self.len()))
    }
}

impl Pass for String {
    fn pass(&self, cx: &mut Lowering<'_>, flat: &mut Flat) -> Result<()> {
        let text = store_list(self.as_bytes(), cx)?;
        flat.push(address(text)?)?;
        flat.push(address(self.len())?)
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

impl Take for String {
    fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        text(Take::take(cx, flat)?)
    }
}

/// The greater of two numbers, for constants.
pub(super) const fn greater(left: usize, right: usize) -> usize {
    if left > right { left } else { right }
}

// No value, such as `result<_, error>` has when all is well.

impl Layout for () {
    const SIZE: usize = 0;
    const ALIGN: usize = 1;
    const FLAT: usize = 0;
}

impl Lower for () {
    fn store(&self, _: &mut Lowering<'_>, _: usize) -> Result<()> {
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

impl Take for () {
    fn take(_: &mut Lifting<'_>, _: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        Ok(())
    }
}

// An option and a result are variants: a byte that tells which case it is, and behind it, aligned, the value of the case.

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
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
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

impl<T: Take> Take for Option<T> {
    fn take(cx: &mut Lifting<'_>, flat: &mut impl Iterator<Item = ValRaw>) -> Result<Self> {
        match next(flat)?.get_u32() {
            0 => {
                // The numbers of the value are there, and mean nothing.
                (0..T::FLAT).try_for_each(|_| next(flat).map(drop))?;
                Ok(None)
            }
            1 => T::take(cx, flat).map(Some),
            case => unknown_case(case),
        }
    }
}

impl<T: Layout, E: Layout> Layout for Result<T, E> {
    const ALIGN: usize = greater(T::ALIGN, E::ALIGN);
    const SIZE: usize = aligned(Self::ALIGN + greater(T::SIZE, E::SIZE), Self::ALIGN);
    const FLAT: usize = 1 + greater(T::FLAT, E::FLAT);
}

impl<T: Lower, E: Lower> Lower for Result<T, E> {
    fn store(&self, cx: &mut Lowering<'_>, at: usize) -> Result<()> {
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

pub(super) fn unknown_case<T>(case: u32) -> Result<T> {
    bail!("the guest means a case {case} that there is not");
}
