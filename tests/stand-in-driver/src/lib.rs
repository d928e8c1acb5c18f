//! A `libcuda.so` for tests: the functions of NVIDIA's driver that bdl calls, on the machine that interprets PTX. The same binary that would
//! use a GPU uses it, when the folder of this library stands first where libraries are looked for.
//!
//! One device, whose memory is the machine's. Launches run in an order of threads that differs from launch to launch; when they run, and what a
//! graph is, stands in `work`. A fault is told on the standard error; it is the result of the launch, or of what waits for it, and of all calls
//! after it.
//!
//! `BDL_STAND_IN_DEVICES=0` and `BDL_STAND_IN_VERSION=11040` make it a machine without a GPU and an old driver; `BDL_STAND_IN_MEMORY` is the size
//! of its memory in bytes; `BDL_STAND_IN_CAPABILITY=75` makes it a processor of 7.5 (8.0 without); `BDL_STAND_IN_LOST_AFTER=n` loses the device
//! after n launches. Where `BDL_STAND_IN_COUNTS` names a file, it says there at the end, in one line: launches, graphs made ready, launches of
//! graphs.
//!
//! | module | job |
//! |---|---|
//! | `device` | the device, its context |
//! | `memory` | allocations, copies |
//! | `module` | functions and launches |
//! | `stream` | streams, events |
//! | `graph` | graphs |
//! | `work` | what a device does, when it does it |
#![allow(non_snake_case)]

mod device;
mod graph;
mod memory;
mod module;
mod stream;
mod work;

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard};
use work::State;

type Code = c_uint;
const OK: Code = 0;
const INVALID_VALUE: Code = 1;
const OUT_OF_MEMORY: Code = 2;
const NO_DEVICE: Code = 100;
const INVALID_DEVICE: Code = 101;
const INVALID_PTX: Code = 218;
const INVALID_HANDLE: Code = 400;
const ILLEGAL_STATE: Code = 401;
const NOT_FOUND: Code = 500;
const NOT_READY: Code = 600;
const ILLEGAL_ADDRESS: Code = 700;
const LAUNCH_FAILED: Code = 719;
const CAPTURE_UNSUPPORTED: Code = 900;
const CAPTURE_INVALIDATED: Code = 901;
const CAPTURE_IMPLICIT: Code = 906;
const CAPTURE_WRONG_THREAD: Code = 908;
const GRAPH_EXEC_UPDATE_FAILURE: Code = 910;

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn told(what: impl std::fmt::Display, code: Code) -> Code {
    eprintln!("stand-in driver: {what}");
    code
}

/// What a caller holds is a number.
fn handle(number: usize) -> *mut c_void {
    std::ptr::without_provenance_mut(number)
}

/// # Safety
/// `to` is writable, or null.
unsafe fn put<T>(to: *mut T, value: T) -> Code {
    if to.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(value) };
    OK
}

fn name_of(code: Code) -> (&'static CStr, &'static CStr) {
    match code {
        OK => (c"CUDA_SUCCESS", c"no error"),
        INVALID_VALUE => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        NO_DEVICE => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        INVALID_DEVICE => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        INVALID_PTX => (c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
        INVALID_HANDLE => (c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
        ILLEGAL_STATE => (c"CUDA_ERROR_ILLEGAL_STATE", c"the operation cannot be performed in the present state"),
        NOT_READY => (c"CUDA_ERROR_NOT_READY", c"device not ready"),
        CAPTURE_UNSUPPORTED => {
            (c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", c"operation not permitted when stream is capturing")
        }
        CAPTURE_INVALIDATED => {
            (c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", c"operation failed due to a previous error during capture")
        }
        CAPTURE_IMPLICIT => (
            c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
            c"operation would make the legacy stream depend on a capturing blocking stream",
        ),
        CAPTURE_WRONG_THREAD => (
            c"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
            c"attempt to terminate a thread-local capture sequence from another thread",
        ),
        GRAPH_EXEC_UPDATE_FAILURE => (
            c"CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE",
            c"the graph update was not performed because it included changes which violated constraints",
        ),
        NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        ILLEGAL_ADDRESS => (c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
        LAUNCH_FAILED => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        _ => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
    }
}

/// # Safety
/// See CUDA's documentation; so for all that follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(text, name_of(code).0.as_ptr()) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the caller's promise.
    unsafe { put(text, name_of(code).1.as_ptr()) }
}
