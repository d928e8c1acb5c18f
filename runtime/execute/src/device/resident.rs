//! Parameters and state on a device: what the programs of a model share there, by name.

use super::Device;
use crate::error::Error;
use crate::memory::size_of_dtype;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::Arc;

/// Copies of a store's buffers, made when a program first asks for one.
#[derive(Default)]
pub struct Resident {
    by_name: HashMap<Arc<str>, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    address: u64,
    bytes: usize,
}

impl Resident {
    /// The address of a buffer of the store, written to the device if it is not there yet.
    pub fn address<D: Device>(&mut self, device: &mut D, store: &Store, name: &str) -> Result<u64, Error> {
        let buffer =
            store.get(name).ok_or_else(|| Error::Missing { what: "parameter or state", name: name.to_string() })?;
        let bytes = buffer.len() * size_of_dtype(buffer.dtype);
        if let Some(place) = self.by_name.get(name).filter(|place| place.bytes == bytes) {
            return Ok(place.address);
        }
        let address = device.allocate(bytes.max(1))?;
        device.write(address, buffer.as_bytes())?;
        self.by_name.insert(name.into(), Place { address, bytes });
        Ok(address)
    }

    /// Brings the store up to what the device holds.
    pub fn fetch<D: Device>(&self, device: &mut D, store: &mut Store) -> Result<(), Error> {
        for entry in store.iter_mut() {
            if let Some(place) = self.by_name.get(&entry.name) {
                device.read(place.address, entry.buffer.as_bytes_mut())?;
            }
        }
        Ok(())
    }

    /// Brings the device up to what the store holds.
    pub fn put<D: Device>(&self, device: &mut D, store: &Store) -> Result<(), Error> {
        for entry in store.iter() {
            if let Some(place) = self.by_name.get(&entry.name) {
                device.write(place.address, entry.buffer.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The buffers of two names change places, as in [`Store::swap`]: both were copied from buffers of one type and length.
    pub fn swap(&mut self, one: &str, other: &str) {
        let (first, second) = (self.by_name.remove(one), self.by_name.remove(other));
        if let Some(place) = first {
            self.by_name.insert(other.into(), place);
        }
        if let Some(place) = second {
            self.by_name.insert(one.into(), place);
        }
    }

    /// Gives the memory back.
    pub fn release<D: Device>(&mut self, device: &mut D) {
        self.by_name.drain().for_each(|(_, place)| device.free(place.address));
    }
}
