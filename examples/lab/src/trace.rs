//! What a program saw: which datagrams it sent and received, and when.

use std::collections::HashSet;
use std::time::Duration;

/// Datagrams by number and time (CLOCK_MONOTONIC, nanoseconds), in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Sent.
    pub sent: Vec<(u64, u64)>,
    /// Received.
    pub received: Vec<(u64, u64)>,
    /// Calls that failed: the name of the error and the time.
    pub errors: Vec<(String, u64)>,
}

impl Trace {
    /// Read the lines that the programs print. A last line without its end is still being written, and left out.
    pub fn parse(text: &str) -> Self {
        let mut trace = Trace::default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let mut words = line.split_whitespace();
            let (Some(kind), Some(what), Some(Ok(at))) =
                (words.next(), words.next(), words.next().map(str::parse))
            else {
                continue;
            };
            match (kind, what.parse()) {
                ("S", Ok(number)) => trace.sent.push((number, at)),
                ("R", Ok(number)) => trace.received.push((number, at)),
                ("E", _) => trace.errors.push((what.to_owned(), at)),
                _ => {}
            }
        }
        trace
    }

    /// The longest time within `from..until` in which nothing was received, the edges counted as if something was.
    pub fn longest_silence(&self, from: u64, until: u64) -> Duration {
        let times = self.received.iter().map(|&(_, at)| at).filter(|at| (from..until).contains(at));
        let mut last = from;
        let mut longest = 0;
        for at in times.chain([until]) {
            longest = longest.max(at.saturating_sub(last));
            last = at;
        }
        Duration::from_nanos(longest)
    }

    /// Whether anything was received within `from..until`.
    pub fn heard(&self, from: u64, until: u64) -> bool {
        self.received.iter().any(|(_, at)| (from..until).contains(at))
    }

    /// Datagrams sent before `until` that were never received again, as an echo.
    pub fn lost(&self, until: u64) -> usize {
        let back: HashSet<u64> = self.received.iter().map(|&(number, _)| number).collect();
        self.sent.iter().filter(|(number, at)| *at < until && !back.contains(number)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_count_the_edges_and_the_gaps() {
        let trace = Trace::parse("S 1 100\nR 1 110\nS 2 200\nE EINVAL 205\nR 3 400\nS 4 500\nR 4 9");
        assert_eq!(trace.sent, [(1, 100), (2, 200), (4, 500)]);
        assert_eq!(trace.received, [(1, 110), (3, 400)]);
        assert_eq!(trace.errors, [("EINVAL".to_owned(), 205)]);
        assert_eq!(trace.longest_silence(100, 450), Duration::from_nanos(290));
        assert_eq!(trace.longest_silence(100, 1000), Duration::from_nanos(600));
        assert_eq!(trace.longest_silence(120, 300), Duration::from_nanos(180));
        assert!(trace.heard(400, 401) && !trace.heard(401, 500));
        assert_eq!((trace.lost(450), trace.lost(501), trace.lost(150)), (1, 2, 0));
    }
}
