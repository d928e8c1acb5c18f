//! A file as memory: pages come from the disk when they are looked at, and go without being written back.
//!
//! ```text
//! let file = Mapped::open(path)?;             nothing is read yet
//! file.bytes()                                looked at as a whole: a header, a digest
//! let w = file.buffers(&[(F32, 64..128)])?;   then given away in pieces, each the memory of one buffer
//! ```
//!
//! What is written to a buffer is the process's own and never reaches the file.

use crate::memory::{Buffer, Memory, is_guarded, size_of_dtype};
use bdl_plan::DType;
use memmap2::{MmapMut, MmapOptions, MmapRaw};
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

pub struct Mapped {
    map: MmapMut,
    bytes: usize,
    /// Its pages are those of the file, not a copy.
    is_file: bool,
}

impl Mapped {
    /// Errors: what the system says about opening or reading the file.
    pub fn open(path: &Path) -> Result<Mapped, Error> {
        let mut file = File::open(path)?;
        let bytes = usize::try_from(file.metadata()?.len()).map_err(|_| Error::from(ErrorKind::FileTooLarge))?;
        // SAFETY: bytes of any value are numbers. Files of weights are replaced as a whole by bdl, by renaming, so that a map keeps what it
        // had; who cuts a file short that is being read makes the system end this process, which harms nothing that was saved.
        let map = if bytes > 0 { unsafe { MmapOptions::new().map_copy(&file) } } else { MmapMut::map_anon(1) };
        if let Ok(map) = map {
            return Ok(Mapped { map, bytes, is_file: bytes > 0 });
        }
        // Some file systems and pipes cannot be mapped.
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let mut map = MmapMut::map_anon(content.len().max(1))?;
        map[..content.len()].copy_from_slice(&content);
        Ok(Mapped { map, bytes: content.len(), is_file: false })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map[..self.bytes]
    }

    /// What was looked at so far need not stay in this process: a later look brings it back from the file.
    pub fn release(&self) {
        #[cfg(unix)]
        if self.is_file {
            // SAFETY: nothing was written to the map (that takes `buffers`, which ends it), so the pages are those of the file before and after.
            // A system that does not do it leaves them where they are.
            let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// Do these bytes lie so that a buffer of the type may be made of them?
    pub fn fits(&self, dtype: DType, range: &Range<usize>) -> bool {
        let size = size_of_dtype(dtype);
        let address = self.map.as_ptr().addr().wrapping_add(range.start);
        range.start <= range.end
            && range.end <= self.bytes
            && range.len().is_multiple_of(size)
            && address.is_multiple_of(size)
    }

    /// Pieces of the file, each the memory of a buffer of its own. None if one does not [fit](Mapped::fits) or two overlap.
    pub fn buffers(self, pieces: &[(DType, Range<usize>)]) -> Option<Vec<Buffer>> {
        let mut order: Vec<&Range<usize>> = pieces.iter().map(|(_, range)| range).collect();
        order.sort_by_key(|range| range.start);
        let apart = order.windows(2).all(|pair| pair[0].end <= pair[1].start);
        if !apart || !pieces.iter().all(|(dtype, range)| self.fits(*dtype, range)) {
            return None;
        }
        let map = Arc::new(MmapRaw::from(self.map));
        let buffers = pieces.iter().map(|(dtype, range)| {
            let (len, bytes) = (range.len() / size_of_dtype(*dtype), range.len());
            if is_guarded() {
                let own = Buffer::zeros(*dtype, len).ok()?;
                // SAFETY: both have so many bytes.
                unsafe { std::ptr::copy_nonoverlapping(map.as_ptr().add(range.start), own.pointer(), bytes) };
                return Some(own);
            }
            let block = NonNull::new(map.as_mut_ptr().wrapping_add(range.start))?;
            // SAFETY: inside the map, and no two pieces share a byte; the map itself is looked at no more.
            let memory = unsafe { Memory::of_file(map.clone(), block, bytes) };
            Some(Buffer::of(*dtype, len, memory))
        });
        buffers.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &[u8]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("bdl-mapped-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn buffers_hold_what_the_file_holds_and_leave_it_as_it_is() {
        let content: Vec<u8> = [1.5f32, -2.0, 3.25].iter().flat_map(|x| x.to_le_bytes()).collect();
        let path = file("buffers", &content);
        let pieces = [(DType::F32, 4..12), (DType::F32, 0..4)];
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(mapped.bytes(), content);
        mapped.release();
        assert_eq!(mapped.bytes(), content);
        let mut buffers = mapped.buffers(&pieces).unwrap();
        let (mut first, other) = (buffers.remove(0), buffers.remove(0));
        assert_eq!(first.slice::<f32>().unwrap(), [-2.0, 3.25]);
        first.slice_mut::<f32>().unwrap()[0] = 7.0;
        assert_eq!(first.slice::<f32>().unwrap(), [7.0, 3.25]);
        assert_eq!(std::fs::read(&path).unwrap(), content, "the file is as it was");
        drop(first);
        assert_eq!(other.slice::<f32>().unwrap(), [1.5]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let path = file("refused", &[0; 16]);
        let open = || Mapped::open(&path).unwrap();
        assert!(open().buffers(&[(DType::F32, 0..8), (DType::F32, 4..12)]).is_none(), "overlapping");
        assert!(open().buffers(&[(DType::F32, 8..20)]).is_none(), "beyond the end");
        assert!(open().buffers(&[(DType::F32, 1..9)]).is_none(), "not aligned");
        assert!(open().buffers(&[(DType::F32, 12..14)]).is_none(), "half an element");
        assert!(open().buffers(&[(DType::F32, 8..16), (DType::F32, 0..8)]).is_some());
        std::fs::write(&path, []).unwrap();
        assert_eq!(open().bytes(), [0u8; 0]);
        std::fs::remove_file(&path).unwrap();
        assert!(Mapped::open(&path).is_err());
    }
}
