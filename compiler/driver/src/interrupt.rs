//! Ctrl-C: a flag that whatever takes long looks at.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C sets the flag instead of ending the process.
pub fn listen() {
    // A second handler is refused; the first one then stays, with the same effect.
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst));
}

/// Was Ctrl-C pressed since [`clear`]?
pub fn is_set() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

pub fn clear() {
    INTERRUPTED.store(false, Ordering::SeqCst);
}
