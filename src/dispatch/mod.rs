//! From a claimed delivery to a settled one.
