//! Turns `src/bdl.lalrpop` into the parser's tables.

fn main() {
    println!("cargo::rerun-if-changed=src/bdl.lalrpop");
    if let Err(error) = lalrpop::process_src() {
        panic!("src/bdl.lalrpop: {error}");
    }
}
