//! `soak WORD SECONDS [SEED]`, all parts with the word in their name together for
//! that long: see [`leasehold_tests::soak`].

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use leasehold_tests::soak;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["worker", url, registers] => {
            soak::work(url, Path::new(registers)).map_err(|e| e.to_string())
        }
        [word, seconds] => run(word, seconds, &fastrand::u64(..).to_string()),
        [word, seconds, seed] => run(word, seconds, seed),
        _ => Err("usage: soak WORD SECONDS [SEED]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("soak: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(word: &str, seconds: &str, seed: &str) -> Result<(), String> {
    let usage = "SECONDS and SEED are whole numbers";
    let (seconds, seed) = (seconds.parse(), seed.parse());
    let length = Duration::from_secs(seconds.map_err(|_| usage)?);
    let worker = std::env::current_exe().map_err(|e| e.to_string())?;
    let parts = soak::count(word).max(1) as u32;
    soak::run(&worker, word, length / parts, seed.map_err(|_| usage)?).map_err(|e| e.to_string())
}
