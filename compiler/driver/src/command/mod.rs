//! The commands, one file each: they call the library and decide what is shown.

pub mod new;
