//! What blocks of one launch know of each other: an atomic operation tells how far its block has come, and learns what was told at that address.
//!
//! ```text
//! a block     touches memory ──► a fence ──► an atomic operation
//!                                                 │ at the same address
//! another                         an atomic operation ──► a fence ──► sees what was touched
//! ```
//!
//! An arrow is the order of one thread's instructions, or a barrier between threads; each fence may be any thread's of its block. That is what PTX's
//! memory model promises: `membar.gl` is `fence.sc` for the whole device, fences of this kind have one order, and in it the fence of those who learn
//! cannot come first. Without one of the two fences nothing is promised. What a block learnt is not told on: nobody needs it so far.

use crate::access::Access;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Fences of a block that have been passed, by thread; each stands for the thread at that moment.
type Fences = Vec<Vec<Access>>;

/// An atomic operation and the fences that its block had passed.
struct Told {
    who: Access,
    fences: Arc<Fences>,
}

/// What the block that runs found at one of its own atomic operations.
struct Learnt {
    by: Access,
    told: Arc<Told>,
}

#[derive(Default)]
struct Known {
    /// By address, in order.
    told: HashMap<u64, Vec<Arc<Told>>>,
    /// By the block that told it.
    learnt: HashMap<u32, Vec<Learnt>>,
    /// Of the block that runs.
    fences: Arc<Fences>,
}

/// Shared by all allocations of a memory.
#[derive(Clone, Default)]
pub struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    /// Of the block that runs; most learn nothing.
    has_learnt: AtomicBool,
}

/// Does a fence lie between two accesses, or atomic operations, of one block?
fn is_fenced(fences: &Fences, before: &Access, after: &Access) -> bool {
    // The order of instructions, where both are of one thread.
    let follows = |fence: &Access| match before.thread == fence.thread {
        true => before.fences <= fence.fences,
        false => before.is_before(fence),
    };
    let precedes = |fence: &Access| match fence.thread == after.thread {
        true => fence.fences < after.fences,
        false => fence.is_before(after),
    };
    let between = |fence: &Access| follows(fence) && precedes(fence);
    let of = |thread: u16| fences.get(usize::from(thread)).is_some_and(|own| own.iter().any(between));
    of(before.thread) || of(after.thread) || fences.iter().flatten().any(between)
}

impl Turns {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn next_launch(&self) {
        *self.known() = Known::default();
        self.0.has_learnt.store(false, Ordering::Relaxed);
    }

    pub fn next_block(&self) {
        let mut known = self.known();
        self.0.has_learnt.store(false, Ordering::Relaxed);
        known.learnt.clear();
        known.fences = Arc::default();
    }

    /// A thread passes a fence.
    pub fn fence(&self, who: Access) {
        let mut known = self.known();
        let fences = Arc::make_mut(&mut known.fences);
        let thread = usize::from(who.thread);
        if fences.len() <= thread {
            fences.resize(thread + 1, Vec::new());
        }
        fences[thread].push(who);
    }

    /// An atomic operation: tells those that come later at this address, and learns what those before told.
    pub fn take(&self, address: u64, who: Access) {
        let mut known = self.known();
        let Known { told, learnt, fences } = &mut *known;
        let told = told.entry(address).or_default();
        for before in told.iter() {
            learnt.entry(before.who.block).or_default().push(Learnt { by: who, told: before.clone() });
            self.0.has_learnt.store(true, Ordering::Relaxed);
        }
        told.push(Arc::new(Told { who, fences: fences.clone() }));
    }

    /// Has this access, of another block of the launch, happened for who comes `now`?
    #[inline]
    pub fn knows(&self, access: &Access, now: &Access) -> bool {
        self.has_learnt() && self.looks_up(access, now)
    }

    /// Has the block that runs learnt anything?
    #[inline]
    pub fn has_learnt(&self) -> bool {
        self.0.has_learnt.load(Ordering::Relaxed)
    }

    fn looks_up(&self, access: &Access, now: &Access) -> bool {
        let known = self.known();
        let is_learnt = |learnt: &Learnt| {
            is_fenced(&learnt.told.fences, access, &learnt.told.who) && is_fenced(&known.fences, &learnt.by, now)
        };
        known.learnt.get(&access.block).is_some_and(|of_block| of_block.iter().any(is_learnt))
    }
}
