//! Whatever decides where datagrams without extension header go, and whose they are, may have changed since an epoch that is
//! over. One for the process: changes are rare, and what was decided before is decided again at little cost.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

static EPOCH: AtomicU64 = AtomicU64::new(1);

/// To be asked before deciding, and again before the decision is used. Never 0.
#[inline(always)]
pub fn now() -> u64 {
    EPOCH.load(SeqCst)
}

/// Something has changed.
pub(in super::super) fn advance() {
    EPOCH.fetch_add(1, SeqCst);
}
