//! The `freeline` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    freeline::cli::main()
}
