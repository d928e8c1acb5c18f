//! The time of each launch, by marks before and behind it. Nothing is recorded meanwhile: launches are made one by one.
//!
//! A mark is a moment on the device, so that the time of a launch is that of its functions, and of the host where the device waits for it (a sort,
//! the condition of a loop). What the host needs to ask for a launch counts only where the device has nothing left to do.

use super::program::DeviceProgram;
use super::{Device, Mark};
use crate::error::Error;
use std::time::Duration;

/// Launches whose marks are kept before somebody waits for them: a loop may make very many.
const MOST: usize = 4096;

#[derive(Default)]
pub struct Profile {
    /// By the number of the launch.
    total: Vec<Duration>,
    /// Launches that have been asked for.
    open: Vec<(usize, (Mark, Mark))>,
}

impl Profile {
    pub fn new(launches: usize) -> Profile {
        Profile { total: vec![Duration::ZERO; launches], open: Vec::new() }
    }

    pub fn total(&self) -> &[Duration] {
        &self.total
    }

    /// Waits for what was asked for, and adds it up.
    fn settle<D: Device>(&mut self, device: &mut D) -> Result<(), Error> {
        let (numbers, spans): (Vec<usize>, Vec<_>) = self.open.drain(..).unzip();
        for (number, seconds) in numbers.into_iter().zip(device.seconds(spans)?) {
            self.total[number] += Duration::from_secs_f64(seconds.max(0.0));
        }
        Ok(())
    }
}

impl DeviceProgram {
    /// Measure the time of each launch from now on, or stop.
    pub fn set_profile(&mut self, on: bool) {
        self.profile = on.then(|| Profile::new(self.compiled.launch_count));
    }

    /// The summed time of each launch since profiling was turned on: launches in order, those of a loop after it.
    pub fn profile(&self) -> Option<&[Duration]> {
        self.profile.as_ref().map(Profile::total)
    }

    /// A launch of this number, which began at `from`, has been asked for.
    pub(super) fn note_time<D: Device>(&mut self, device: &mut D, number: usize, from: Mark) -> Result<(), Error> {
        let to = device.mark()?;
        let Some(profile) = &mut self.profile else { return Ok(()) };
        profile.open.push((number, (from, to)));
        if profile.open.len() < MOST { Ok(()) } else { profile.settle(device) }
    }

    pub(super) fn settle_times<D: Device>(&mut self, device: &mut D) -> Result<(), Error> {
        self.profile.as_mut().map_or(Ok(()), |profile| profile.settle(device))
    }
}
