//! An allocator that counts, for tests that bound memory; no program of the product installs it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what each thread asks of the system's allocator. To be installed as
/// `#[global_allocator]`; where it is not, the counts stay zero.
#[derive(Debug, Clone, Copy)]
pub struct CountingAllocator;

thread_local! {
    static ASKED_BYTES: Cell<usize> = const { Cell::new(0) };
    static FREED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that this thread has asked for so far, all requests added up.
pub fn asked_bytes() -> usize {
    ASKED_BYTES.get()
}

/// Bytes that this thread has asked for and not freed, modulo 2⁶⁴: what it freed for another
/// thread counts.
pub fn used_bytes() -> usize {
    ASKED_BYTES.get().wrapping_sub(FREED_BYTES.get())
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only
// thread-local numbers that themselves need no allocation.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED_BYTES.with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: the caller keeps GlobalAlloc's contract, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        FREED_BYTES.with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
