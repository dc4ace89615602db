//! The search for a modifier on all cores.

use shim6::crypto::Search;
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Modifiers that a thread tries at a time: some hundredths of a second.
pub(super) const CHUNK: u64 = 1 << 16;
/// Time between two looks at how far it is.
const TICK: Duration = Duration::from_millis(100);

struct State {
    /// First number that no thread has taken.
    next: u64,
    /// Smallest number found.
    found: Option<u64>,
    /// Where the chunk begins that each thread works on.
    working: Vec<Option<u64>>,
    stop: bool,
}

impl State {
    /// All below was tried without success.
    fn done(&self) -> u64 {
        self.working.iter().flatten().copied().min().unwrap_or(self.next)
    }
}

/// The number, counted from `start`, of the first modifier that fits, from `done` on: the same one whatever the number of
/// threads. `tick` hears now and then below which number all was tried; with `Break` the search ends soon after.
///
/// # Errors
///
/// The number below which all was tried, if `tick` ended the search.
pub(super) fn run(
    search: &Search,
    start: &[u8; 16],
    done: u64,
    threads: usize,
    chunk: u64,
    tick: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<u64, u64> {
    let threads = threads.max(1);
    let state =
        Mutex::new(State { next: done, found: None, working: vec![Some(done); threads], stop: false });
    let ended = Condvar::new();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (state, ended) = (&state, &ended);
            scope.spawn(move || {
                loop {
                    // Not in a condition, where the lock would be held as long as the chunk takes
                    let next = take(&mut lock(state), thread, chunk);
                    let Some(from) = next else { break };
                    if let Some(n) = search.find(start, from, chunk) {
                        let mut state = lock(state);
                        state.found = Some(state.found.map_or(n, |old| old.min(n)));
                    }
                }
                ended.notify_all();
            });
        }
        let mut guard = lock(&state);
        while guard.working.iter().any(Option::is_some) {
            guard = ended.wait_timeout(guard, TICK).unwrap_or_else(PoisonError::into_inner).0;
            let tried = guard.done();
            drop(guard);
            // It may write a file, which no thread should wait for
            let go_on = tick(tried);
            guard = lock(&state);
            guard.stop |= go_on.is_break();
        }
    });
    let state = lock(&state);
    // A stop between two chunks leaves none half done
    state.found.ok_or(state.next)
}

/// The next chunk, unless a smaller number was found already, or it is to stop.
fn take(state: &mut State, thread: usize, chunk: u64) -> Option<u64> {
    let from = state.next;
    if state.stop || state.found.is_some_and(|n| n < from) {
        state.working[thread] = None;
        return None;
    }
    state.next += chunk;
    state.working[thread] = Some(from);
    Some(from)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim6::crypto::modifier_at;

    fn easy(bits: u32) -> Search {
        Search::for_cga(0, &[0x30, 0]).unwrap().with_difficulty(bits)
    }

    fn go_on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn any_number_of_threads_finds_the_first() {
        // HC-GEN-06, HC-HBA-07
        for seed in 0..20u8 {
            let (search, start) = (easy(11), [seed; 16]);
            let first = (0..).find(|n| search.fits(&modifier_at(&start, *n))).unwrap();
            for threads in [1, 2, 7] {
                for chunk in [1, 64, 10_000] {
                    assert_eq!(run(&search, &start, 0, threads, chunk, &mut go_on), Ok(first), "{seed}");
                }
            }
        }
    }

    #[test]
    fn an_interrupted_search_goes_on() {
        // HC-GEN-16
        let (search, start) = (easy(20), [7; 16]);
        let whole = run(&search, &start, 0, 2, CHUNK, &mut go_on).unwrap();
        let mut done = 0;
        let mut stops = 0;
        let found = loop {
            // Each time at the first tick
            match run(&search, &start, done, 3, 5000, &mut |_| ControlFlow::Break(())) {
                Ok(n) => break n,
                Err(next) => {
                    assert!(next >= done);
                    // Nothing below was left out
                    assert!(next <= whole, "{next} of {whole}");
                    done = next;
                    stops += 1;
                }
            }
        };
        assert_eq!(found, whole);
        assert!(stops > 0 || whole < 100_000);
    }

    #[test]
    fn ticks_tell_what_is_done() {
        let (search, start) = (easy(40), [1; 16]);
        let mut seen = Vec::new();
        let end = run(&search, &start, 1000, 2, 500, &mut |done| {
            seen.push(done);
            if seen.len() >= 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(seen.len() >= 3);
        assert!(seen.is_sorted() && seen[0] >= 1000 && end.unwrap_err() >= seen[2], "{seen:?} {end:?}");
        assert_eq!((end.unwrap_err() - 1000) % 500, 0);
    }
}
