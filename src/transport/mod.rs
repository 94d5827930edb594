//! The only users of the network and of drop folders.

pub mod dir;
pub mod http;
pub mod mail;
