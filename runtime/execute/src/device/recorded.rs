//! Runs that differ in nothing but the bytes of their inputs: their launches are recorded once and made again all at once.
//!
//! A run is told by its sizes, by every address that its launches mention, and by the examples' lengths where launches depend on each of them.
//! What was recorded holds as long as those are the same; a run with others (the last batch of an epoch) is launched one by one, and recorded when
//! it comes a second time.

use super::program::DeviceProgram;
use super::{Device, Recording};
use crate::compiled::{CompiledEnds, CompiledLaunch, CompiledOp};
use crate::error::Error;
use std::collections::VecDeque;

/// Recordings that are kept for one program, and runs that may come again.
const MOST: usize = 4;

#[derive(Default)]
pub struct Recorded {
    known: VecDeque<Known>,
    /// What runs mentioned that were launched one by one, lately.
    seen: VecDeque<Vec<u64>>,
}

struct Known {
    mentioned: Vec<u64>,
    recording: Recording,
    /// For each contraction, in such a run.
    flop: Vec<u64>,
}

impl Recorded {
    pub fn release<D: Device>(&mut self, device: &mut D) {
        for known in self.known.drain(..) {
            device.throw_away(known.recording);
        }
    }
}

impl DeviceProgram {
    /// Everything that a launch's arguments come from.
    fn mentioned(&self) -> Vec<u64> {
        let lists = self.list_addresses();
        let shared = [self.moment, self.position_list, self.partials, self.counters].map(|block| block.address);
        let counts = [self.positions.len() as u64];
        let sizes = self.sizes.iter().map(|size| *size as u64);
        let mut of_examples: Vec<(&usize, &Vec<i64>)> = match self.depends_on_lengths {
            true => self.lengths.iter().collect(),
            false => Vec::new(),
        };
        of_examples.sort_unstable();
        let lengths = of_examples.into_iter().flat_map(|(_, lengths)| lengths).map(|length| *length as u64);
        let addresses = self.addresses.iter().copied();
        sizes.chain(addresses).chain(lists).chain(shared).chain(counts).chain(lengths).collect()
    }

    /// All launches, recorded where that is possible.
    pub(super) fn run_recorded<D: Device>(&mut self, device: &mut D) -> Result<(), Error> {
        if !device.records() || !self.is_recordable || self.profile.is_some() {
            return self.run_launches(device);
        }
        let now = self.mentioned();
        if let Some(known) = self.recorded.known.iter().find(|known| known.mentioned == now) {
            self.flop.clone_from(&known.flop);
            return device.replay(known.recording);
        }
        let Some(at) = self.recorded.seen.iter().position(|seen| *seen == now) else {
            self.run_launches(device)?;
            // Room for partial sums may have grown meanwhile.
            let now = self.mentioned();
            remember(&mut self.recorded.seen, now);
            return Ok(());
        };
        device.begin_recording()?;
        let launched = self.run_launches(device);
        let recording = device.end_recording();
        launched?;
        let recording = recording?;
        self.recorded.seen.remove(at);
        if let Some(oldest) =
            remember(&mut self.recorded.known, Known { mentioned: now, recording, flop: self.flop.clone() })
        {
            device.throw_away(oldest.recording);
        }
        device.replay(recording)
    }
}

/// Adds what is newest; gives the oldest where they become too many.
fn remember<T>(list: &mut VecDeque<T>, newest: T) -> Option<T> {
    list.push_back(newest);
    if list.len() > MOST { list.pop_front() } else { None }
}

/// Is every launch decided by sizes alone, without a look at what the device holds?
pub fn is_recordable(launches: &[CompiledLaunch<usize>]) -> bool {
    launches.iter().all(|launch| match &launch.op {
        CompiledOp::Kernel(_) | CompiledOp::Contract(_) | CompiledOp::Draw { .. } => true,
        CompiledOp::Copy { .. } | CompiledOp::Clear { .. } => true,
        CompiledOp::Scan { ends: None, body, .. } => is_recordable(body),
        CompiledOp::Scan { ends: Some(CompiledEnds::After { .. } | CompiledEnds::When { .. }), .. } => false,
        CompiledOp::Order { .. } | CompiledOp::Iterate(_) | CompiledOp::Sort { .. } | CompiledOp::Library { .. } => {
            false
        }
    })
}

/// Do arguments of launches, or their blocks, follow from the length of each example, and not from totals alone?
pub fn depends_on_lengths(launches: &[CompiledLaunch<usize>]) -> bool {
    launches.iter().any(|launch| match &launch.op {
        CompiledOp::Contract(contraction) => contraction.form.ragged().is_some(),
        CompiledOp::Draw { offsets, .. } | CompiledOp::Sort { offsets, .. } => offsets.is_some(),
        CompiledOp::Scan { running, body, .. } => running.is_some() || depends_on_lengths(body),
        CompiledOp::Order { .. } | CompiledOp::Iterate(_) => true,
        CompiledOp::Kernel(_) | CompiledOp::Copy { .. } | CompiledOp::Clear { .. } | CompiledOp::Library { .. } => {
            false
        }
    })
}
