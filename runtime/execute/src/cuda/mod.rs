//! An NVIDIA GPU as a [`Device`], through the driver that is found when it is asked for. Nothing of CUDA is linked: without a driver the binary
//! runs as ever, and says what is missing when a GPU is wanted.
//!
//! | module | job |
//! |---|---|
//! | `modules` | PTX to functions, by the driver's compiler; functions of one text are one |
//! | `staging` | page-locked memory, from which copies need not be waited for |
//!
//! Everything goes through one stream: operations happen in the order in which they were asked for, and a read waits for all before it. Launches that
//! will be made again with the same arguments can be recorded as a graph, which starts all of them at once.

mod modules;
mod staging;

use crate::device::{Device, Loaded, Mark, Recording};
use crate::error::Error;
use bdl_plan::DeviceKernel;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use modules::{Module, module};
use staging::Staging;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

/// The oldest driver whose functions are used: of CUDA 12.0.
const OLDEST_DRIVER: i32 = 12_000;
/// Bytes of a copy that no cache holds, where there is room.
const LARGE: usize = 256 << 20;
/// Copies that are measured.
const COPIES: usize = 8;

/// An open device.
pub struct Cuda {
    ordinal: sys::CUdevice,
    pub name: String,
    /// Major and minor number of what the processor can do.
    pub capability: (i32, i32),
    stream: sys::CUstream,
    /// Bytes of shared memory that a block may have.
    most_shared: u32,
    staging: Staging,
    functions: Vec<Function>,
    by_text: HashMap<Arc<str>, usize>,
    /// By number; none where one was thrown away.
    recordings: Vec<Option<sys::CUgraphExec>>,
    /// By the number of the mark, and which of them are free.
    events: Vec<sys::CUevent>,
    free_events: Vec<usize>,
}

struct Function {
    module: Module,
    entry: Arc<str>,
    /// Bytes of shared memory that a launch sizes.
    shared: u32,
}

// SAFETY: handles of the driver may be used from any thread whose current context is theirs; every use goes through `&mut Cuda`, which
// makes the context current first.
unsafe impl Send for Cuda {}

fn said(what: &str, error: DriverError) -> Error {
    let text = |found: Result<&std::ffi::CStr, DriverError>| {
        found.map_or_else(|_| "an unknown error".to_string(), |text| text.to_string_lossy().into_owned())
    };
    Error::Device(format!("{what}: {} ({})", text(error.error_string()), text(error.error_name())))
}

impl Cuda {
    /// Opens the device of this number.
    ///
    /// Errors: no driver, one that is too old, no such device; each says what is missing.
    pub fn open(number: usize) -> Result<Cuda, Error> {
        // SAFETY: looks for the library, and leaves it loaded if it is there.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::Device("there is no NVIDIA driver on this machine (libcuda.so was not found)".into()));
        }
        result::init().map_err(|error| said("the NVIDIA driver does not start", error))?;
        let mut version = 0;
        // SAFETY: writes one number.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(|error| said("the driver's version", error))?;
        if version < OLDEST_DRIVER {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(Error::Device(format!(
                "the NVIDIA driver knows CUDA {major}.{minor}, and bdl needs 12.0 or newer: update the driver"
            )));
        }
        let count = result::device::get_count().map_err(|error| said("the number of devices", error))?;
        if number as i64 >= i64::from(count) {
            return Err(Error::Device(match count {
                0 => "the NVIDIA driver finds no GPU".to_string(),
                _ => format!("there is no GPU number {number}; there are {count}, counted from 0"),
            }));
        }
        let ordinal = result::device::get(number as i32).map_err(|error| said("the device", error))?;
        let name = result::device::get_name(ordinal).map_err(|error| said("the device's name", error))?;
        let attribute = |which| {
            // SAFETY: a device of the driver.
            unsafe { result::device::get_attribute(ordinal, which) }
                .map_err(|error| said("the device's abilities", error))
        };
        let capability = (
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let most_shared = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        // SAFETY: a device of the driver; the context is given back when this value goes.
        let context = unsafe { result::primary_ctx::retain(ordinal) }.map_err(|error| said(&name, error))?;
        // SAFETY: the context was just made.
        unsafe { result::ctx::set_current(context) }.map_err(|error| said(&name, error))?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(|error| said(&name, error))?;
        let staging = Staging::new().map_err(|error| said(&name, error))?;
        Ok(Cuda {
            ordinal,
            name,
            capability,
            most_shared: u32::try_from(most_shared).unwrap_or(0),
            stream,
            staging,
            functions: Vec::new(),
            by_text: HashMap::new(),
            recordings: Vec::new(),
            events: Vec::new(),
            free_events: Vec::new(),
        })
    }

    /// Bytes that are free now, and all.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        result::mem_get_info().map_err(|error| said(&self.name, error))
    }

    /// Bytes a second that a large copy within the device's memory moves, those read and those written: of the fastest of a few.
    pub fn bandwidth(&mut self) -> Result<f64, Error> {
        let bytes = (self.memory()?.0 / 16).clamp(1, LARGE);
        let from = self.allocate(bytes)?;
        let fastest = self.allocate(bytes).and_then(|to| {
            let fastest = self.fastest_copy(to, from, bytes);
            self.free(to);
            fastest
        });
        self.free(from);
        Ok(2.0 * bytes as f64 / fastest?)
    }

    fn fastest_copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<f64, Error> {
        self.clear(from, bytes)?;
        // The first one is not counted.
        self.copy(to, from, bytes)?;
        let mut spans = Vec::new();
        for _ in 0..COPIES {
            let begun = self.mark()?;
            self.copy(to, from, bytes)?;
            spans.push((begun, self.mark()?));
        }
        Ok(self.seconds(spans)?.into_iter().fold(f64::INFINITY, f64::min).max(1e-9))
    }
}

impl Cuda {
    /// Waits for everything that was asked for.
    fn finish(&mut self) -> Result<(), Error> {
        // SAFETY: the stream of this value.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| said(&self.name, error))?;
        self.staging.is_done();
        Ok(())
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // A device that is lost has nothing to wait for and nothing to give back.
        let _ = self.finish();
        for graph in self.recordings.drain(..).flatten() {
            // SAFETY: made by this value, and not running any more.
            let _ = unsafe { result::graph::exec_destroy(graph) };
        }
        for event in self.events.drain(..) {
            // SAFETY: made by this value.
            let _ = unsafe { result::event::destroy(event) };
        }
        for function in self.functions.drain(..) {
            // SAFETY: loaded by this value, and no function of it can be called any more.
            let _ = unsafe { result::module::unload(function.module.module) };
        }
        self.staging.release();
        // SAFETY: made when the device was opened; the context too.
        unsafe {
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.ordinal);
        }
    }
}

impl Device for Cuda {
    fn load(&mut self, kernels: &[&DeviceKernel]) -> Result<Vec<Loaded>, Error> {
        let mut loaded = Vec::new();
        for kernel in kernels {
            let at = match self.by_text.get(&kernel.text) {
                Some(known) => *known,
                None => {
                    let module = module(kernel, self.most_shared)?;
                    self.functions.push(Function {
                        module,
                        entry: kernel.entry.clone(),
                        shared: kernel.shared_in(self.most_shared),
                    });
                    self.by_text.insert(kernel.text.clone(), self.functions.len() - 1);
                    self.functions.len() - 1
                }
            };
            loaded.push(Loaded(at));
        }
        Ok(loaded)
    }

    fn most_shared(&self) -> u32 {
        self.most_shared
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, Error> {
        // SAFETY: nobody reads the memory before it was written: plans write before they read.
        unsafe { result::malloc_sync(bytes) }.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { bytes },
            _ => said(&self.name, error),
        })
    }

    fn free(&mut self, address: u64) {
        // What still runs may use it. A device that is lost has nothing to give back.
        let _ = self.finish();
        // SAFETY: allocated by `allocate`.
        let _ = unsafe { result::free_sync(address) };
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the executor writes inside of what it allocated. Page-locked bytes stay until the stream was waited for; of others the driver has a
        // copy when the call returns.
        unsafe {
            match self.staging.room(bytes.len()) {
                Some(staged) => {
                    staged.copy_from_slice(bytes);
                    result::memcpy_htod_async(to, staged, self.stream)
                }
                None => result::memcpy_htod_async(to, bytes, self.stream),
            }
        }
        .map_err(|error| said(&self.name, error))
    }

    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), Error> {
        if into.is_empty() {
            return Ok(());
        }
        // SAFETY: the executor reads inside of what it allocated, and the bytes are there when the stream was waited for.
        unsafe { result::memcpy_dtoh_async(into, from, self.stream) }.map_err(|error| said(&self.name, error))?;
        self.finish()
    }

    fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: both lie inside of what the executor allocated; they are the same or apart.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }.map_err(|error| said(&self.name, error))
    }

    fn clear(&mut self, at: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: inside of what the executor allocated.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream) }.map_err(|error| said(&self.name, error))
    }

    fn launch(&mut self, function: Loaded, blocks: [u32; 2], threads: u32, parameters: &[u64]) -> Result<(), Error> {
        let Function { module, entry, shared } = &self.functions[function.0];
        let mut values = parameters.to_vec();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| std::ptr::from_mut(value).cast()).collect();
        let [x, y] = blocks;
        // SAFETY: a function of this device with one parameter of 64 bits for each value; the plan's launches are in bounds.
        unsafe {
            result::launch_kernel(module.function, (x, y, 1), (threads, 1, 1), *shared, self.stream, &mut pointers)
        }
        .map_err(|error| said(&format!("{} on {}", entry, self.name), error))
    }

    fn records(&self) -> bool {
        true
    }

    fn begin_recording(&mut self) -> Result<(), Error> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream of this value, on which nothing is being recorded.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(|error| said(&self.name, error))
    }

    fn end_recording(&mut self) -> Result<Recording, Error> {
        // SAFETY: a recording was begun; the graph is thrown away when what is launched has been made of it.
        let made = unsafe {
            let graph = result::stream::end_capture(self.stream).map_err(|error| said(&self.name, error))?;
            let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            made.map_err(|error| said(&self.name, error))?
        };
        self.recordings.push(Some(made));
        Ok(Recording(self.recordings.len() - 1))
    }

    fn replay(&mut self, recording: Recording) -> Result<(), Error> {
        let Some(graph) = self.recordings.get(recording.0).copied().flatten() else {
            return Err(Error::Device("a recording that was thrown away".to_string()));
        };
        // SAFETY: made by this value; the memory that it touches is the executor's, which throws a recording away before it moves anything.
        unsafe { result::graph::launch(graph, self.stream) }.map_err(|error| said(&self.name, error))
    }

    fn throw_away(&mut self, recording: Recording) {
        let _ = self.finish();
        if let Some(graph) = self.recordings.get_mut(recording.0).and_then(Option::take) {
            // SAFETY: made by this value, and not running any more.
            let _ = unsafe { result::graph::exec_destroy(graph) };
        }
    }

    fn mark(&mut self) -> Result<Mark, Error> {
        let at = match self.free_events.pop() {
            Some(at) => at,
            None => {
                let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)
                    .map_err(|error| said(&self.name, error))?;
                self.events.push(event);
                self.events.len() - 1
            }
        };
        // SAFETY: an event and the stream of this value.
        unsafe { result::event::record(self.events[at], self.stream) }.map_err(|error| said(&self.name, error))?;
        Ok(Mark(at))
    }

    fn seconds(&mut self, spans: Vec<(Mark, Mark)>) -> Result<Vec<f64>, Error> {
        self.finish()?;
        let mut all = Vec::with_capacity(spans.len());
        for (Mark(from), Mark(to)) in spans {
            // SAFETY: events of this value, both recorded on its stream, which has been waited for.
            let milliseconds = unsafe { result::event::elapsed(self.events[from], self.events[to]) };
            all.push(f64::from(milliseconds.map_err(|error| said(&self.name, error))?) * 1e-3);
            self.free_events.extend([from, to]);
        }
        Ok(all)
    }
}
