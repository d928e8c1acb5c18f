//! The driver compiles PTX, one text after the other: from several threads it took 14 to 39 % longer (driver 580 on 16 processors). What it has compiled
//! it keeps on disk by content, so that the next start takes a tenth.

use super::said;
use crate::error::Error;
use bdl_plan::DeviceKernel;
use cudarc::driver::result;
use cudarc::driver::sys;
use std::ffi::{CString, c_uint, c_void};

/// Room for what the driver's compiler says about a text that it refuses.
const LOG: usize = 8 << 10;

/// A module and its function.
pub struct Module {
    pub module: sys::CUmodule,
    pub function: sys::CUfunction,
}

/// Compiles one text in the current context. `most_shared`: bytes of shared memory that a block may have.
pub fn module(kernel: &DeviceKernel, most_shared: u32) -> Result<Module, Error> {
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
    let shared = kernel.shared_in(most_shared);
    if shared > 0 {
        let which = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function was just found.
        let allowed = unsafe { result::function::set_function_attribute(function, which, shared as i32) };
        allowed.map_err(|error| said(&format!("{shared} bytes of shared memory for {}", kernel.entry), error))?;
    }
    Ok(Module { module, function })
}
