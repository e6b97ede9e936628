//! Reads numbers from bytes, one after the other.

use super::Flaw;

/// The remaining bytes. Reading past the end is [`Flaw::Damaged`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Reads the next `count` bytes.
    pub(super) fn read(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let (read, rest) = self.0.split_at_checked(count).ok_or(Flaw::Damaged)?;
        self.0 = rest;
        Ok(read)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        self.read(N)?.try_into().map_err(|_| Flaw::Damaged)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Flaw> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16_big(&mut self) -> Result<u16, Flaw> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32_big(&mut self) -> Result<u32, Flaw> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u16_little(&mut self) -> Result<u16, Flaw> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u24_little(&mut self) -> Result<u32, Flaw> {
        let [low, middle, high] = self.array()?;
        Ok(u32::from_le_bytes([low, middle, high, 0]))
    }

    pub(super) fn u32_little(&mut self) -> Result<u32, Flaw> {
        Ok(u32::from_le_bytes(self.array()?))
    }
}
