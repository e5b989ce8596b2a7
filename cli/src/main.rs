//! The binary; see the library.

fn main() -> std::process::ExitCode {
    leasehold_cli::main(std::env::args_os()).into()
}
