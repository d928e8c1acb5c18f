//! Equal kernels once: four equal blocks of a model share code, because buffers and sizes are arguments.
//!
//! Two kernels are equal if they differ in names only. The first one's names stay.

use bdl_plan::{Kernel, KernelId};
use rustc_hash::FxHashMap as HashMap;

#[derive(Default)]
pub(crate) struct Kernels {
    pub list: Vec<Kernel>,
    known: HashMap<String, KernelId>,
}

impl Kernels {
    pub fn add(&mut self, kernel: Kernel) -> KernelId {
        let id = KernelId(self.list.len() as u32);
        let id = *self.known.entry(key(&kernel)).or_insert(id);
        if id.0 as usize == self.list.len() {
            self.list.push(kernel);
        }
        id
    }
}

/// The kernel without its names. Sizes keep theirs: they are looked up by it.
fn key(kernel: &Kernel) -> String {
    let mut bare = kernel.clone();
    bare.name = "".into();
    for buffer in &mut bare.buffers {
        buffer.name = "".into();
    }
    for index in &mut bare.indices {
        *index = "".into();
    }
    bare.to_string()
}
