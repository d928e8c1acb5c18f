//! An NVIDIA GPU as a [`Device`], through the driver that is found when it is asked for. Nothing of CUDA is linked: without a driver the binary
//! runs as ever, and says what is missing when a GPU is wanted.
//!
//! The driver compiles the PTX of each function once; functions of one text are one.
//!
//! Everything goes through the null stream: operations happen in the order in which they were asked for, and a read waits for all before it.

use crate::device::{Device, Loaded};
use crate::error::Error;
use bdl_plan::DeviceKernel;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::collections::HashMap;
use std::ffi::{CString, c_uint, c_void};
use std::sync::Arc;

/// The oldest driver whose functions are used: of CUDA 12.0.
const OLDEST_DRIVER: i32 = 12_000;
/// Room for what the driver's compiler says about a text that it refuses.
const LOG: usize = 8 << 10;

/// An open device.
pub struct Cuda {
    ordinal: sys::CUdevice,
    pub name: String,
    /// Major and minor number of what the processor can do.
    pub capability: (i32, i32),
    modules: Vec<sys::CUmodule>,
    functions: Vec<(sys::CUfunction, Arc<str>)>,
    by_text: HashMap<Arc<str>, usize>,
}

// SAFETY: handles of the driver may be used from any thread whose current context is theirs; every use goes through `&mut Cuda`, which
// makes the context current first.
unsafe impl Send for Cuda {}

fn said(what: &str, error: DriverError) -> Error {
    let text = |found: Result<&std::ffi::CStr, DriverError>| {
        found.map_or_else(|_| "an unknown error".to_string(), |text| text.to_string_lossy().into_owned())
    };
    Error::Device(format!("{what}: {} ({})", text(error.error_string()), text(error.error_name())))
}

impl Cuda {
    /// Opens the device of this number.
    ///
    /// Errors: no driver, one that is too old, no such device; each says what is missing.
    pub fn open(number: usize) -> Result<Cuda, Error> {
        // SAFETY: looks for the library, and leaves it loaded if it is there.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::Device("there is no NVIDIA driver on this machine (libcuda.so was not found)".into()));
        }
        result::init().map_err(|error| said("the NVIDIA driver does not start", error))?;
        let mut version = 0;
        // SAFETY: writes one number.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(|error| said("the driver's version", error))?;
        if version < OLDEST_DRIVER {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(Error::Device(format!(
                "the NVIDIA driver knows CUDA {major}.{minor}, and bdl needs 12.0 or newer: update the driver"
            )));
        }
        let count = result::device::get_count().map_err(|error| said("the number of devices", error))?;
        if number as i64 >= i64::from(count) {
            return Err(Error::Device(match count {
                0 => "the NVIDIA driver finds no GPU".to_string(),
                _ => format!("there is no GPU number {number}; there are {count}, counted from 0"),
            }));
        }
        let ordinal = result::device::get(number as i32).map_err(|error| said("the device", error))?;
        let name = result::device::get_name(ordinal).map_err(|error| said("the device's name", error))?;
        let attribute = |which| {
            // SAFETY: a device of the driver.
            unsafe { result::device::get_attribute(ordinal, which) }
                .map_err(|error| said("the device's abilities", error))
        };
        let capability = (
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        // SAFETY: a device of the driver; the context is given back when this value goes.
        let context = unsafe { result::primary_ctx::retain(ordinal) }.map_err(|error| said(&name, error))?;
        // SAFETY: the context was just made.
        unsafe { result::ctx::set_current(context) }.map_err(|error| said(&name, error))?;
        Ok(Cuda { ordinal, name, capability, modules: Vec::new(), functions: Vec::new(), by_text: HashMap::new() })
    }

    /// Bytes that are free now, and all.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        result::mem_get_info().map_err(|error| said(&self.name, error))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        for module in self.modules.drain(..) {
            // SAFETY: loaded by this value, and no function of it can be called any more.
            let _ = unsafe { result::module::unload(module) };
        }
        // SAFETY: retained when the device was opened.
        let _ = unsafe { result::primary_ctx::release(self.ordinal) };
    }
}

impl Device for Cuda {
    fn load(&mut self, kernel: &DeviceKernel) -> Result<Loaded, Error> {
        if let Some(known) = self.by_text.get(&kernel.text) {
            return Ok(Loaded(*known));
        }
        let text = CString::new(&*kernel.text).map_err(|_| Error::Plan("PTX with a zero byte".to_string()))?;
        let mut log = vec![0u8; LOG];
        let mut options =
            [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(LOG)];
        let mut module: sys::CUmodule = std::ptr::null_mut();
        // SAFETY: text and log end with a zero or at the length given; both live through the call.
        let loaded = unsafe {
            let image = text.as_ptr().cast::<c_void>();
            let count = options.len() as c_uint;
            sys::cuModuleLoadDataEx(&mut module, image, count, options.as_mut_ptr(), values.as_mut_ptr())
        };
        if let Err(error) = loaded.result() {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
            let log = String::from_utf8_lossy(&log[..end]);
            let what = format!("the driver refuses the code of `{}`: {}", kernel.entry, log.trim());
            return Err(said(&what, error));
        }
        self.modules.push(module);
        let entry = CString::new(&*kernel.entry).map_err(|_| Error::Plan("a name with a zero byte".to_string()))?;
        // SAFETY: the module was just loaded.
        let function = unsafe { result::module::get_function(module, entry) };
        let function = function.map_err(|error| said(&kernel.entry, error))?;
        self.functions.push((function, kernel.entry.clone()));
        self.by_text.insert(kernel.text.clone(), self.functions.len() - 1);
        Ok(Loaded(self.functions.len() - 1))
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, Error> {
        // SAFETY: nobody reads the memory before it was written: plans write before they read.
        unsafe { result::malloc_sync(bytes) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { bytes },
            _ => said(&self.name, error),
        })
    }

    fn free(&mut self, address: u64) {
        // SAFETY: allocated by `allocate`. A device that is lost has nothing to give back.
        let _ = unsafe { result::free_sync(address) };
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the executor writes inside of what it allocated.
        unsafe { result::memcpy_htod_sync(to, bytes) }.map_err(|error| said(&self.name, error))
    }

    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), Error> {
        if into.is_empty() {
            return Ok(());
        }
        // SAFETY: the executor reads inside of what it allocated.
        unsafe { result::memcpy_dtoh_sync(into, from) }.map_err(|error| said(&self.name, error))
    }

    fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: both lie inside of what the executor allocated; they are the same or apart.
        unsafe { result::memcpy_dtod_sync(to, from, bytes) }.map_err(|error| said(&self.name, error))
    }

    fn clear(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: inside of what the executor allocated.
        unsafe { result::memset_d8_sync(at, 0, bytes) }.map_err(|error| said(&self.name, error))
    }

    fn launch(&mut self, function: Loaded, blocks: [u32; 2], threads: u32, parameters: &[u64]) -> Result<(), Error> {
        let (function, entry) = &self.functions[function.0];
        let mut values = parameters.to_vec();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let [x, y] = blocks;
        // SAFETY: a function of this device with one parameter of 64 bits for each value; the plan's launches are in bounds.
        unsafe {
            let stream = std::ptr::null_mut();
            result::launch_kernel(*function, (x, y, 1), (threads, 1, 1), 0, stream, &mut pointers)
        }
        .map_err(|error| said(&format!("{} on {}", entry, self.name), error))
    }
}
