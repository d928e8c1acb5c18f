//! What blocks of one launch know of each other: an atomic operation tells how far its block has come, and learns what was told at that address.
//!
//! A write of another block is seen if its thread passed a fence after it, its block then a barrier (or the thread itself told), and the atomic operation
//! came after that.

use crate::memory::Access;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an atomic operation tells.
#[derive(Clone, Debug)]
pub struct Published {
    pub block: u32,
    pub thread: u32,
    /// That the block has passed.
    pub barriers: u32,
    /// That each thread has passed.
    pub fences: Vec<u32>,
}

impl Published {
    fn covers(&self, write: &Access) -> bool {
        let fenced = self.fences.get(write.thread as usize).is_some_and(|fences| write.fences < *fences);
        fenced && (write.barriers < self.barriers || write.thread == self.thread)
    }
}

#[derive(Default)]
struct Known {
    /// By address.
    told: HashMap<u64, Vec<Published>>,
    /// What the block that runs has learnt.
    learnt: Vec<Published>,
}

/// Shared by all allocations of a memory.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<Known>>);

impl Turns {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn next_launch(&self) {
        *self.known() = Known::default();
    }

    pub fn next_block(&self) {
        self.known().learnt.clear();
    }

    pub fn take(&self, address: u64, published: Published) {
        let mut known = self.known();
        let told = known.told.entry(address).or_default().clone();
        known.learnt.extend(told);
        known.told.entry(address).or_default().push(published);
    }

    /// Is this write, of another block of the launch, to be seen?
    pub fn knows(&self, write: &Access) -> bool {
        self.known().learnt.iter().any(|published| published.block == write.block && published.covers(write))
    }
}
