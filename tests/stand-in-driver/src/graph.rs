//! Graphs: what a stream has recorded, to be done again and again.

use crate::work::{Work, code};
use crate::{CAPTURE_UNSUPPORTED, GRAPH_EXEC_UPDATE_FAILURE, INVALID_HANDLE, INVALID_VALUE};
use crate::{Code, OK, handle, put, state, told};
use std::ffi::{c_int, c_ulonglong, c_void};

/// What an update of an executable graph says.
#[repr(C)]
pub struct Update {
    result: c_int,
    node: *mut c_void,
    from_node: *mut c_void,
}

const UPDATED: c_int = 0;
const TOPOLOGY_CHANGED: c_int = 2;
const KIND_CHANGED: c_int = 3;

/// # Safety
/// See CUDA's documentation; so for all that follows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut *mut c_void,
    graph: *mut c_void,
    flags: c_ulonglong,
) -> Code {
    let mut state = state();
    let Some(work) = state.graphs.get(&graph.addr()).cloned() else { return INVALID_HANDLE };
    if flags != 0 {
        return told("a flag of graphs that bdl does not use", INVALID_VALUE);
    }
    let new = state.new_handle();
    state.executables.insert(new, work);
    state.graphs_made += 1;
    // SAFETY: the caller's promise.
    unsafe { put(executable, handle(new)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: *mut c_void) -> Code {
    match state().graphs.remove(&graph.addr()) {
        Some(_) => OK,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(executable: *mut c_void) -> Code {
    match state().executables.remove(&executable.addr()) {
        Some(_) => OK,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphUpload(executable: *mut c_void, _: *mut c_void) -> Code {
    match state().executables.contains_key(&executable.addr()) {
        true => OK,
        false => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(executable: *mut c_void, stream: *mut c_void) -> Code {
    let mut state = state();
    let Some(work) = state.executables.get(&executable.addr()).cloned() else { return INVALID_HANDLE };
    if state.streams.get(&stream.addr()).is_some_and(|stream| stream.capture.is_some()) {
        return told("a graph of this driver has no place for graphs", CAPTURE_UNSUPPORTED);
    }
    state.graphs_launched += 1;
    code(work.into_iter().try_for_each(|work| state.submit(stream, work)))
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphGetNodes(graph: *mut c_void, nodes: *mut *mut c_void, count: *mut usize) -> Code {
    let state = state();
    let Some(work) = state.graphs.get(&graph.addr()) else { return INVALID_HANDLE };
    if nodes.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { put(count, work.len()) };
    }
    // SAFETY: the caller gives room for `count` handles.
    let room = unsafe { *count };
    for i in 0..room {
        // SAFETY: as above. Beyond the last node stands null.
        unsafe { nodes.add(i).write(if i < work.len() { handle(graph.addr() + i + 1) } else { std::ptr::null_mut() }) };
    }
    // SAFETY: the caller's promise.
    unsafe { put(count, room.min(work.len())) }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphExecUpdate_v2(executable: *mut c_void, graph: *mut c_void, said: *mut Update) -> Code {
    let mut state = state();
    let Some(new) = state.graphs.get(&graph.addr()).cloned() else { return INVALID_HANDLE };
    let Some(old) = state.executables.get_mut(&executable.addr()) else { return INVALID_HANDLE };
    let kind = |work: &Work| std::mem::discriminant(work);
    let result = match () {
        () if old.len() != new.len() => TOPOLOGY_CHANGED,
        () if old.iter().zip(&new).any(|(old, new)| kind(old) != kind(new)) => KIND_CHANGED,
        () => {
            *old = new;
            UPDATED
        }
    };
    // SAFETY: the caller's promise.
    let put = unsafe { put(said, Update { result, node: std::ptr::null_mut(), from_node: std::ptr::null_mut() }) };
    if result == UPDATED { put } else { GRAPH_EXEC_UPDATE_FAILURE }
}
