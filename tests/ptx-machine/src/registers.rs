//! The registers of a warp: of each, the bits in all lanes, and in which of them they come from what somebody wrote.

use crate::instruction::{Constant, Declared, Function, Register, Special};

pub const LANES: usize = 32;

/// Of each lane of a warp.
pub type Lanes<T> = [T; LANES];

/// A bit for each lane.
pub type Mask = u32;

/// The lanes of a mask, from the lowest.
pub fn lanes(mask: Mask) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

/// Registers of one width.
pub struct File<T> {
    values: Vec<Lanes<T>>,
    known: Vec<Mask>,
    declared: usize,
}

impl<T: Copy + Default> File<T> {
    fn new(registers: &Declared) -> File<T> {
        let count = registers.declared + registers.constants.len();
        File { values: vec![[T::default(); LANES]; count], known: vec![0; count], declared: registers.declared }
    }

    #[inline]
    pub fn at(&self, register: Register) -> &Lanes<T> {
        &self.values[register as usize]
    }

    #[inline]
    pub fn known(&self, register: Register) -> Mask {
        self.known[register as usize]
    }

    #[inline]
    fn set(&mut self, register: Register, values: &Lanes<T>, known: Mask, mask: Mask) {
        let own = &mut self.values[register as usize];
        if mask == Mask::MAX {
            *own = *values;
        } else {
            for (lane, (own, value)) in own.iter_mut().zip(values).enumerate() {
                *own = if mask >> lane & 1 == 1 { *value } else { *own };
            }
        }
        let own = &mut self.known[register as usize];
        *own = *own & !mask | known & mask;
    }

    /// Nobody has written anything yet, but what stands in constants.
    fn restart(&mut self, constants: impl Iterator<Item = Lanes<T>>) {
        self.known[..self.declared].fill(0);
        for (i, values) in constants.enumerate() {
            (self.values[self.declared + i], self.known[self.declared + i]) = (values, Mask::MAX);
        }
    }
}

/// What tensor cores know of a word that is a sum of products, by lanes. In none of the two masks, it is as much as the thread knows.
#[derive(Clone, Copy, Default)]
struct Sum {
    /// It was written, and they need not know.
    written: Mask,
    /// A product may add to it at any time: as if nobody had written it,
    pending: Mask,
    /// until that is over.
    then_known: Mask,
}

pub struct Registers {
    words: File<u32>,
    longs: File<u64>,
    truths: Vec<Mask>,
    truths_known: Vec<Mask>,
    /// Of words; empty until somebody asks tensor cores.
    sums: Vec<Sum>,
}

impl Registers {
    pub fn new(function: &Function) -> Registers {
        Registers {
            words: File::new(&function.words),
            longs: File::new(&function.longs),
            truths: vec![0; function.truths],
            truths_known: vec![0; function.truths],
            sums: Vec::new(),
        }
    }

    /// As a block at this place finds them; `first` is the number of the warp's first thread.
    pub fn restart(&mut self, function: &Function, first: u32, place: [u32; 3]) {
        let of_lane = |constant: &Constant, lane: usize| match constant {
            Constant::Number(bits) => *bits,
            Constant::Special(Special::Thread) => u64::from(first) + lane as u64,
            Constant::Special(Special::Lane) => lane as u64,
            Constant::Special(Special::BlockX) => u64::from(place[0]),
            Constant::Special(Special::BlockY) => u64::from(place[1]),
            Constant::Special(Special::BlockZ) => u64::from(place[2]),
        };
        let constants = &function.words.constants;
        self.words.restart(constants.iter().map(|c| std::array::from_fn(|lane| of_lane(c, lane) as u32)));
        let constants = &function.longs.constants;
        self.longs.restart(constants.iter().map(|c| std::array::from_fn(|lane| of_lane(c, lane))));
        self.truths_known.fill(0);
        self.sums.clear();
    }

    #[inline]
    pub fn words(&self) -> &File<u32> {
        &self.words
    }

    #[inline]
    pub fn longs(&self) -> &File<u64> {
        &self.longs
    }

    /// Where it is true, and where somebody wrote it.
    #[inline]
    pub fn truth(&self, register: Register) -> (Mask, Mask) {
        (self.truths[register as usize], self.truths_known[register as usize])
    }

    #[inline]
    pub fn set_words(&mut self, register: Register, values: &Lanes<u32>, known: Mask, mask: Mask) {
        let mut known = known;
        if let Some(sum) = self.sums.get_mut(register as usize) {
            known &= !sum.pending;
            sum.written |= mask;
            sum.pending &= !mask;
        }
        self.words.set(register, values, known, mask);
    }

    #[inline]
    pub fn set_longs(&mut self, register: Register, values: &Lanes<u64>, known: Mask, mask: Mask) {
        self.longs.set(register, values, known, mask);
    }

    #[inline]
    pub fn set_truth(&mut self, register: Register, truth: Mask, known: Mask, mask: Mask) {
        let (own, own_known) = (&mut self.truths[register as usize], &mut self.truths_known[register as usize]);
        *own = *own & !mask | truth & mask;
        *own_known = *own_known & !mask | known & mask;
    }

    /// A word that a product is to add to: its bits, and where somebody wrote them.
    pub fn take_sum(&mut self, register: Register, line: usize) -> Result<(Lanes<u32>, Mask), String> {
        let Some(sum) = self.sums.get(register as usize) else {
            // Nothing was told yet.
            return Err(format!("a product of line {line} without a `wgmma.fence` before it"));
        };
        if sum.written != 0 {
            return Err("a sum that was written, and no `wgmma.fence` lies between".to_string());
        }
        let known = self.words.known(register) & !sum.pending | sum.then_known & sum.pending;
        Ok((*self.words.at(register), known))
    }

    /// What a product makes of it, once somebody has waited.
    pub fn give_sum(&mut self, register: Register, values: &Lanes<u32>, known: Mask) {
        self.words.set(register, values, 0, Mask::MAX);
        self.sums[register as usize] = Sum { written: 0, pending: Mask::MAX, then_known: known };
    }

    /// `wgmma.fence`
    pub fn tell_sums(&mut self) {
        self.sums.resize(self.words.declared, Sum::default());
        self.sums.iter_mut().for_each(|sum| sum.written = 0);
    }

    /// A wait is over: these registers are still added to, others no more.
    pub fn settle_sums(&mut self, pending: &[Register]) {
        for (register, sum) in self.sums.iter_mut().enumerate().filter(|(_, sum)| sum.pending != 0) {
            if !pending.contains(&(register as Register)) {
                let known = &mut self.words.known[register];
                *known = *known & !sum.pending | sum.then_known & sum.pending;
                sum.pending = 0;
            }
        }
    }
}
