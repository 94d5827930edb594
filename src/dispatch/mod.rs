//! From a claimed delivery to a settled one.

pub mod policy;
