//! Streams, events and graphs of the driver that stands in, through unmodified cudarc: what happens when, and what must not be forgotten.

mod support;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUresult, CUstreamCaptureMode as Mode};
use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use support::with_driver;

/// `x[i] = x[i] * n + i`, by way of shared memory whose size the launch says.
const STEP: &str = "
.version 7.0
.target sm_75
.address_size 64
.extern .shared .align 16 .b8 behind[];

.visible .entry step(
    .param .u64 x,
    .param .u64 n
)
.maxntid 32, 1, 1
{
    .reg .b32 %r<8>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd0, [x];
    ld.param.u64 %rd1, [n];
    cvt.u32.u64 %r2, %rd1;
    mov.u32 %r0, %tid.x;
    mad.wide.u32 %rd2, %r0, 4, %rd0;
    ld.global.b32 %r1, [%rd2];
    mov.u32 %r3, behind;
    mad.lo.u32 %r3, %r0, 4, %r3;
    st.shared.b32 [%r3], %r1;
    ld.shared.b32 %r4, [%r3];
    mad.lo.u32 %r4, %r4, %r2, %r0;
    st.global.b32 [%rd2], %r4;
    ret;
}
";

const SHARED: u32 = 128;

/// A device with the function, 32 numbers on it and as many that are page-locked.
struct Test {
    function: sys::CUfunction,
    x: u64,
    host: *mut u32,
}

impl Test {
    fn open() -> Test {
        result::init().unwrap();
        let device = result::device::get(0).unwrap();
        // SAFETY: a device and a context of the driver; the text ends with a zero.
        unsafe {
            result::ctx::set_current(result::primary_ctx::retain(device).unwrap()).unwrap();
            let text = CString::new(STEP).unwrap();
            let mut module = null_mut();
            sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 0, null_mut(), null_mut()).result().unwrap();
            let function = result::module::get_function(module, CString::new("step").unwrap()).unwrap();
            let host = result::malloc_host(128, 0).unwrap().cast();
            Test { function, x: result::malloc_sync(128).unwrap(), host }
        }
    }

    fn step(&self, stream: sys::CUstream, n: u64, shared: u32) -> Result<(), DriverError> {
        let (mut x, mut n) = (self.x, n);
        let mut parameters = [std::ptr::from_mut(&mut x).cast::<c_void>(), std::ptr::from_mut(&mut n).cast()];
        // SAFETY: as many parameters as the function has.
        unsafe { result::launch_kernel(self.function, (1, 1, 1), (32, 1, 1), shared, stream, &mut parameters) }
    }

    fn zero(&self, stream: sys::CUstream, value: u32) {
        // SAFETY: as many numbers as there are.
        unsafe { sys::cuMemsetD32Async(self.x, value, 32, stream) }.result().unwrap();
    }

    /// Asks for a copy to the host.
    fn fetch(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: as many bytes as there are on both sides.
        unsafe { sys::cuMemcpyDtoHAsync_v2(self.host.cast(), self.x, 128, stream) }.result()
    }

    fn numbers(&self) -> Vec<u32> {
        // SAFETY: 32 numbers, which nobody writes now.
        unsafe { std::slice::from_raw_parts(self.host, 32) }.to_vec()
    }

    fn set_numbers(&self, f: impl Fn(u32) -> u32) {
        // SAFETY: as above.
        let numbers = unsafe { std::slice::from_raw_parts_mut(self.host, 32) };
        numbers.iter_mut().zip(0..).for_each(|(number, i)| *number = f(i));
    }
}

fn stream(kind: result::stream::StreamKind) -> sys::CUstream {
    result::stream::create(kind).unwrap()
}

fn apart() -> sys::CUstream {
    stream(result::stream::StreamKind::NonBlocking)
}

fn finish(stream: sys::CUstream) -> Result<(), DriverError> {
    // SAFETY: a stream of the driver.
    unsafe { result::stream::synchronize(stream) }
}

fn begin(stream: sys::CUstream, mode: Mode) {
    // SAFETY: a stream of the driver.
    unsafe { result::stream::begin_capture(stream, mode) }.unwrap();
}

fn end(stream: sys::CUstream) -> Result<sys::CUgraph, DriverError> {
    // SAFETY: a stream of the driver.
    unsafe { result::stream::end_capture(stream) }
}

fn instantiate(graph: sys::CUgraph) -> sys::CUgraphExec {
    // SAFETY: a graph of the driver.
    unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) }.unwrap()
}

fn replay(graph: sys::CUgraphExec, stream: sys::CUstream) {
    // SAFETY: both of the driver.
    unsafe { result::graph::launch(graph, stream) }.unwrap();
}

fn steps(from: u32, factors: &[u32]) -> Vec<u32> {
    (0..32).map(|i| factors.iter().fold(from, |x, n| x * n + i)).collect()
}

#[test]
fn a_graph_of_two_launches() {
    with_driver("a_graph_of_two_launches", &[], || {
        let (test, stream) = (Test::open(), apart());
        test.zero(stream, 100);
        begin(stream, Mode::CU_STREAM_CAPTURE_MODE_GLOBAL);
        test.step(stream, 2, SHARED).unwrap();
        test.step(stream, 3, SHARED).unwrap();
        test.fetch(stream).unwrap();
        // SAFETY: as many numbers as there are.
        unsafe { sys::cuMemsetD8Async(test.x, 1, 128, stream) }.result().unwrap();
        let graph = end(stream).unwrap();
        let mut count = 0;
        // SAFETY: a graph of the driver; null asks for the number alone.
        unsafe { sys::cuGraphGetNodes(graph, null_mut(), &mut count) }.result().unwrap();
        assert_eq!(count, 4);
        // Nothing of it has happened.
        test.fetch(stream).unwrap();
        finish(stream).unwrap();
        assert_eq!(test.numbers(), [100; 32]);
        let ready = instantiate(graph);
        replay(ready, stream);
        finish(stream).unwrap();
        assert_eq!(test.numbers(), steps(100, &[2, 3]));
        replay(ready, stream);
        finish(stream).unwrap();
        assert_eq!(test.numbers(), steps(0x0101_0101, &[2, 3]));
        // On the legacy stream it happens at once.
        test.zero(null_mut(), 7);
        replay(ready, null_mut());
        assert_eq!(test.numbers(), steps(7, &[2, 3]));

        // Another graph of the same shape, with other parameters.
        let capture = |factors: &[u64]| {
            begin(stream, Mode::CU_STREAM_CAPTURE_MODE_RELAXED);
            factors.iter().for_each(|n| test.step(stream, *n, SHARED).unwrap());
            test.fetch(stream).unwrap();
            test.zero(stream, 5);
            end(stream).unwrap()
        };
        let mut said = sys::CUgraphExecUpdateResultInfo {
            result: sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR,
            errorNode: null_mut(),
            errorFromNode: null_mut(),
        };
        let other = capture(&[4, 5]);
        let test_update = |graph, said: *mut _| {
            // SAFETY: both of the driver; `said` is writable.
            unsafe { sys::cuGraphExecUpdate_v2(ready, graph, said) }
        };
        assert_eq!(test_update(other, &mut said), CUresult::CUDA_SUCCESS);
        assert_eq!(said.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS);
        test.zero(stream, 9);
        replay(ready, stream);
        finish(stream).unwrap();
        assert_eq!(test.numbers(), steps(9, &[4, 5]));
        let longer = capture(&[4, 5, 6]);
        assert_eq!(test_update(longer, &mut said), CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
        assert_eq!(said.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);

        // SAFETY: all of the driver, and not used any more.
        unsafe {
            [graph, other, longer].into_iter().try_for_each(|graph| result::graph::destroy(graph)).unwrap();
            result::graph::exec_destroy(ready).unwrap();
            assert_eq!(result::graph::launch(ready, stream).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_HANDLE);
            result::stream::destroy(stream).unwrap();
            assert_eq!(finish(stream).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_HANDLE);
        }
    });
}

#[test]
fn what_a_capture_forbids() {
    with_driver("what_a_capture_forbids", &[], || {
        let test = Test::open();
        let ours = stream(result::stream::StreamKind::Default);
        test.zero(ours, 1);
        // A stream that is not apart, and the legacy stream.
        begin(ours, Mode::CU_STREAM_CAPTURE_MODE_RELAXED);
        assert_eq!(test.step(null_mut(), 2, SHARED).unwrap_err().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        assert_eq!(test.step(ours, 2, SHARED).unwrap_err().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        assert_eq!(end(ours).unwrap_err().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        assert_eq!(end(ours).unwrap_err().0, CUresult::CUDA_ERROR_ILLEGAL_STATE);
        // Calls that wait, whatever the stream.
        let apart = apart();
        type Call<'t> = &'t dyn Fn() -> Result<(), DriverError>;
        let mut numbers = [0u32; 32];
        let numbers = std::cell::RefCell::new(&mut numbers);
        // SAFETY: memory and streams of the driver.
        let calls: [Call; 6] = [
            &|| unsafe { result::memcpy_dtoh_sync(*numbers.borrow_mut(), test.x) },
            &|| unsafe { result::memcpy_htod_sync(test.x, &[1u32; 32]) },
            &|| unsafe { result::malloc_sync(16) }.map(|_| ()),
            &|| unsafe { result::free_sync(test.x) },
            &|| result::ctx::synchronize(),
            &|| finish(apart),
        ];
        for call in calls {
            begin(apart, Mode::CU_STREAM_CAPTURE_MODE_GLOBAL);
            test.step(apart, 2, SHARED).unwrap();
            assert_eq!(call().unwrap_err().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
            assert_eq!(end(apart).unwrap_err().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
            call().unwrap_or_else(|error| panic!("without a capture: {error}"));
        }
    });
}

/// What happens on a stream is seen by who waits for it.
#[test]
fn streams_and_events() {
    with_driver("streams_and_events", &[], || {
        let (test, first, second) = (Test::open(), apart(), apart());
        test.set_numbers(|i| 10 * i);
        // SAFETY: as many bytes as there are; events and streams of the driver.
        unsafe {
            sys::cuMemcpyHtoDAsync_v2(test.x, test.host.cast(), 128, first).result().unwrap();
            let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
            let [start, done] = [(); 2].map(|()| result::event::create(flags).unwrap());
            result::event::record(start, first).unwrap();
            // Page-locked memory is read late: what is written to it now counts.
            test.set_numbers(|i| i + 1);
            test.step(first, 2, SHARED).unwrap();
            result::event::record(done, first).unwrap();
            assert_eq!(result::event::elapsed(start, done).unwrap_err().0, CUresult::CUDA_ERROR_NOT_READY);
            let wait = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            result::stream::wait_event(second, done, wait).unwrap();
            test.fetch(second).unwrap();
            // The first stream is not waited for by name.
            finish(second).unwrap();
            assert_eq!(test.numbers(), (0..32).map(|i| 2 * (i + 1) + i).collect::<Vec<u32>>());
            result::event::synchronize(done).unwrap();
            assert!(result::event::elapsed(start, done).unwrap() >= 0.0);
            assert!(result::event::query(done).is_ok());
            // Nothing orders the legacy stream behind one that is apart.
            test.step(first, 0, SHARED).unwrap();
            test.fetch(null_mut()).unwrap();
            assert_eq!(test.numbers()[1], 5);
            result::event::record(done, first).unwrap();
            assert_eq!(result::event::query(done).unwrap_err().0, CUresult::CUDA_ERROR_NOT_READY);
            result::event::query(done).unwrap();
            test.fetch(null_mut()).unwrap();
            assert_eq!(test.numbers(), (0..32).collect::<Vec<u32>>());
            // But behind one that is not.
            let ours = stream(result::stream::StreamKind::Default);
            test.step(ours, 1, SHARED).unwrap();
            test.fetch(null_mut()).unwrap();
            assert_eq!(test.numbers(), (0..32).map(|i| 2 * i).collect::<Vec<u32>>());
            [start, done].into_iter().try_for_each(|event| result::event::destroy(event)).unwrap();
            result::free_host(test.host.cast()).unwrap();
            result::free_sync(test.x).unwrap();
        }
    });
}

/// A fault of work that waits is told to who waits for it, and to everybody after.
#[test]
fn a_fault_on_a_stream() {
    with_driver("a_fault_on_a_stream", &[], || {
        let (test, stream) = (Test::open(), apart());
        // The last 4 bytes are missing: it is seen when it runs.
        test.zero(stream, 0);
        test.step(stream, 1, SHARED - 4).unwrap();
        assert_eq!(finish(stream).unwrap_err().0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
        assert_eq!(test.step(stream, 1, SHARED).unwrap_err().0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
        assert_eq!(result::ctx::synchronize().unwrap_err().0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    });
}

#[test]
fn shared_memory_must_be_asked_for() {
    with_driver("shared_memory_must_be_asked_for", &[("BDL_STAND_IN_CAPABILITY", "75")], || {
        let test = Test::open();
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let optin = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        // SAFETY: device and function of the driver.
        unsafe {
            assert_eq!(result::device::get_attribute(0, optin).unwrap(), 64 << 10);
            test.zero(null_mut(), 3);
            test.step(null_mut(), 2, 48 << 10).unwrap();
            let error = test.step(null_mut(), 2, 50 << 10).unwrap_err();
            assert_eq!(error.0, CUresult::CUDA_ERROR_INVALID_VALUE);
            assert_eq!(
                result::function::set_function_attribute(test.function, most, 65 << 10).unwrap_err().0,
                CUresult::CUDA_ERROR_INVALID_VALUE
            );
            result::function::set_function_attribute(test.function, most, 50 << 10).unwrap();
            assert_eq!(result::function::get_function_attribute(test.function, most).unwrap(), 50 << 10);
            test.step(null_mut(), 2, 50 << 10).unwrap();
            test.fetch(null_mut()).unwrap();
            assert_eq!(test.numbers(), steps(3, &[2, 2]));
            // Code for a newer processor is refused.
            let text = CString::new(STEP.replace("sm_75", "sm_80")).unwrap();
            let mut module = null_mut();
            let loaded = sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 0, null_mut(), null_mut());
            assert_eq!(loaded, CUresult::CUDA_ERROR_INVALID_PTX);
        }
    });
}
