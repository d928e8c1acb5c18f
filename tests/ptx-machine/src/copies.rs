//! Asynchronous copies of a thread from global to shared memory (`cp.async`), and the groups in which it waits for them.
//!
//! ```text
//! cp.async   ──► open ──commit_group──► groups ──wait_group n──► all but the last n groups are over
//! ```
//!
//! A copy may happen at any time until the wait that covers it. So its target belongs to nobody until then, its source is read twice, at the
//! first and at the last possible moment, and both must be the same. The wait makes the bytes visible to the thread that waits; for others it
//! counts as a write of this thread at that moment, which a barrier must follow. A thread that returns has waited for all of its copies.

use crate::Fault;
use crate::access::Access;
use crate::allocation::{Allocation, Bytes, Incoming};
use crate::memory::Memory;
use std::collections::VecDeque;

/// A copy of `filled` bytes, and of zeros up to `size`.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub to: u64,
    pub from: u64,
    pub size: usize,
    pub filled: usize,
    pub line: usize,
}

impl Copy {
    fn read(&self, memory: &mut Memory, now: &Access) -> Result<Bytes, Fault> {
        let mut bytes = match self.filled {
            0 => Bytes::default(),
            filled => memory.at(self.from)?.read(self.from, filled, self.size, now)?,
        };
        bytes.written[self.filled..].fill(true);
        Ok(bytes)
    }
}

#[derive(Default)]
pub struct Copies {
    open: Vec<(Copy, Bytes)>,
    groups: VecDeque<Vec<(Copy, Bytes)>>,
}

impl Copies {
    pub fn begin(
        &mut self,
        copy: Copy,
        shared: &mut Allocation,
        memory: &mut Memory,
        now: &Access,
    ) -> Result<(), Fault> {
        let Copy { to, from, size, filled, line } = copy;
        if filled > size {
            return Err(Fault::new(format!("fills {filled} of {size} bytes")));
        }
        if !from.is_multiple_of(size as u64) {
            return Err(Fault::new(format!("a copy of {size} bytes from {from:#x}, which is not aligned")));
        }
        shared.expect(to, size, Incoming { thread: now.thread, line }, now)?;
        let bytes = copy.read(memory, now)?;
        self.open.push((copy, bytes));
        Ok(())
    }

    pub fn commit(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open));
    }

    /// `left`: groups that may go on; nothing may without it.
    pub fn wait(
        &mut self,
        left: Option<usize>,
        shared: &mut Allocation,
        memory: &mut Memory,
        now: &Access,
    ) -> Result<(), Fault> {
        if left.is_none() {
            self.commit();
        }
        while self.groups.len() > left.unwrap_or(0) {
            for (copy, first) in self.groups.pop_front().unwrap_or_default() {
                if copy.read(memory, now)? != first {
                    let line = copy.line;
                    return Err(Fault::new(format!(
                        "what the asynchronous copy of line {line} reads was written before the thread waited for it"
                    )));
                }
                shared.receive(copy.to, copy.size, &first, now)?;
            }
        }
        Ok(())
    }

    /// The line of a copy that nobody has waited for.
    pub fn unfinished(&self) -> Option<usize> {
        let (copy, _) = self.groups.iter().flatten().chain(&self.open).next()?;
        Some(copy.line)
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.groups.clear();
    }
}
