//! Runs that differ in nothing but the bytes of their inputs: their launches are recorded once and made again all at once.
//!
//! A run is told by its sizes and by every address that its launches mention. What was recorded holds as long as those are the same; a run with others
//! (the last batch of an epoch, examples of other lengths) is launched one by one, and recorded when it comes a second time.

use super::program::DeviceProgram;
use super::{Device, Recording};
use crate::compiled::{CompiledEnds, CompiledLaunch, CompiledOp};
use crate::error::Error;

/// Recordings that are kept for one program.
const MOST: usize = 4;

#[derive(Default)]
pub struct Recorded {
    /// What a run mentions, with its recording.
    known: Vec<(Vec<u64>, Recording)>,
    /// Of the run before.
    last: Vec<u64>,
}

impl Recorded {
    pub fn release<D: Device>(&mut self, device: &mut D) {
        for (_, recording) in self.known.drain(..) {
            device.throw_away(recording);
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
        sizes.chain(self.addresses.iter().copied()).chain(lists).chain(shared).chain(counts).collect()
    }

    /// All launches, recorded where that is possible.
    pub(super) fn run_recorded<D: Device>(&mut self, device: &mut D) -> Result<(), Error> {
        if !device.records() || !self.is_recordable {
            return self.run_launches(device);
        }
        let now = self.mentioned();
        if let Some((_, recording)) = self.recorded.known.iter().find(|(known, _)| *known == now) {
            return device.replay(*recording);
        }
        if self.recorded.last != now {
            self.run_launches(device)?;
            // Room for partial sums may have grown meanwhile.
            self.recorded.last = self.mentioned();
            return Ok(());
        }
        device.begin_recording()?;
        let launched = self.run_launches(device);
        let recording = device.end_recording();
        launched?;
        let recording = recording?;
        if self.recorded.known.len() == MOST {
            let (_, oldest) = self.recorded.known.remove(0);
            device.throw_away(oldest);
        }
        self.recorded.known.push((now, recording));
        device.replay(recording)
    }
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
