//! Who comes last: blocks that computed parts of one result take turns, and the last one puts them together.
//!
//! Every thread of a block has stored its part before. A counter counts the blocks that are done, from 0 to one less than there are, and is then 0
//! again. Only the last block goes on, and sees what the others stored.

use crate::text::{Class, Writer};

/// Ends all blocks but the last of those that share `group`. `blocks`: how many they are (32 bits, the same in all); `thread`: the thread's number.
/// All threads of the block must come here.
pub fn last_goes_on(w: &mut Writer, group: &str, blocks: &str, thread: &str) {
    w.line("membar.gl;");
    w.line("bar.sync 0;");
    w.shared("turn", Class::B32, 1);
    let counter = w.set(Class::B64, "mul.wide.u32", &[group, "4"]);
    let counter = w.set(Class::B64, "add.s64", &[&counter, "%counters"]);
    let last = w.set(Class::B32, "sub.u32", &[blocks, "1"]);
    let counted = w.label("counted");
    let is_other = w.set(Class::Pred, "setp.ne.u32", &[thread, "0"]);
    w.line(format!("@{is_other} bra {counted};"));
    let count = w.set(Class::B32, "atom.global.inc.u32", &[&format!("[{counter}]"), &last]);
    w.line(format!("st.shared.b32 [turn], {count};"));
    w.place(&counted);
    w.line("bar.sync 0;");
    let turn = w.set(Class::B32, "ld.shared.b32", &["[turn]"]);
    let early = w.set(Class::Pred, "setp.ne.u32", &[&turn, &last]);
    w.line(format!("@{early} ret;"));
    w.line("membar.gl;");
}
