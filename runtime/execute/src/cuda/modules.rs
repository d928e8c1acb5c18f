//! The driver compiles PTX: each text once, several at a time.

use super::said;
use crate::error::Error;
use bdl_plan::DeviceKernel;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::{CString, c_uint, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for what the driver's compiler says about a text that it refuses.
const LOG: usize = 8 << 10;
/// Compilers at a time, at most: more would take memory for little.
const MOST_THREADS: usize = 8;

/// Handles of a module and its function, which may go from thread to thread.
pub struct Module {
    pub module: sys::CUmodule,
    pub function: sys::CUfunction,
}

// SAFETY: the driver's handles belong to a context, not to a thread.
unsafe impl Send for Module {}

/// A context that other threads make current.
#[derive(Clone, Copy)]
struct Context(sys::CUcontext);
// SAFETY: contexts may be current in several threads.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    fn make_current(&self) -> Result<(), DriverError> {
        // SAFETY: whoever compiles holds the context, and lives longer.
        unsafe { result::ctx::set_current(self.0) }
    }
}

/// Compiles these for the device of this name, in order.
pub fn compile(context: sys::CUcontext, device: &str, kernels: &[&DeviceKernel]) -> Vec<Result<Module, Error>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(kernels.len());
    if threads < 2 {
        return kernels.iter().map(|kernel| module(kernel)).collect();
    }
    let (next, context) = (AtomicUsize::new(0), Context(context));
    let made: Mutex<Vec<Option<Result<Module, Error>>>> = Mutex::new(kernels.iter().map(|_| None).collect());
    let work = || {
        let current = context.make_current();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(kernel) = kernels.get(at) else { return };
            let found = match &current {
                Ok(()) => module(kernel),
                Err(error) => Err(said(device, *error)),
            };
            if let Ok(mut made) = made.lock() {
                made[at] = Some(found);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let made = made.into_inner().unwrap_or_default();
    let missing = || Err(Error::Device("the driver's compiler did not finish".to_string()));
    made.into_iter().map(|found| found.unwrap_or_else(missing)).collect()
}

/// Compiles one text in the current context.
fn module(kernel: &DeviceKernel) -> Result<Module, Error> {
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
    let entry = CString::new(&*kernel.entry).map_err(|_| Error::Plan("a name with a zero byte".to_string()))?;
    // SAFETY: the module was just loaded.
    let function = unsafe { result::module::get_function(module, entry) };
    let function = function.map_err(|error| said(&kernel.entry, error))?;
    if kernel.shared > 0 {
        let which = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function was just found.
        let allowed = unsafe { result::function::set_function_attribute(function, which, kernel.shared as i32) };
        allowed
            .map_err(|error| said(&format!("{} bytes of shared memory for {}", kernel.shared, kernel.entry), error))?;
    }
    Ok(Module { module, function })
}
