//! The configuration that lets a daemon meet a world.
