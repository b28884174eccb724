//! A rebuilt file is equal byte for byte to what stock zlib made, or there is none and it is said who is at fault.

mod exact;
mod faults;
mod kit;
pub(crate) mod zlib;
