//! A block of memory that one writer fills from front to back while many readers read what is already there.
//!
//! The rule that makes this sound: bytes below `published` never change, and only the one `ChunkWriter` touches those
//! above it. `published` is stored with release order after the bytes, and loaded with acquire order before them.

use std::alloc::{self, Layout};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::sync::modelled::{AtomicUsize, Ordering, fence};

/// Memory of a fixed capacity, not initialised, freed on drop. The operating system backs it page by page as it is
/// used.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
    #[cfg(all(test, feature = "model"))]
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
            #[cfg(all(test, feature = "model"))]
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
        #[cfg(all(test, feature = "model"))]
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
        #[cfg(all(test, feature = "model"))]
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

struct CountedChunk {
    references: AtomicUsize,
    chunk: Chunk,
}

/// A shared chunk, as an `Arc` would be; but making one fails where there is no memory, which `Arc` cannot.
pub(super) struct ChunkRef(NonNull<CountedChunk>);

// SAFETY: as for an `Arc<Chunk>`: a `Chunk` may be used and dropped by any thread, and the count is atomic.
unsafe impl Send for ChunkRef {}
// SAFETY: as above.
unsafe impl Sync for ChunkRef {}

impl ChunkRef {
    /// `None` when there is no memory.
    fn new(chunk: Chunk) -> Option<Self> {
        // SAFETY: the type has a size.
        let counted = NonNull::new(unsafe { alloc::alloc(Layout::new::<CountedChunk>()) })?.cast::<CountedChunk>();
        // SAFETY: fresh memory with the type's layout, which nobody else knows.
        unsafe { counted.write(CountedChunk { references: AtomicUsize::new(1), chunk }) };
        Some(Self(counted))
    }

    fn counted(&self) -> &CountedChunk {
        // SAFETY: it lives as long as one reference does, and this is one.
        unsafe { self.0.as_ref() }
    }

    /// The chunk, if this is the last reference.
    pub(super) fn into_inner(self) -> Option<Chunk> {
        let this = ManuallyDrop::new(self);
        if this.counted().references.fetch_sub(1, Ordering::Release) != 1 {
            return None;
        }
        fence(Ordering::Acquire);
        // SAFETY: the last reference is gone, and what all others did happened before. The memory came from the global
        // allocator with this very layout, as a box's does.
        Some(unsafe { Box::from_raw(this.0.as_ptr()) }.chunk)
    }
}

impl Clone for ChunkRef {
    fn clone(&self) -> Self {
        // One for each cursor that is sending at this moment, and a few more: it cannot overflow.
        self.counted().references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Deref for ChunkRef {
    type Target = Chunk;

    #[inline]
    fn deref(&self) -> &Chunk {
        &self.counted().chunk
    }
}

impl Drop for ChunkRef {
    #[inline]
    fn drop(&mut self) {
        if self.counted().references.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: as in `into_inner`.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// The one writer of a chunk. There is no other way to write, and it cannot be cloned.
pub(super) struct ChunkWriter {
    chunk: ChunkRef,
    written: usize,
}

impl ChunkWriter {
    /// An empty chunk in this memory, and its writer. `None` when there is no memory for what belongs to it.
    pub(super) fn new(memory: Memory) -> Option<(Self, ChunkRef)> {
        let chunk = ChunkRef::new(Chunk { memory, published: AtomicUsize::new(0) })?;
        Some((Self { chunk: chunk.clone(), written: 0 }, chunk))
    }

    /// Bytes that still fit.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.chunk.capacity() - self.written
    }

    /// Writes `bytes` after what is there; readers do not see them yet.
    ///
    /// # Panics
    /// When they do not fit.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room());
        // SAFETY: the range lies past `written >= published`, which no reader touches, fits as just checked, and
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

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn readers_see_published_bytes_only() {
        let (mut writer, chunk) = ChunkWriter::new(Memory::new(16).unwrap()).unwrap();
        writer.write(b"abc");
        assert_eq!(chunk.bytes(), b"");
        writer.publish();
        assert_eq!(chunk.bytes(), b"abc");
        assert_eq!(writer.room(), 13);
    }

    #[test]
    fn the_last_reference_gives_the_chunk_back() {
        let (writer, chunk) = ChunkWriter::new(Memory::new(16).unwrap()).unwrap();
        let sending = chunk.clone();
        assert!(chunk.into_inner().is_none());
        drop(writer);
        assert_eq!(sending.into_inner().unwrap().into_memory().capacity(), 16);
        // And one that is dropped frees it; a tool for memory would find it otherwise.
        let (writer, chunk) = ChunkWriter::new(Memory::new(16).unwrap()).unwrap();
        drop(chunk);
        drop(writer);
    }

    #[test]
    #[should_panic(expected = "bytes.len() <= self.room()")]
    fn writing_past_the_end_is_refused() {
        let (mut writer, _) = ChunkWriter::new(Memory::new(4).unwrap()).unwrap();
        writer.write(b"abcde");
    }
}

#[cfg(all(test, feature = "model"))]
mod model {
    use super::*;

    /// Loom tries every interleaving and reports a byte that is read and written at once.
    #[test]
    fn a_reader_never_meets_the_writer() {
        loom::model(|| {
            let (mut writer, chunk) = ChunkWriter::new(Memory::new(4).unwrap()).unwrap();
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
    /// Whoever lets go last has the chunk for itself: what the others read was read before.
    #[test]
    fn one_of_those_that_let_go_is_the_last() {
        loom::model(|| {
            let (mut writer, chunk) = ChunkWriter::new(Memory::new(4).unwrap()).unwrap();
            writer.write(b"a");
            writer.publish();
            drop(writer);
            let sending = chunk.clone();
            let sender = loom::thread::spawn(move || {
                assert_eq!(sending.bytes(), b"a");
            });
            if let Some(chunk) = chunk.into_inner() {
                // SAFETY: nobody else has the chunk any more, which is what is tested.
                unsafe { chunk.into_memory().write(0, b"b") };
            }
            sender.join().unwrap();
        });
    }
}
