//! Reading and writing fields one after the other.

use super::ParseError;

/// Takes fields from the front of a slice whose length was checked.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(ParseError::Length)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ParseError> {
        self.array().map(u64::from_be_bytes)
    }

    /// An id, never zero.
    pub(super) fn id(&mut self) -> Result<u32, ParseError> {
        match self.u32()? {
            0 => Err(ParseError::ZeroId),
            id => Ok(id),
        }
    }

    /// `N` bytes that must be zero.
    pub(super) fn zero<const N: usize>(&mut self) -> Result<(), ParseError> {
        if self.array::<N>()? == [0; N] { Ok(()) } else { Err(ParseError::Reserved) }
    }

    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Puts fields one after the other into an array of the layout's size.
pub(super) struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    pub(super) fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    pub(super) fn skip(mut self, n: usize) -> Self {
        self.at += n;
        self
    }

    pub(super) fn finish(self) -> [u8; N] {
        debug_assert_eq!(self.at, N, "the layout is filled");
        self.bytes
    }
}
