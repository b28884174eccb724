//! A bundle brings exactly the release that was signed, or nothing that was not verified.

mod asking;
mod forbidden;
mod hostile;
mod kit;
mod record;
mod roads;
mod upstream;
mod whole;
