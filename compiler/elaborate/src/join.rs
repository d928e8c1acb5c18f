//! Programs that know nothing of each other are made side by side.

use std::thread;

/// Bytes of stack, touched only as far as they are used: terms nest as deeply as the program does.
const STACK: usize = 512 << 20;

/// Both results; the second is computed on a thread of its own.
pub(crate) fn join<A, B: Send>(a: impl FnOnce() -> A, b: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let other = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, &b);
        let a = a();
        let b = match other.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => b(),
        };
        (a, b)
    })
}
