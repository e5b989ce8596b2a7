//! `soak SECONDS [SEED]`: see [`leasehold_tests::soak`].

use std::process::ExitCode;
use std::time::Duration;

use leasehold_tests::soak;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["worker", url] => soak::work(url).map_err(|e| e.to_string()),
        [seconds] => run(seconds, &fastrand::u64(..).to_string()),
        [seconds, seed] => run(seconds, seed),
        _ => Err("usage: soak SECONDS [SEED]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("soak: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(seconds: &str, seed: &str) -> Result<(), String> {
    let usage = "SECONDS and SEED are whole numbers";
    let (seconds, seed) = (seconds.parse(), seed.parse());
    let length = Duration::from_secs(seconds.map_err(|_| usage)?);
    let worker = std::env::current_exe().map_err(|e| e.to_string())?;
    soak::run(&worker, length, seed.map_err(|_| usage)?).map_err(|e| e.to_string())
}
