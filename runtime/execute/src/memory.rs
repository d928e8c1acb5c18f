//! Aligned memory, and typed buffers that live in it.

use crate::error::Error;
use bdl_plan::DType;
use memmap2::MmapRaw;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Buffers and slots begin at multiples of this many bytes: a cache line, the widest vector.
pub const ALIGN: usize = 64;

/// Bytes of a large page. Blocks of this many bytes and more begin with one and ask for more: the first touch of a small page costs a trip into the
/// system, and a step over hundreds of megabytes would miss the table of small pages all the time. They are not the allocator's, whose pages
/// the compiler used before and left small.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Zeroed bytes, aligned to [`ALIGN`].
///
/// They are asked for at the allocator's own alignment, with room to move up: large zeroed blocks then come from the system as untouched
/// pages, where an aligned request would write every byte first.
pub struct Memory {
    block: NonNull<u8>,
    layout: Layout,
    /// From the block's start to the first aligned byte.
    skip: usize,
    bytes: usize,
    source: Source,
}

/// Whom a block goes back to.
enum Source {
    Allocator,
    /// Pages of its own: large ones, or between two that nobody may touch.
    #[cfg(target_os = "linux")]
    System,
    /// Pages of a file, unmapped with the last part of it.
    File {
        _map: Arc<MmapRaw>,
    },
    /// A part of a larger block.
    Part {
        _of: Arc<Memory>,
    },
}

static GUARDED: AtomicBool = AtomicBool::new(false);

/// For tests: all memory from now on, each slot of an arena and each input by itself, ends where a page begins that no one may touch, and
/// begins less than a page behind another. A kernel that leaves its buffer (by more than rounding to [`ALIGN`]) ends the process.
pub fn guard_memory(on: bool) {
    GUARDED.store(on, Ordering::SeqCst);
}

pub(crate) fn is_guarded() -> bool {
    GUARDED.load(Ordering::SeqCst)
}

// SAFETY: `Memory` owns its bytes as a `Vec<u8>` does.
unsafe impl Send for Memory {}
// SAFETY: as above; writing needs `&mut` or the executor's promise that launches write disjoint elements.
unsafe impl Sync for Memory {}

impl Memory {
    pub fn new(bytes: usize) -> Result<Memory, Error> {
        let refused = Error::Memory { bytes };
        let rounded = bytes.max(ALIGN).checked_next_multiple_of(ALIGN);
        let layout = rounded.and_then(|bytes| Layout::from_size_align(bytes.checked_add(ALIGN)?, 16).ok());
        let (Some(bytes), Some(layout)) = (rounded, layout) else { return Err(refused) };
        #[cfg(target_os = "linux")]
        if is_guarded() {
            return Memory::between_guards(bytes).ok_or(refused);
        }
        #[cfg(target_os = "linux")]
        if bytes >= LARGE_PAGE {
            return Memory::on_large_pages(bytes).ok_or(refused);
        }
        // SAFETY: the size is not zero.
        let block = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(refused)?;
        let skip = block.as_ptr().align_offset(ALIGN).min(ALIGN);
        Ok(Memory { block, layout, skip, bytes, source: Source::Allocator })
    }

    /// Part of a mapped file.
    ///
    /// # Safety
    /// `block` leads to as many bytes of the map, which nobody else reads or writes.
    pub(crate) unsafe fn of_file(map: Arc<MmapRaw>, block: NonNull<u8>, bytes: usize) -> Memory {
        Memory { block, layout: Layout::new::<u8>(), skip: 0, bytes, source: Source::File { _map: map } }
    }

    /// Part of a block.
    ///
    /// # Safety
    /// `from + bytes` is inside the block, and nobody else reads or writes these bytes.
    pub(crate) unsafe fn part(of: &Arc<Memory>, from: usize, bytes: usize) -> Memory {
        // SAFETY: inside the block.
        let block = unsafe { NonNull::new_unchecked(of.pointer().add(from)) };
        Memory { block, layout: Layout::new::<u8>(), skip: 0, bytes, source: Source::Part { _of: of.clone() } }
    }

    /// Large pages are a hint; without them everything works, slower.
    #[cfg(target_os = "linux")]
    fn on_large_pages(bytes: usize) -> Option<Memory> {
        let layout = Layout::from_size_align(bytes.checked_add(LARGE_PAGE)?, PAGE).ok()?;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new pages of our own; those before the first large page and behind the last byte are never touched.
        let block = unsafe { libc::mmap(std::ptr::null_mut(), layout.size(), access, flags, -1, 0) };
        if block == libc::MAP_FAILED {
            return None;
        }
        let block = NonNull::new(block.cast::<u8>())?;
        let skip = block.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE);
        // SAFETY: whole pages of our own block; the advice changes no content.
        unsafe { libc::madvise(block.as_ptr().add(skip).cast(), bytes.next_multiple_of(PAGE), libc::MADV_HUGEPAGE) };
        Some(Memory { block, layout, skip, bytes, source: Source::System })
    }

    #[cfg(target_os = "linux")]
    fn between_guards(bytes: usize) -> Option<Memory> {
        let inner = bytes.checked_next_multiple_of(PAGE)?;
        let layout = Layout::from_size_align(inner.checked_add(2 * PAGE)?, PAGE).ok()?;
        // SAFETY: new pages of our own, of which those in the middle become readable and writable.
        let block = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let block = libc::mmap(std::ptr::null_mut(), layout.size(), libc::PROT_NONE, flags, -1, 0);
            if block == libc::MAP_FAILED {
                return None;
            }
            let middle = block.cast::<u8>().add(PAGE).cast();
            if libc::mprotect(middle, inner, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                libc::munmap(block, layout.size());
                return None;
            }
            block
        };
        let skip = PAGE + inner - bytes;
        Some(Memory { block: NonNull::new(block.cast())?, layout, skip, bytes, source: Source::System })
    }

    pub fn pointer(&self) -> *mut u8 {
        // SAFETY: the block has `ALIGN` bytes more than are given out, and `skip` is at most that.
        unsafe { self.block.as_ptr().add(self.skip) }
    }

    pub fn len(&self) -> usize {
        self.bytes
    }
}

#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

impl Drop for Memory {
    fn drop(&mut self) {
        match self.source {
            // SAFETY: allocated in `new` with this layout.
            Source::Allocator => unsafe { dealloc(self.block.as_ptr(), self.layout) },
            #[cfg(target_os = "linux")]
            Source::System => {
                // SAFETY: mapped with this size in `between_guards` or `on_large_pages`.
                unsafe { libc::munmap(self.block.as_ptr().cast(), self.layout.size()) };
            }
            Source::File { .. } | Source::Part { .. } => {}
        }
    }
}

/// Bytes of one element.
pub fn size_of_dtype(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::I32 => 4,
        DType::F64 | DType::I64 => 8,
        DType::BF16 => 2,
        DType::Bool => 1,
    }
}

pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::BF16 => "bf16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::Bool => "bool",
    }
}

/// A typed buffer that owns its memory.
pub struct Buffer {
    memory: Memory,
    pub dtype: DType,
    len: usize,
}

/// A Rust type that is the element of a buffer.
///
/// # Safety
/// `DTYPE` must describe values of the type: same size, every bit pattern valid.
pub unsafe trait Element: Copy + 'static {
    const DTYPE: DType;
}

// SAFETY: plain numbers of the stated width.
unsafe impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
// SAFETY: as above.
unsafe impl Element for f64 {
    const DTYPE: DType = DType::F64;
}
// SAFETY: as above.
unsafe impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
// SAFETY: as above.
unsafe impl Element for i64 {
    const DTYPE: DType = DType::I64;
}
// SAFETY: truth values are bytes in buffers.
unsafe impl Element for u8 {
    const DTYPE: DType = DType::Bool;
}

impl Buffer {
    /// `len` zeros. Errors: more than there is memory for.
    pub fn zeros(dtype: DType, len: usize) -> Result<Buffer, Error> {
        Ok(Buffer { memory: Memory::new(len.saturating_mul(size_of_dtype(dtype)))?, dtype, len })
    }

    /// `len` elements in memory that is there.
    pub(crate) fn of(dtype: DType, len: usize, memory: Memory) -> Buffer {
        Buffer { memory, dtype, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn pointer(&self) -> *mut u8 {
        self.memory.pointer()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// The elements as they lie in memory.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the memory holds at least `len` elements.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.len * size_of_dtype(self.dtype)) }
    }

    /// The elements as they lie in memory.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; `&mut self` makes it the only reference. Every bit pattern is an element.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.len * size_of_dtype(self.dtype)) }
    }

    /// The elements, if they are of this type.
    pub fn slice<T: Element>(&self) -> Option<&[T]> {
        // SAFETY: the memory holds `len` elements of `dtype`, which `T` is, aligned to 64 bytes.
        (self.dtype == T::DTYPE).then(|| unsafe { std::slice::from_raw_parts(self.pointer().cast::<T>(), self.len) })
    }

    /// The elements, if they are of this type.
    pub fn slice_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        (self.dtype == T::DTYPE)
            // SAFETY: as in `slice`; `&mut self` makes it the only reference.
            .then(|| unsafe { std::slice::from_raw_parts_mut(self.pointer().cast::<T>(), self.len) })
    }

    /// Element i as a number.
    pub fn number(&self, i: usize) -> f64 {
        assert!(i < self.len, "element {i} of {}", self.len);
        // SAFETY: inside the buffer.
        unsafe { read_number(self.pointer(), self.dtype, i) }
    }

    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len).map(|i| self.number(i)).collect()
    }

    /// Fills from numbers, converting to the buffer's type. Errors: another length.
    pub fn set(&mut self, name: &str, numbers: impl ExactSizeIterator<Item = f64>) -> Result<(), Error> {
        if numbers.len() != self.len {
            return Err(Error::Length { name: name.into(), expected: self.len as i64, found: numbers.len() as i64 });
        }
        for (i, number) in numbers.enumerate() {
            // SAFETY: i < len.
            unsafe { write_number(self.pointer(), self.dtype, i, number) }
        }
        Ok(())
    }
}

/// # Safety
/// `pointer` must be readable for `i + 1` elements of `dtype`.
pub unsafe fn read_number(pointer: *const u8, dtype: DType, i: usize) -> f64 {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::F32 => f64::from(*pointer.cast::<f32>().add(i)),
            DType::F64 => *pointer.cast::<f64>().add(i),
            DType::BF16 => f64::from(f32_of(*pointer.cast::<u16>().add(i))),
            DType::I32 => f64::from(*pointer.cast::<i32>().add(i)),
            DType::I64 => *pointer.cast::<i64>().add(i) as f64,
            DType::Bool => f64::from(u8::from(*pointer.add(i) != 0)),
        }
    }
}

/// # Safety
/// `pointer` must be writable for `i + 1` elements of `dtype`.
pub unsafe fn write_number(pointer: *mut u8, dtype: DType, i: usize, number: f64) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::F32 => *pointer.cast::<f32>().add(i) = number as f32,
            DType::F64 => *pointer.cast::<f64>().add(i) = number,
            DType::BF16 => *pointer.cast::<u16>().add(i) = bf16_of(number as f32),
            DType::I32 => *pointer.cast::<i32>().add(i) = number as i32,
            DType::I64 => *pointer.cast::<i64>().add(i) = number as i64,
            DType::Bool => *pointer.add(i) = u8::from(number != 0.0),
        }
    }
}

/// Rounded half to even; a NaN stays one.
pub fn bf16_of(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The number that the bits of a bf16 are.
pub fn f32_of(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
