//! An allocator for tests: counts what one thread asks for while it is watched, and says where.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;

/// How many allocations of one thread are shown with the way that led to them.
const SHOWN_MAX: u64 = 4;

/// The system's allocator, counting. To be installed with `#[global_allocator]`.
pub struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static SHOWN: Cell<u64> = const { Cell::new(0) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Performs `task` and says how often it asked for memory, on this thread.
pub fn watch<T>(task: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    WATCHED.set(true);
    let result = task();
    WATCHED.set(false);
    (result, COUNT.get() - before)
}

/// From now on allocations of this thread are only counted, not shown: they are expected.
pub fn show_none() {
    SHOWN.set(SHOWN_MAX);
}

fn note(layout: Layout) {
    if !WATCHED.get() {
        return;
    }
    COUNT.set(COUNT.get() + 1);
    if SHOWN.get() < SHOWN_MAX {
        SHOWN.set(SHOWN.get() + 1);
        // Showing it allocates as well.
        WATCHED.set(false);
        eprintln!("{} bytes allocated at\n{}", layout.size(), way());
        WATCHED.set(true);
    }
}

/// The calls that led here, from what is watched on.
fn way() -> String {
    let all = Backtrace::force_capture().to_string();
    let inner = all.split("counting::watch").next().unwrap_or(&all);
    // Above it the allocator and the collections that called it.
    let lines = inner.lines().skip_while(|line| !line.contains("__rust_"));
    lines.map(|line| format!("{line}\n")).collect()
}

// SAFETY: every call goes to the system's allocator with its arguments unchanged. The cells need no memory of the heap, and
// what `note` allocates itself is not noted, so that it ends.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}
