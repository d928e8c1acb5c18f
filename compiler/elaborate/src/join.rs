//! Programs that know nothing of each other are made side by side.

/// Both results; the second is computed on a thread of its own.
pub(crate) fn join<A, B: Send>(a: impl FnOnce() -> A, b: impl Fn() -> B + Sync) -> (A, B) {
    std::thread::scope(|scope| {
        let b = bdl_check::stack::start(scope, &b);
        (a(), b())
    })
}
