//! The clock: CLOCK_BOOTTIME, which counts suspended time too, through the vDSO (no system call).

use crate::time::Time;

/// Nanoseconds since boot.
pub fn now() -> Time {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` outlives the call, which writes one `struct timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut t) };
    Time(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_boot_time_and_does_not_go_back() {
        let a = now();
        let b = now();
        assert!(b >= a);
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let up: f64 = text.split(' ').next().unwrap().parse().unwrap();
        assert!((now().0 as f64 / 1e9 - up).abs() < 1.0);
    }
}
