//! What people see: numbers, tables, progress. Words and looks live here, not in the code that computes.

pub mod banner;
pub mod highlight;
pub mod html;
pub mod number;
pub mod plot;
pub mod progress;
pub mod result;
pub mod shapes;
pub mod unfinished;
pub mod value;
