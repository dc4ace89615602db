//! Counts what the engine does in loops that must not grow.

use std::cell::Cell;

thread_local! {
    static DONE: Cell<u64> = const { Cell::new(0) };
}

/// One more.
pub(in crate::engine) fn count() {
    DONE.with(|n| n.set(n.get() + 1));
}

/// How many `f` makes.
pub(super) fn counted(f: impl FnOnce()) -> u64 {
    let before = DONE.with(Cell::get);
    f();
    DONE.with(Cell::get) - before
}
