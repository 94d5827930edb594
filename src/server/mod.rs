//! How people and other programs reach the daemon: the admin socket, health and metrics.

pub mod admin;
pub mod web;
pub mod webhooks;
