//! The `klankbord` binary: parse, run, exit code. May use `cli` and nothing else.

#![deny(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use klankbord::cli;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
