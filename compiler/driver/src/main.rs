//! The `bdl` binary: parses the command line, runs the command, prints what it returns, and picks the exit code.

use bdl::cli::Cli;
use bdl::command;
use clap::Parser;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// A compiler makes and drops millions of small pieces; a third of its time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Of mimalloc: gives pages without anything in them back to the system.
    safe fn mi_collect(force: bool);
}

/// A bug of ours.
const BUG: u8 = 101;

fn main() -> ExitCode {
    command::bench::note_start();
    bdl_kernels::machine::small_pages();
    bdl::memory::collect_by(|| mi_collect(true));
    let cli = Cli::parse();
    let json = cli.global.json;
    std::panic::set_hook(Box::new(|panic| {
        eprintln!(
            "this is a bug in bdl, not in your program: {panic}\nplease report it with the program that shows it"
        );
    }));
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match std::panic::catch_unwind(|| command::run(cli, coloured)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(failure)) => {
            // Nothing can be done about a closed pipe.
            if json {
                for line in failure.to_json() {
                    let _ = writeln!(std::io::stdout(), "{line}");
                }
            } else {
                let _ = writeln!(std::io::stderr(), "{failure}");
            }
            ExitCode::from(failure.exit_code())
        }
        Err(_) => ExitCode::from(BUG),
    }
}
