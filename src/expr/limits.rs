//! The bounds of the language. They are constants, not settings: a legitimate rule is far below
//! them, and what is above them is a mistake or an attack.

/// Longest source of one expression, in bytes.
pub(super) const SOURCE_BYTES: usize = 4 * 1024;
/// Deepest nesting of an expression.
pub(super) const DEPTH: u8 = 64;
/// Most parts (literals, names, operators, calls) of one expression.
pub(super) const NODES: usize = 1000;
/// Longest text that an expression may build, in bytes. Texts of a record that are only passed on
/// may be longer.
pub(super) const TEXT_BYTES: usize = 64 * 1024;
/// Longest list that an expression may build.
pub(super) const ITEMS: usize = 10_000;
/// Most memory of one compiled regular expression, in bytes.
pub(super) const PATTERN_BYTES: usize = 256 * 1024;
/// Most arguments of one call.
pub(super) const ARGUMENTS: usize = 6;
