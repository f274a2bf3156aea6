//! A piece of memory that one writer fills from front to back while many readers read what is already there.
//!
//! The rule that makes this sound: bytes below `published` never change, and only the one `ChunkWriter` touches those
//! above it. `published` is stored with release order after the bytes, and loaded with acquire order before them.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

use super::sync::{Arc, AtomicUsize, Ordering};

/// Memory of a fixed capacity, not initialised, freed on drop. The operating system backs it page by page as it is used.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
    #[cfg(all(test, model))]
    track: Vec<loom::cell::UnsafeCell<()>>,
}

// SAFETY: `Memory` owns its allocation; who may touch which bytes is ruled by `Chunk` and `ChunkWriter`.
unsafe impl Send for Memory {}
// SAFETY: as above; `Memory` itself gives no access without `unsafe`.
unsafe impl Sync for Memory {}

impl Memory {
    /// `capacity` bytes, or `None` when there is no memory. The capacity must not be 0.
    pub(super) fn new(capacity: usize) -> Option<Self> {
        debug_assert!(capacity > 0);
        let layout = Layout::from_size_align(capacity.max(1), 64).ok()?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc::alloc(layout) })?;
        Some(Self {
            start,
            layout,
            #[cfg(all(test, model))]
            track: (0..capacity).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Safety
    /// `at + bytes.len()` is within the capacity and nobody else reads or writes that range meanwhile.
    #[inline]
    unsafe fn write(&self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.capacity());
        #[cfg(all(test, model))]
        for cell in &self.track[at..at + bytes.len()] {
            cell.with_mut(|_| ());
        }
        // SAFETY: the range lies within the allocation and is the caller's alone; `bytes` cannot overlap it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len()) }
    }

    /// The first `len` bytes.
    ///
    /// # Safety
    /// They were all written before, and nobody writes them while the slice lives.
    #[inline]
    unsafe fn slice(&self, len: usize) -> &[u8] {
        debug_assert!(len <= self.capacity());
        #[cfg(all(test, model))]
        for cell in &self.track[..len] {
            cell.with(|_| ());
        }
        // SAFETY: within the allocation, initialised and unchanging as the caller promises.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc` with this very layout and is freed once.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// What readers see: the bytes written so far.
pub(super) struct Chunk {
    memory: Memory,
    published: AtomicUsize,
}

impl Chunk {
    /// The bytes published so far. A later call may see more; the ones seen stay as they are.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        let published = self.published.load(Ordering::Acquire);
        // SAFETY: the writer published `published` bytes after writing them and never touches them again.
        unsafe { self.memory.slice(published) }
    }

    pub(super) fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// The memory again, for another chunk.
    pub(super) fn into_memory(self) -> Memory {
        self.memory
    }
}

/// The one writer of a chunk. There is no other way to write, and it cannot be cloned.
pub(super) struct ChunkWriter {
    chunk: Arc<Chunk>,
    written: usize,
}

impl ChunkWriter {
    /// An empty chunk in this memory, and its writer.
    pub(super) fn new(memory: Memory) -> (Self, Arc<Chunk>) {
        let chunk = Arc::new(Chunk { memory, published: AtomicUsize::new(0) });
        (Self { chunk: Arc::clone(&chunk), written: 0 }, chunk)
    }

    /// Bytes that still fit.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.chunk.capacity() - self.written
    }

    /// Writes `bytes` behind what is there; readers do not see them yet.
    ///
    /// # Panics
    /// When they do not fit.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room());
        // SAFETY: the range lies behind `written >= published`, which no reader touches, fits as just checked, and
        // `&mut self` is the only writer.
        unsafe { self.chunk.memory.write(self.written, bytes) };
        self.written += bytes.len();
    }

    /// Shows readers all that was written.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.chunk.published.store(self.written, Ordering::Release);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn readers_see_published_bytes_only() {
        let (mut writer, chunk) = ChunkWriter::new(Memory::new(16).unwrap());
        writer.write(b"abc");
        assert_eq!(chunk.bytes(), b"");
        writer.publish();
        assert_eq!(chunk.bytes(), b"abc");
        assert_eq!(writer.room(), 13);
    }

    #[test]
    #[should_panic(expected = "bytes.len() <= self.room()")]
    fn writing_past_the_end_is_refused() {
        let (mut writer, _) = ChunkWriter::new(Memory::new(4).unwrap());
        writer.write(b"abcde");
    }
}

#[cfg(all(test, model))]
mod model {
    use super::*;

    /// Loom tries every interleaving and reports a byte that is read and written at once.
    #[test]
    fn a_reader_never_meets_the_writer() {
        loom::model(|| {
            let (mut writer, chunk) = ChunkWriter::new(Memory::new(4).unwrap());
            let reader = loom::thread::spawn(move || {
                let first = chunk.bytes().to_vec();
                let second = chunk.bytes().to_vec();
                assert!(second.starts_with(&first));
                assert!(b"abcd".starts_with(&second[..]));
                assert_ne!(second.len(), 1, "half an entry was shown");
            });
            writer.write(b"a");
            writer.write(b"b");
            writer.publish();
            writer.write(b"cd");
            writer.publish();
            reader.join().unwrap();
        });
    }
}
