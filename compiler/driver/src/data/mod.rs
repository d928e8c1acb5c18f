//! From a `data` block to values: the reader's spec, the types the checker asks for, the parts of the split.

pub mod block;
pub mod constants;
pub mod declared;
pub mod facts;
pub mod laws;
pub mod lengths;
pub mod packed;
pub mod warnings;
