//! Runs targets with inputs that are seeds mutated blindly: `keyward-fuzz [--seconds N] [--seed N] [TARGET...]`, or
//! replays inputs: `keyward-fuzz --replay TARGET FILE...`.
//!
//! The input at work stands in `target/fuzz/TARGET.input`, where it stays when the target panics or crashes. Inputs in
//! `fuzz/corpus/TARGET`, among them all that once failed, are run first.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyward_fuzz::words::Dice;
use keyward_fuzz::{TARGETS, Target, target};

const USAGE: &str = "keyward-fuzz [--seconds N] [--seed N] [TARGET...] | --replay TARGET FILE...";

/// The library's panic guard at the C boundary turns a panic into a return code; here it must not go unseen.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// Runs one input; the error names the file that holds it.
fn once(target: &Target, input: &[u8]) -> Result<(), String> {
    let place = here().join("../target/fuzz").join(format!("{}.input", target.name));
    let write = || std::fs::create_dir_all(place.parent()?).and_then(|()| std::fs::write(&place, input)).ok();
    write().ok_or_else(|| format!("cannot write {}", place.display()))?;
    let result = std::panic::catch_unwind(|| (target.run)(input));
    if result.is_err() || PANICKED.load(Ordering::Relaxed) {
        return Err(format!("{} panics; its input is {}", target.name, place.display()));
    }
    let _ = std::fs::remove_file(&place);
    Ok(())
}

fn fuzz(target: &Target, time: Duration, seed: u64) -> Result<u64, String> {
    let mut inputs = (target.seeds)();
    for file in files(&here().join("corpus").join(target.name)) {
        inputs.push(std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?);
    }
    let mut runs = 0;
    for input in &inputs {
        once(target, input)?;
        runs += 1;
    }
    let (mut dice, end) = (Dice(seed), Instant::now() + time);
    while Instant::now() < end {
        let input = match dice.below(16) {
            0 => {
                let n = dice.below(512);
                dice.bytes(n)
            }
            _ => dice.mutated(&inputs),
        };
        once(target, &input)?;
        runs += 1;
    }
    Ok(runs)
}

fn run() -> Result<(), String> {
    let (mut time, mut seed, mut chosen) = (Duration::from_secs(60), None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse::<u64>().ok()).ok_or(USAGE);
        match word.as_str() {
            "--seconds" => time = Duration::from_secs(number()?),
            "--seed" => seed = Some(number()?),
            "--replay" => {
                let target = arguments.next().and_then(|name| target(&name)).ok_or(USAGE)?;
                for file in arguments {
                    once(target, &std::fs::read(&file).map_err(|e| format!("{file}: {e}"))?)?;
                    println!("{file}: passed");
                }
                return Ok(());
            }
            name => chosen.push(target(name).ok_or_else(|| format!("no target {name}\n{USAGE}"))?),
        }
    }
    if chosen.is_empty() {
        chosen = TARGETS.iter().collect();
    }
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos() as u64);
    let seed = seed.unwrap_or_else(clock);
    for target in chosen {
        let runs = fuzz(target, time, seed).map_err(|e| format!("{e} (--seed {seed})"))?;
        println!("{:<20} {runs} inputs, seed {seed}", target.name);
    }
    let (reached, others) = keyward_fuzz::reached();
    if !reached.is_empty() {
        println!("{} functions succeeded for some input; never: {}", reached.len(), others.join(" "));
    }
    Ok(())
}

fn main() -> ExitCode {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::Relaxed);
        default(info);
    }));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("keyward-fuzz: {why}");
            ExitCode::FAILURE
        }
    }
}
