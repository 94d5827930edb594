//! Bytes to rows and back, without knowing where they came from or what they mean.
//!
//! Everything here is pure, streams, and has a bound for each thing that an outsider decides: the size of
//! a file, of a row, of a cell, the number of columns. What cannot be understood is reported with
//! its physical line and column and never guessed: detection ([`sniff`]) only suggests.

pub mod cell;
pub mod csv;
pub mod encoding;
pub mod number;
pub mod sniff;
