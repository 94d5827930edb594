//! (see the architecture page)
