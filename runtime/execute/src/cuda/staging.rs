//! Page-locked memory of the host: what is copied from there the driver need not copy first, and nobody waits for it.

use cudarc::driver::result::{self, DriverError};
use std::ffi::c_void;

/// Room for what is on its way at one time; more is copied at once.
const BYTES: usize = 16 << 20;
const ALIGN: usize = 64;

pub struct Staging {
    start: *mut u8,
    used: usize,
}

impl Staging {
    /// The context must be current.
    pub fn new() -> Result<Staging, DriverError> {
        // SAFETY: written before it is read.
        let start = unsafe { result::malloc_host(BYTES, 0) }?.cast::<u8>();
        Ok(Staging { start, used: 0 })
    }

    /// Room for so many bytes, if there is any; it is taken until [`Staging::is_done`].
    pub fn room(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let at = self.used;
        if bytes > BYTES - at {
            return None;
        }
        self.used = (at + bytes).next_multiple_of(ALIGN).min(BYTES);
        // SAFETY: inside of the allocation, handed out to nobody else since the last `is_done`.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.add(at), bytes) })
    }

    /// The device has finished with everything.
    pub fn is_done(&mut self) {
        self.used = 0;
    }

    pub fn release(&mut self) {
        // SAFETY: from `malloc_host`, and the device has finished.
        let _ = unsafe { result::free_host(self.start.cast::<c_void>()) };
    }
}
