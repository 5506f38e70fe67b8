//! The network rim: listeners and connections. Bytes in, bytes out; what they mean is `api`'s.

pub mod connection;
pub mod gate;
pub mod listener;
