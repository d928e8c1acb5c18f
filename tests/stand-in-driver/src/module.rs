//! Functions and launches.

use crate::device::{DEFAULT_SHARED, capability, most_shared};
use crate::work::{Loaded, Work, code};
use crate::{Code, INVALID_HANDLE, INVALID_PTX, INVALID_VALUE, NOT_FOUND, OK, handle, put, state, told};
use bdl_ptx_machine::{Fault, parse};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// The numbers of the options for a log of errors, and its size.
const ERROR_LOG: c_uint = 5;
const ERROR_LOG_SIZE: c_uint = 6;

/// # Safety
/// See CUDA's documentation; so for all that follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut *mut c_void,
    image: *const c_char,
    count: c_uint,
    options: *const c_uint,
    values: *const *mut c_void,
) -> Code {
    // SAFETY: the caller gives a text that ends with a zero.
    let text = unsafe { CStr::from_ptr(image) }.to_string_lossy().into_owned();
    let parsed = parse(&text).and_then(|function| match u64::from(function.target) {
        target if target > capability() => {
            Err(Fault::new("SM version specified by .target is higher than default SM version assumed"))
        }
        target if function.only && target != capability() => {
            Err(Fault::new(format!("no code for this device: sm_{target}a is for that processor alone")))
        }
        _ => Ok(function),
    });
    match parsed {
        Ok(function) => {
            let mut state = state();
            let most_shared = (DEFAULT_SHARED as usize).saturating_sub(function.shared);
            state.functions.push(Loaded { function, text, most_shared });
            // SAFETY: the caller's promise.
            unsafe { put(module, handle(state.functions.len())) }
        }
        Err(fault) => {
            let (mut log, mut size) = (std::ptr::null_mut::<u8>(), 0usize);
            for i in 0..count as usize {
                // SAFETY: the caller gives `count` options and values.
                let (option, value) = unsafe { (*options.add(i), *values.add(i)) };
                match option {
                    ERROR_LOG => log = value.cast(),
                    ERROR_LOG_SIZE => size = value.addr(),
                    _ => return INVALID_VALUE,
                }
            }
            let message = format!("ptxas application ptx input, {fault}\0");
            if !log.is_null() && message.len() <= size {
                // SAFETY: the caller gives room for `size` bytes.
                unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), log, message.len()) };
            }
            INVALID_PTX
        }
    }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *mut c_void,
    module: *mut c_void,
    name: *const c_char,
) -> Code {
    // SAFETY: the caller gives a text that ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let state = state();
    match state.functions.get(module.addr().wrapping_sub(1)) {
        // SAFETY: the caller's promise.
        Some(found) if found.function.name == name => unsafe { put(function, module) },
        Some(_) | None => NOT_FOUND,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(_: *mut c_void) -> Code {
    OK
}

// Numbers of a function's attributes.
const MOST_THREADS: c_uint = 0;
const STATIC_SHARED: c_uint = 1;
const MOST_DYNAMIC_SHARED: c_uint = 8;

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: *mut c_void) -> Code {
    let state = state();
    let Some(found) = state.functions.get(function.addr().wrapping_sub(1)) else { return INVALID_HANDLE };
    let found = match attribute {
        MOST_THREADS => found.function.threads as usize,
        STATIC_SHARED => found.function.shared,
        MOST_DYNAMIC_SHARED => found.most_shared,
        _ => return told(format_args!("attribute {attribute} of a function is not known"), INVALID_VALUE),
    };
    // SAFETY: the caller's promise.
    unsafe { put(value, found as c_int) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(function: *mut c_void, attribute: c_uint, value: c_int) -> Code {
    let mut state = state();
    let Some(found) = state.functions.get_mut(function.addr().wrapping_sub(1)) else { return INVALID_HANDLE };
    let Ok(bytes) = usize::try_from(value) else { return INVALID_VALUE };
    if attribute != MOST_DYNAMIC_SHARED {
        return told(format_args!("attribute {attribute} of a function is not known"), INVALID_VALUE);
    }
    if found.function.shared + bytes > most_shared() as usize {
        return INVALID_VALUE;
    }
    found.most_shared = bytes;
    OK
}

/// Blocks in y and z.
const MOST_BLOCKS: c_uint = 65_535;

/// # Safety
/// As above.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: *mut c_void,
    blocks_x: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared: c_uint,
    stream: *mut c_void,
    parameters: *const *const u64,
    _extra: *mut c_void,
) -> Code {
    let mut state = state();
    let index = function.addr().wrapping_sub(1);
    let Some(Loaded { function, most_shared, .. }) = state.functions.get(index) else { return INVALID_HANDLE };
    let (blocks, shared) = ([blocks_x, blocks_y, blocks_z], shared as usize);
    let too_many = blocks_y > MOST_BLOCKS || blocks_z > MOST_BLOCKS || threads_x > function.threads;
    if too_many || blocks.contains(&0) || threads_x == 0 || shared > *most_shared {
        let what = format_args!("{blocks:?} blocks of {threads_x} threads with {shared} bytes of shared memory");
        return told(format_args!("{}: {what} cannot be launched", function.name), INVALID_VALUE);
    }
    if [threads_y, threads_z] != [1, 1] {
        return told("a launch that bdl does not make", INVALID_VALUE);
    }
    // SAFETY: the caller gives the address of each of the function's parameters, which all have 64 bits.
    let parameters: Vec<u64> = (0..function.parameters.len()).map(|i| unsafe { **parameters.add(i) }).collect();
    code(state.submit(stream, Work::Launch { function: index, blocks, threads: threads_x, shared, parameters }))
}
