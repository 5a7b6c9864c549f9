//! `hawser`: argv to library to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hawser::cli::main(std::env::args_os())
}
