//! Threads with room for terms that nest as deeply as the program does.

use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Bytes of stack, touched only as far as they are used.
const STACK: usize = 512 << 20;

/// Starts `work` on a thread of its own, with a stack on which a deep term does not end the process. The result waits for it; where
/// there is no thread to be had, it does the work itself.
pub fn start<'s, T: Send + 's>(scope: &'s Scope<'s, '_>, work: &'s (impl Fn() -> T + Sync)) -> impl FnOnce() -> T + 's {
    let started = Builder::new().stack_size(STACK).spawn_scoped(scope, work);
    move || match started.map(ScopedJoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => work(),
    }
}
