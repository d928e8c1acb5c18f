//! What a device does, when it does it: streams, events, graphs.
//!
//! Work on a stream of its own waits in a queue until somebody must see what came of it, the latest moment that CUDA allows: who forgets to wait
//! finds old numbers. Work on the legacy stream happens at once, after what waits on streams that are not `NON_BLOCKING`.

use crate::{
    CAPTURE_IMPLICIT, CAPTURE_INVALIDATED, CAPTURE_UNSUPPORTED, ILLEGAL_ADDRESS, INVALID_HANDLE, LAUNCH_FAILED,
};
use crate::{Code, OK, setting, told};
use bdl_ptx_machine::{Fault, Function, Launch, Memory, launch};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::thread::ThreadId;
use std::time::Instant;

#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    Launch {
        function: usize,
        blocks: [u32; 3],
        threads: u32,
        shared: usize,
        parameters: Vec<u64>,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    /// A pattern of bytes, so many times.
    Set {
        at: u64,
        pattern: Vec<u8>,
        times: usize,
    },
    /// From memory of the host that could have changed since.
    Write {
        to: u64,
        bytes: Vec<u8>,
    },
    /// From and to page-locked memory of the host.
    Upload {
        to: u64,
        from: usize,
        bytes: usize,
    },
    Download {
        to: usize,
        from: u64,
        bytes: usize,
    },
    Record {
        event: usize,
    },
    Wait {
        event: usize,
    },
}

/// What a stream records instead of doing it.
pub struct Capture {
    pub work: Vec<Work>,
    pub mode: u32,
    pub thread: ThreadId,
    pub invalidated: bool,
}

/// Other streams and calls that wait are nothing to a capture of this mode.
pub const RELAXED: u32 = 2;
/// Only calls of the thread that captures are looked at.
pub const OF_THREAD: u32 = 1;

#[derive(Default)]
pub struct Stream {
    pub queue: VecDeque<Work>,
    /// It has nothing to do with the legacy stream.
    pub is_apart: bool,
    pub capture: Option<Capture>,
}

impl Stream {
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

pub struct Event {
    pub has_time: bool,
    /// The stream on which it was recorded last.
    pub stream: Option<usize>,
    /// Records that are still to come.
    pub pending: usize,
    pub at: Option<Instant>,
}

/// A function, its text, and the bytes of shared memory that a launch may ask for.
pub struct Loaded {
    pub function: Function,
    pub text: String,
    pub most_shared: usize,
}

#[derive(Default)]
pub struct State {
    pub memory: Option<Memory>,
    pub functions: Vec<Loaded>,
    pub launches: u64,
    /// Graphs that were made ready, and how often one was launched.
    pub graphs_made: u64,
    pub graphs_launched: u64,
    /// By handle, and so for all that follow.
    pub streams: BTreeMap<usize, Stream>,
    pub events: BTreeMap<usize, Event>,
    pub graphs: BTreeMap<usize, Vec<Work>>,
    pub executables: BTreeMap<usize, Vec<Work>>,
    /// Page-locked memory: its address and length.
    pub locked: BTreeMap<usize, usize>,
    last_handle: usize,
    /// The device is of no use any more.
    failed: Option<Code>,
}

impl State {
    pub fn memory(&mut self) -> &mut Memory {
        self.memory.get_or_insert_with(Memory::new)
    }

    pub fn new_handle(&mut self) -> usize {
        self.last_handle += 16;
        self.last_handle
    }

    /// Does all of it lie in page-locked memory?
    pub fn is_locked(&self, address: usize, bytes: usize) -> bool {
        let last = self.locked.range(..=address).next_back();
        last.is_some_and(|(at, len)| address + bytes <= at + len)
    }

    pub fn health(&self) -> Result<(), Code> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Makes room for work on the legacy stream: what waits on other streams that are not apart is done.
    pub fn join_legacy(&mut self) -> Result<(), Code> {
        self.health()?;
        let mut ours = self.streams.values_mut().filter(|s| !s.is_apart).filter_map(|s| s.capture.as_mut());
        if let Some(capture) = ours.next() {
            capture.invalidated = true;
            return Err(told("the legacy stream would depend on a stream that is captured", CAPTURE_IMPLICIT));
        }
        let joined: Vec<usize> = self.streams.iter().filter(|(_, s)| !s.is_apart).map(|(handle, _)| *handle).collect();
        joined.into_iter().try_for_each(|stream| self.drain(stream))
    }

    /// Errors: a capture forbids calls that wait or change what it depends on.
    pub fn may_wait(&mut self) -> Result<(), Code> {
        self.health()?;
        let own = std::thread::current().id();
        let forbids = |c: &&mut Capture| c.mode != RELAXED && (c.mode != OF_THREAD || c.thread == own);
        match self.streams.values_mut().filter_map(|s| s.capture.as_mut()).find(forbids) {
            None => Ok(()),
            Some(capture) => {
                capture.invalidated = true;
                Err(told("a call that is not permitted while a stream is captured", CAPTURE_UNSUPPORTED))
            }
        }
    }

    /// Everything on every stream.
    pub fn drain_all(&mut self) -> Result<(), Code> {
        let all: Vec<usize> = self.streams.keys().copied().collect();
        all.into_iter().try_for_each(|stream| self.drain(stream))
    }

    pub fn drain(&mut self, stream: usize) -> Result<(), Code> {
        while let Some(work) = self.streams.get_mut(&stream).and_then(|s| s.queue.pop_front()) {
            self.execute(&work)?;
        }
        self.health()
    }

    /// Until all records of the event are done.
    pub fn await_event(&mut self, event: usize) -> Result<(), Code> {
        loop {
            let Some(Event { stream: Some(stream), pending: 1.., .. }) = self.events.get(&event) else { return Ok(()) };
            let stream = *stream;
            match self.streams.get_mut(&stream).and_then(|s| s.queue.pop_front()) {
                Some(work) => self.execute(&work)?,
                None => return Ok(()),
            }
        }
    }

    /// Does it, or puts it into the queue of its stream, or into the graph that the stream records.
    pub fn submit(&mut self, stream: *mut c_void, work: Work) -> Result<(), Code> {
        self.health()?;
        let stream = stream.addr();
        if is_legacy(stream) {
            self.join_legacy()?;
            return self.execute(&work);
        }
        let own = self.streams.get_mut(&stream).ok_or(INVALID_HANDLE)?;
        match &mut own.capture {
            None => own.queue.push_back(work),
            Some(Capture { invalidated: true, .. }) => return Err(CAPTURE_INVALIDATED),
            Some(capture) => {
                let what = match &work {
                    Work::Launch { .. } | Work::Copy { .. } | Work::Set { .. } => None,
                    Work::Upload { .. } | Work::Download { .. } => None,
                    Work::Write { .. } => Some("memory that is not page-locked"),
                    Work::Record { .. } | Work::Wait { .. } => Some("events"),
                };
                if let Some(what) = what {
                    capture.invalidated = true;
                    return Err(told(
                        format_args!("a graph of this driver has no place for {what}"),
                        CAPTURE_UNSUPPORTED,
                    ));
                }
                capture.work.push(work);
                return Ok(());
            }
        }
        if let Some(Work::Record { event }) = own.queue.back()
            && let Some(event) = self.events.get_mut(event)
        {
            event.stream = Some(stream);
            event.pending += 1;
        }
        Ok(())
    }

    fn execute(&mut self, work: &Work) -> Result<(), Code> {
        let done = match work {
            Work::Launch { function, blocks, threads, shared, parameters } => {
                self.launch(*function, *blocks, *threads, *shared, parameters)
            }
            Work::Copy { to, from, bytes } => outcome(self.memory().copy(*to, *from, *bytes)),
            Work::Set { at, pattern, times } => outcome(self.memory().write(*at, &pattern.repeat(*times))),
            Work::Write { to, bytes } => outcome(self.memory().write(*to, bytes)),
            Work::Upload { from, bytes, .. } | Work::Download { to: from, bytes, .. }
                if !self.is_locked(*from, *bytes) =>
            {
                Err(told("a copy whose page-locked memory was given back", ILLEGAL_ADDRESS))
            }
            Work::Upload { to, from, bytes } => {
                let from: *const u8 = std::ptr::with_exposed_provenance(*from);
                // SAFETY: page-locked memory that this driver allocated and still holds.
                outcome(self.memory().write(*to, unsafe { std::slice::from_raw_parts(from, *bytes) }))
            }
            Work::Download { to, from, bytes } => {
                let to: *mut u8 = std::ptr::with_exposed_provenance_mut(*to);
                // SAFETY: as above; whoever asked for the copy leaves the memory alone until it is over.
                outcome(self.memory().read(*from, unsafe { std::slice::from_raw_parts_mut(to, *bytes) }))
            }
            Work::Record { event } => {
                if let Some(event) = self.events.get_mut(event) {
                    event.at = Some(Instant::now());
                    event.pending = event.pending.saturating_sub(1);
                }
                Ok(())
            }
            Work::Wait { event } => self.await_event(*event),
        };
        if let (Err(code), false) = (done, matches!(work, Work::Wait { .. })) {
            self.failed = Some(code);
        }
        done
    }

    fn launch(
        &mut self,
        function: usize,
        blocks: [u32; 3],
        threads: u32,
        shared: usize,
        parameters: &[u64],
    ) -> Result<(), Code> {
        self.launches += 1;
        if setting("BDL_STAND_IN_LOST_AFTER").is_some_and(|most| self.launches > most) {
            return Err(told("the device is lost, as it was asked to be", LAUNCH_FAILED));
        }
        let order = 2 * self.launches + 1;
        let State { memory, functions, .. } = self;
        let Loaded { function, text, .. } = &functions[function];
        let how = Launch { blocks, threads, shared, parameters, order };
        match launch(function, memory.get_or_insert_with(Memory::new), &how) {
            Ok(_) => Ok(()),
            Err(fault) => {
                let line = fault.line.checked_sub(1).and_then(|at| text.lines().nth(at)).unwrap_or("");
                Err(told(format_args!("{}: {fault}\n  {}", function.name, line.trim()), LAUNCH_FAILED))
            }
        }
    }
}

/// The null stream by both of its names.
pub fn is_legacy(stream: usize) -> bool {
    stream <= 1
}

pub fn outcome(result: Result<(), Fault>) -> Result<(), Code> {
    result.map_err(|fault| told(fault, ILLEGAL_ADDRESS))
}

pub fn code(result: Result<(), Code>) -> Code {
    result.err().unwrap_or(OK)
}
