//! The device and its context.

use crate::work::code;
use crate::{Code, INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, OK, put, setting, state, told};
use std::ffi::{c_char, c_int, c_uint, c_void};

// Numbers of attributes.
const SHARED_MEMORY: c_uint = 8;
const WARP_SIZE: c_uint = 10;
const MULTIPROCESSORS: c_uint = 16;
const MAJOR: c_uint = 75;
const MINOR: c_uint = 76;
const SHARED_MEMORY_OPTIN: c_uint = 97;

/// Bytes of shared memory a block for which nobody need ask.
pub const DEFAULT_SHARED: u64 = 48 << 10;

/// Ten times the major number, and the minor one.
pub fn capability() -> u64 {
    setting("BDL_STAND_IN_CAPABILITY").unwrap_or(80)
}

/// Bytes of shared memory a block at most (CUDA programming guide, technical specifications per compute capability).
pub fn most_shared() -> u64 {
    let kib = match capability() {
        ..70 => 48,
        70..75 => 96,
        75..80 => 64,
        80 | 87 => 163,
        81..90 => 99,
        90..120 => 227,
        120.. => 99,
    };
    kib << 10
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_: c_uint) -> Code {
    if setting("BDL_STAND_IN_DEVICES") == Some(0) { NO_DEVICE } else { OK }
}

/// # Safety
/// See CUDA's documentation; so for all that follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(version, setting("BDL_STAND_IN_VERSION").unwrap_or(12_000) as c_int) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(count, 1) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, number: c_int) -> Code {
    if number != 0 {
        return INVALID_DEVICE;
    }
    // SAFETY: the caller's promise.
    unsafe { put(device, 0) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _: c_int) -> Code {
    let text = b"PTX machine of the tests\0";
    if len < text.len() as c_int {
        return INVALID_VALUE;
    }
    // SAFETY: the caller gives room for `len` bytes.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len()) };
    OK
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, _: c_int) -> Code {
    let found = match attribute {
        SHARED_MEMORY => DEFAULT_SHARED,
        WARP_SIZE => 32,
        MULTIPROCESSORS => 108,
        MAJOR => capability() / 10,
        MINOR => capability() % 10,
        SHARED_MEMORY_OPTIN => most_shared(),
        _ => return INVALID_VALUE,
    };
    let found = found as c_int;
    // SAFETY: the caller's promise.
    unsafe { put(value, found) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _: c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(context, std::ptr::without_provenance_mut(16)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_: c_int) -> Code {
    if let Some(file) = std::env::var_os("BDL_STAND_IN_COUNTS") {
        let state = state();
        let counts = format!("{} {} {}\n", state.launches, state.graphs_made, state.graphs_launched);
        if let Err(error) = std::fs::write(&file, counts) {
            return told(format_args!("{}: {error}", file.display()), INVALID_VALUE);
        }
    }
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(_: *mut c_void) -> Code {
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Code {
    let mut state = state();
    code(state.may_wait().and_then(|()| state.drain_all()))
}
