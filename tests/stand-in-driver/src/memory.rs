//! Memory of the device, page-locked memory of the host, copies.

use crate::work::{Work, code, outcome};
use crate::{Code, INVALID_VALUE, OUT_OF_MEMORY, put, setting, state};
use std::alloc::Layout;
use std::ffi::{c_uint, c_void};

fn memory_size() -> usize {
    setting("BDL_STAND_IN_MEMORY").unwrap_or(4 << 30) as usize
}

/// # Safety
/// See CUDA's documentation; so for all that follows.
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
    if let Err(error) = state.may_wait() {
        return error;
    }
    if bytes == 0 {
        return INVALID_VALUE;
    }
    if state.memory().bytes() + bytes > memory_size() {
        return OUT_OF_MEMORY;
    }
    // SAFETY: the caller's promise.
    unsafe { put(address, state.memory().allocate(bytes)) }
}

/// Waits for all work, which may need the memory.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Code {
    let mut state = state();
    let mut free = || {
        state.may_wait()?;
        state.drain_all()?;
        outcome(state.memory().free(address))
    };
    code(free())
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const u8, bytes: usize) -> Code {
    let mut state = state();
    let mut copy = || {
        state.join_legacy()?;
        state.may_wait()?;
        // SAFETY: the caller gives `bytes` readable bytes.
        outcome(state.memory().write(to, unsafe { std::slice::from_raw_parts(from, bytes) }))
    };
    code(copy())
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize) -> Code {
    let mut state = state();
    let mut copy = || {
        state.join_legacy()?;
        state.may_wait()?;
        // SAFETY: the caller gives `bytes` writable bytes.
        outcome(state.memory().read(from, unsafe { std::slice::from_raw_parts_mut(to, bytes) }))
    };
    code(copy())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Code {
    cuMemcpyDtoDAsync_v2(to, from, bytes, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8_v2(at: u64, value: u8, bytes: usize) -> Code {
    cuMemsetD8Async(at, value, bytes, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32_v2(at: u64, value: c_uint, words: usize) -> Code {
    cuMemsetD32Async(at, value, words, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(at: u64, value: u8, bytes: usize, stream: *mut c_void) -> Code {
    code(state().submit(stream, Work::Set { at, pattern: vec![value], times: bytes }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32Async(at: u64, value: c_uint, words: usize, stream: *mut c_void) -> Code {
    if !at.is_multiple_of(4) {
        return INVALID_VALUE;
    }
    code(state().submit(stream, Work::Set { at, pattern: value.to_le_bytes().to_vec(), times: words }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut c_void) -> Code {
    code(state().submit(stream, Work::Copy { to, from, bytes }))
}

/// From page-locked memory it is read when the copy happens; from other memory now.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: *mut c_void) -> Code {
    let mut state = state();
    let work = match state.is_locked(from.addr(), bytes) {
        true => Work::Upload { to, from: from.addr(), bytes },
        // SAFETY: the caller gives `bytes` readable bytes.
        false => Work::Write { to, bytes: unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec() },
    };
    code(state.submit(stream, work))
}

/// Into page-locked memory it comes when the copy happens; into other memory now, after what the stream has to do before.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: *mut c_void) -> Code {
    let mut state = state();
    if state.is_locked(to.addr(), bytes) {
        return code(state.submit(stream, Work::Download { to: to.addr(), from, bytes }));
    }
    let mut copy = || {
        // Nothing, but where it must come to pass: a capture has no place for it.
        state.submit(stream, Work::Write { to: from, bytes: Vec::new() })?;
        state.drain(stream.addr())?;
        // SAFETY: the caller gives `bytes` writable bytes.
        outcome(state.memory().read(from, unsafe { std::slice::from_raw_parts_mut(to, bytes) }))
    };
    code(copy())
}

/// Of a page each.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, 4096).ok().filter(|_| bytes > 0)
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, _: c_uint) -> Code {
    let mut state = state();
    if let Err(error) = state.may_wait() {
        return error;
    }
    let Some(layout) = layout(bytes) else { return INVALID_VALUE };
    // SAFETY: of more than no bytes.
    let new = unsafe { std::alloc::alloc(layout) };
    if new.is_null() {
        return OUT_OF_MEMORY;
    }
    // SAFETY: just allocated. Nobody may rely on what is in it.
    unsafe { new.write_bytes(0xa5, bytes) };
    state.locked.insert(new.expose_provenance(), bytes);
    // SAFETY: the caller's promise.
    unsafe { put(address, new.cast()) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuMemHostAlloc(address, bytes, 0) }
}

/// Waits for all work, which may need the memory.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(address: *mut c_void) -> Code {
    let mut state = state();
    let waited = state.may_wait().and_then(|()| state.drain_all());
    let Some(layout) = state.locked.remove(&address.addr()).and_then(layout) else { return INVALID_VALUE };
    // SAFETY: allocated by `cuMemHostAlloc` with this layout.
    unsafe { std::alloc::dealloc(address.cast(), layout) };
    code(waited)
}
