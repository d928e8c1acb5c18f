//! Who touches memory, and when: enough to say whether a barrier lies between two accesses of one launch. Launches follow each other.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub block: u32,
    pub thread: u16,
    pub warp: u16,
    /// Barriers of the block, and of the warp, that the thread has passed.
    pub barriers: u32,
    pub warp_barriers: u32,
    /// Fences that the thread has passed.
    pub fences: u32,
}

/// More than one thread or warp,
pub const SEVERAL: u16 = u16::MAX;
/// or block.
pub const SEVERAL_BLOCKS: u32 = u32::MAX;

/// No access of this launch.
pub const NOBODY: Access = Access { block: u32::MAX - 1, thread: 0, warp: 0, barriers: 0, warp_barriers: 0, fences: 0 };

impl Access {
    pub fn is_of_nobody(&self) -> bool {
        self.block == NOBODY.block
    }

    /// Is `self` over before `now` begins, whatever the order of threads?
    #[inline]
    pub fn is_before(&self, now: &Access) -> bool {
        if self.block != now.block {
            return self.is_of_nobody();
        }
        let of_one_thread = self.thread == now.thread && self.thread != SEVERAL;
        if of_one_thread || self.barriers < now.barriers {
            return true;
        }
        self.warp == now.warp && self.warp != SEVERAL && self.warp_barriers < now.warp_barriers
    }

    /// What stands for both, where neither comes first.
    pub fn with(self, other: &Access) -> Access {
        let several = |a: u16, b: u16| if a == b { a } else { SEVERAL };
        Access {
            block: if self.block == other.block { self.block } else { SEVERAL_BLOCKS },
            thread: several(self.thread, other.thread),
            warp: several(self.warp, other.warp),
            barriers: self.barriers.max(other.barriers),
            warp_barriers: self.warp_barriers.max(other.warp_barriers),
            fences: self.fences.max(other.fences),
        }
    }
}
