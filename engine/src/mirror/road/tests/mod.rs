//! A bundle brings exactly the release that was signed, or nothing that was not verified.

mod kit;
mod whole;
