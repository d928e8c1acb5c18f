//! Tests of the whole, one binary: the reference's examples, the layout of every program, a page and a test for every code.

mod codes;
mod layout;
mod reference;
