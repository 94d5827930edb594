//! Drop folders: files arrive, are taken when complete, and are moved on.
