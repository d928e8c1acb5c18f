//! Parameters and state: what the programs of a model share, by name, and what a checkpoint holds.
//!
//! ```
//! use bdl_execute::Store;
//! use bdl_plan::DType;
//! let mut store = Store::new();
//! store.insert("net.w", DType::F32, vec![2, 3]).unwrap();
//! store.set("net.w", &[1.0; 6]).unwrap();
//! assert_eq!(store.get("net.w").unwrap().number(5), 1.0);
//! ```

use crate::error::Error;
use crate::memory::{ALIGN, Buffer, LARGE_PAGE, Memory, dtype_name, is_guarded, size_of_dtype};
use bdl_plan::DType;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of what small buffers are cut from.
const SLAB: usize = 4 * LARGE_PAGE;

/// Named buffers in the order in which they were first met.
#[derive(Default)]
pub struct Store {
    entries: Vec<Entry>,
    by_name: HashMap<Arc<str>, usize>,
    /// What small buffers are cut from, and how much of it is taken: side by side they fill large pages.
    slab: Option<(Arc<Memory>, usize)>,
}

pub struct Entry {
    pub name: Arc<str>,
    /// As the user sees it.
    pub shape: Vec<i64>,
    /// Trained, as opposed to carried.
    pub trained: bool,
    pub buffer: Buffer,
}

impl Store {
    pub fn new() -> Store {
        Store::default()
    }

    /// The buffer `name`, made of zeros if there is none. Errors: it exists with another type or length; there is no
    /// memory for it.
    pub fn insert(&mut self, name: &str, dtype: DType, shape: Vec<i64>) -> Result<&mut Entry, Error> {
        let len =
            if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1i64, |len, size| len.checked_mul(*size)) };
        let len = len.ok_or(Error::Memory { bytes: usize::MAX })?;
        self.bind(name, dtype, len, || shape)
    }

    /// [`insert`](Store::insert) that asks for the shape of `len` elements only where there is no such buffer yet.
    pub fn bind(
        &mut self,
        name: &str,
        dtype: DType,
        len: i64,
        shape: impl FnOnce() -> Vec<i64>,
    ) -> Result<&mut Entry, Error> {
        let at = match self.by_name.get(name) {
            Some(&at) => {
                let found = &self.entries[at].buffer;
                if found.dtype != dtype {
                    return Err(Error::Type {
                        name: name.into(),
                        expected: dtype_name(dtype),
                        found: dtype_name(found.dtype),
                    });
                }
                if found.len() as i64 != len {
                    return Err(Error::Length { name: name.into(), expected: len, found: found.len() as i64 });
                }
                at
            }
            None => {
                let buffer = self.zeros(dtype, len.max(0) as usize)?;
                let name: Arc<str> = name.into();
                self.by_name.insert(name.clone(), self.entries.len());
                self.entries.push(Entry { name, shape: shape(), trained: false, buffer });
                self.entries.len() - 1
            }
        };
        Ok(&mut self.entries[at])
    }

    /// A buffer of zeros; from the slab, if it is small.
    fn zeros(&mut self, dtype: DType, len: usize) -> Result<Buffer, Error> {
        let bytes = len.saturating_mul(size_of_dtype(dtype)).max(1);
        if bytes > LARGE_PAGE || is_guarded() {
            return Buffer::zeros(dtype, len);
        }
        let bytes = bytes.next_multiple_of(ALIGN);
        let (slab, taken) = match self.slab.take() {
            Some((slab, taken)) if taken + bytes <= slab.len() => (slab, taken),
            Some(_) | None => (Arc::new(Memory::new(SLAB)?), 0),
        };
        // SAFETY: inside the slab, of which each byte is given away once.
        let memory = unsafe { Memory::part(&slab, taken, bytes) };
        self.slab = Some((slab, taken + bytes));
        Ok(Buffer::of(dtype, len, memory))
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&at| &self.entries[at])
    }

    pub fn get(&self, name: &str) -> Option<&Buffer> {
        self.entry(name).map(|e| &e.buffer)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Buffer> {
        self.by_name.get(name).map(|&at| &mut self.entries[at].buffer)
    }

    /// Fills a buffer from numbers, rounding to its type. Errors: no such buffer, another length.
    pub fn set(&mut self, name: &str, numbers: &[f64]) -> Result<(), Error> {
        let buffer =
            self.get_mut(name).ok_or_else(|| Error::Missing { what: "parameter or state", name: name.into() })?;
        buffer.set(name, numbers.iter().copied())
    }

    /// Another buffer in the place of `name`, of the same type and length. Errors: no such buffer, another type or length.
    pub fn replace(&mut self, name: &str, buffer: Buffer) -> Result<(), Error> {
        let own = self.get_mut(name).ok_or_else(|| Error::Missing { what: "parameter or state", name: name.into() })?;
        if own.dtype != buffer.dtype {
            let (expected, found) = (dtype_name(own.dtype), dtype_name(buffer.dtype));
            return Err(Error::Type { name: name.into(), expected, found });
        }
        if own.len() != buffer.len() {
            let (expected, found) = (own.len() as i64, buffer.len() as i64);
            return Err(Error::Length { name: name.into(), expected, found });
        }
        *own = buffer;
        Ok(())
    }

    /// Lets two buffers change places; those of another type or length, or that are not there, stay.
    pub fn swap(&mut self, one: &str, other: &str) {
        let (Some(&one), Some(&other)) = (self.by_name.get(one), self.by_name.get(other)) else { return };
        let (first, last) = (one.min(other), one.max(other));
        let (head, tail) = self.entries.split_at_mut(last);
        let (Some(a), Some(b)) = (head.get_mut(first), tail.first_mut()) else { return };
        if a.buffer.dtype == b.buffer.dtype && a.buffer.len() == b.buffer.len() {
            std::mem::swap(&mut a.buffer, &mut b.buffer);
        }
    }

    /// [`set`](Store::set) from f32.
    pub fn set_f32(&mut self, name: &str, numbers: &[f32]) -> Result<(), Error> {
        let buffer =
            self.get_mut(name).ok_or_else(|| Error::Missing { what: "parameter or state", name: name.into() })?;
        buffer.set(name, numbers.iter().map(|x| f64::from(*x)))
    }

    /// In order, for checkpoints.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|e| e.buffer.bytes()).sum()
    }
}
