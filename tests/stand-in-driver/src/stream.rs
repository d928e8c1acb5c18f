//! Streams and events.

use crate::work::{Capture, Event, Stream, Work, code, is_legacy};
use crate::{
    CAPTURE_INVALIDATED, CAPTURE_UNSUPPORTED, CAPTURE_WRONG_THREAD, ILLEGAL_STATE, INVALID_HANDLE, INVALID_VALUE,
    NOT_READY,
};
use crate::{Code, OK, handle, put, state, told};
use std::ffi::{c_int, c_uint, c_void};

/// A stream that has nothing to do with the legacy stream.
const NON_BLOCKING: c_uint = 1;
/// An event whose time nobody asks for.
const DISABLE_TIMING: c_uint = 2;

/// # Safety
/// See CUDA's documentation; so for all that follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut *mut c_void, flags: c_uint) -> Code {
    if flags > NON_BLOCKING {
        return INVALID_VALUE;
    }
    let mut state = state();
    let new = state.new_handle();
    state.streams.insert(new, Stream { is_apart: flags == NON_BLOCKING, ..Stream::default() });
    // SAFETY: the caller's promise.
    unsafe { put(stream, handle(new)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> Code {
    let mut state = state();
    if !state.streams.contains_key(&stream.addr()) {
        return INVALID_HANDLE;
    }
    // What was begun is finished.
    let done = state.drain(stream.addr());
    state.streams.remove(&stream.addr());
    code(done)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> Code {
    let mut state = state();
    if is_legacy(stream.addr()) {
        return code(state.join_legacy());
    }
    match state.streams.get_mut(&stream.addr()) {
        None => INVALID_HANDLE,
        Some(Stream { capture: Some(capture), .. }) => {
            capture.invalidated = true;
            told("a stream that is captured cannot be waited for", CAPTURE_UNSUPPORTED)
        }
        Some(_) => code(state.drain(stream.addr())),
    }
}

/// Says once that there is work, and does it.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(stream: *mut c_void) -> Code {
    let waits = state().streams.get(&stream.addr()).is_some_and(|stream| !stream.is_idle());
    match cuStreamSynchronize(stream) {
        OK if waits => NOT_READY,
        done => done,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _: c_uint) -> Code {
    let mut state = state();
    if !state.events.contains_key(&event.addr()) {
        return INVALID_HANDLE;
    }
    code(state.submit(stream, Work::Wait { event: event.addr() }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: *mut c_void, mode: c_uint) -> Code {
    let mut state = state();
    if is_legacy(stream.addr()) {
        return told("the legacy stream cannot be captured", CAPTURE_UNSUPPORTED);
    }
    let Some(own) = state.streams.get_mut(&stream.addr()) else { return INVALID_HANDLE };
    if own.capture.is_some() {
        return ILLEGAL_STATE;
    }
    if mode > 2 {
        return INVALID_VALUE;
    }
    own.capture = Some(Capture { work: Vec::new(), mode, thread: std::thread::current().id(), invalidated: false });
    OK
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: *mut c_void, graph: *mut *mut c_void) -> Code {
    let mut state = state();
    let Some(own) = state.streams.get_mut(&stream.addr()) else { return INVALID_HANDLE };
    let found = match own.capture.take() {
        None => Err(ILLEGAL_STATE),
        Some(capture) if capture.mode != crate::work::RELAXED && capture.thread != std::thread::current().id() => {
            own.capture = Some(capture);
            return CAPTURE_WRONG_THREAD;
        }
        Some(capture) if capture.invalidated => Err(CAPTURE_INVALIDATED),
        Some(capture) => Ok(capture.work),
    };
    match found {
        Ok(work) => {
            let new = state.new_handle();
            state.graphs.insert(new, work);
            // SAFETY: the caller's promise.
            unsafe { put(graph, handle(new)) }
        }
        Err(error) => {
            // SAFETY: the caller's promise.
            unsafe { put(graph, std::ptr::null_mut()) };
            error
        }
    }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamIsCapturing(stream: *mut c_void, status: *mut c_int) -> Code {
    let state = state();
    let found = match state.streams.get(&stream.addr()) {
        None if is_legacy(stream.addr()) => 0,
        None => return INVALID_HANDLE,
        Some(Stream { capture: None, .. }) => 0,
        Some(Stream { capture: Some(capture), .. }) => 1 + c_int::from(capture.invalidated),
    };
    // SAFETY: the caller's promise.
    unsafe { put(status, found) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, flags: c_uint) -> Code {
    let mut state = state();
    let new = state.new_handle();
    let made = Event { has_time: flags & DISABLE_TIMING == 0, stream: None, pending: 0, at: None };
    state.events.insert(new, made);
    // SAFETY: the caller's promise.
    unsafe { put(event, handle(new)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> Code {
    match state().events.remove(&event.addr()) {
        Some(_) => OK,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> Code {
    let mut state = state();
    if !state.events.contains_key(&event.addr()) {
        return INVALID_HANDLE;
    }
    code(state.submit(stream, Work::Record { event: event.addr() }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: *mut c_void) -> Code {
    let mut state = state();
    if !state.events.contains_key(&event.addr()) {
        return INVALID_HANDLE;
    }
    code(state.may_wait().and_then(|()| state.await_event(event.addr())))
}

/// Says once that the event is to come, and brings it.
#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: *mut c_void) -> Code {
    let waits = state().events.get(&event.addr()).is_some_and(|event| event.pending > 0);
    match cuEventSynchronize(event) {
        OK if waits => NOT_READY,
        done => done,
    }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) -> Code {
    let state = state();
    let [Some(start), Some(end)] = [start, end].map(|event| state.events.get(&event.addr())) else {
        return INVALID_HANDLE;
    };
    if !start.has_time || !end.has_time {
        return INVALID_HANDLE;
    }
    if start.pending + end.pending > 0 {
        return NOT_READY;
    }
    let (Some(start), Some(end)) = (start.at, end.at) else { return INVALID_HANDLE };
    let seconds = match end.checked_duration_since(start) {
        Some(later) => later.as_secs_f32(),
        None => -start.duration_since(end).as_secs_f32(),
    };
    // SAFETY: the caller's promise.
    unsafe { put(milliseconds, 1e3 * seconds) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: *mut c_void, end: *mut c_void) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuEventElapsedTime(milliseconds, start, end) }
}
