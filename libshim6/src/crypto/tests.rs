//! The vectors of `docs/requirements/hba-cga.md` part I.
