//! A `libcuda.so` for tests: the functions of NVIDIA's driver that bdl calls, on the machine that interprets PTX. The same binary that would
//! use a GPU uses it, when the folder of this library stands first where libraries are looked for.
//!
//! One device, whose memory is the machine's. Launches run at once, in an order of threads that differs from launch to launch. A fault is told on
//! the standard error and is the launch's result.
//!
//! `BDL_STAND_IN_DEVICES=0` and `BDL_STAND_IN_VERSION=11040` make it a machine without a GPU and an old driver; `BDL_STAND_IN_MEMORY` is the size of its
//! memory in bytes; `BDL_STAND_IN_LOST_AFTER=n` loses the device after n launches.
#![allow(non_snake_case)]

use bdl_ptx_machine::{Function, Launch, Memory, launch, parse};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard};

type Code = c_uint;
const OK: Code = 0;
const INVALID_VALUE: Code = 1;
const OUT_OF_MEMORY: Code = 2;
const NO_DEVICE: Code = 100;
const INVALID_DEVICE: Code = 101;
const INVALID_PTX: Code = 218;
const NOT_FOUND: Code = 500;
const ILLEGAL_ADDRESS: Code = 700;
const LAUNCH_FAILED: Code = 719;

#[derive(Default)]
struct State {
    memory: Option<Memory>,
    functions: Vec<(Function, String)>,
    launches: u64,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl State {
    fn memory(&mut self) -> &mut Memory {
        self.memory.get_or_insert_with(Memory::new)
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn told(what: impl std::fmt::Display, code: Code) -> Code {
    eprintln!("stand-in driver: {what}");
    code
}

fn outcome(result: Result<(), bdl_ptx_machine::Fault>) -> Code {
    match result {
        Ok(()) => OK,
        Err(fault) => told(fault, ILLEGAL_ADDRESS),
    }
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
        75 => 8,
        76 => 0,
        _ => return INVALID_VALUE,
    };
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
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(_: *mut c_void) -> Code {
    OK
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Code {
    OK
}

fn memory_size() -> usize {
    setting("BDL_STAND_IN_MEMORY").unwrap_or(4 << 30) as usize
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    let used = state().memory().bytes();
    // SAFETY: the caller's promise.
    unsafe { put(free, memory_size().saturating_sub(used)).max(put(total, memory_size())) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Code {
    let mut state = state();
    if bytes == 0 {
        return INVALID_VALUE;
    }
    if state.memory().bytes() + bytes > memory_size() {
        return OUT_OF_MEMORY;
    }
    // SAFETY: the caller's promise.
    unsafe { put(address, state.memory().allocate(bytes)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Code {
    outcome(state().memory().free(address))
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const u8, bytes: usize) -> Code {
    // SAFETY: the caller gives `bytes` readable bytes.
    outcome(state().memory().write(to, unsafe { std::slice::from_raw_parts(from, bytes) }))
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize) -> Code {
    // SAFETY: the caller gives `bytes` writable bytes.
    outcome(state().memory().read(from, unsafe { std::slice::from_raw_parts_mut(to, bytes) }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Code {
    outcome(state().memory().copy(to, from, bytes))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8_v2(at: u64, value: u8, bytes: usize) -> Code {
    outcome(state().memory().write(at, &vec![value; bytes]))
}

/// The numbers of the options for a log of errors, and its size.
const ERROR_LOG: c_uint = 5;
const ERROR_LOG_SIZE: c_uint = 6;

/// # Safety
/// As above.
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
    match parse(&text) {
        Ok(function) => {
            let mut state = state();
            state.functions.push((function, text));
            let handle = std::ptr::without_provenance_mut(state.functions.len());
            // SAFETY: the caller's promise.
            unsafe { put(module, handle) }
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
        Some((found, _)) if found.name == name => unsafe { put(function, module) },
        Some(_) | None => NOT_FOUND,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(_: *mut c_void) -> Code {
    OK
}

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
    _stream: *mut c_void,
    parameters: *const *const u64,
    _extra: *mut c_void,
) -> Code {
    let mut state = state();
    state.launches += 1;
    if setting("BDL_STAND_IN_LOST_AFTER").is_some_and(|most| state.launches > most) {
        return told("the device is lost, as it was asked to be", LAUNCH_FAILED);
    }
    let order = 2 * state.launches + 1;
    let State { memory, functions, .. } = &mut *state;
    let Some((function, text)) = functions.get(function.addr().wrapping_sub(1)) else { return NOT_FOUND };
    if [blocks_z, threads_y, threads_z] != [1, 1, 1] || shared != 0 || blocks_x == 0 || blocks_y == 0 || threads_x == 0
    {
        return told("a launch that bdl does not make", INVALID_VALUE);
    }
    // SAFETY: the caller gives the address of each of the function's parameters, which all have 64 bits.
    let parameters: Vec<u64> = (0..function.parameters.len()).map(|i| unsafe { **parameters.add(i) }).collect();
    let how = Launch { blocks: [blocks_x, blocks_y, 1], threads: threads_x, shared: 0, parameters: &parameters, order };
    match launch(function, memory.get_or_insert_with(Memory::new), &how) {
        Ok(_) => OK,
        Err(fault) => {
            let line = fault.line.checked_sub(1).and_then(|at| text.lines().nth(at)).unwrap_or("");
            told(format_args!("{}: {fault}\n  {}", function.name, line.trim()), LAUNCH_FAILED)
        }
    }
}

fn name_of(code: Code) -> (&'static CStr, &'static CStr) {
    match code {
        OK => (c"CUDA_SUCCESS", c"no error"),
        INVALID_VALUE => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        NO_DEVICE => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        INVALID_DEVICE => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        INVALID_PTX => (c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
        NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        ILLEGAL_ADDRESS => (c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
        LAUNCH_FAILED => (c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
        _ => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
    }
}

/// # Safety
/// As above.
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
