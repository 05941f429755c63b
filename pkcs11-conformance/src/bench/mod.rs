//! Side-by-side measurement of modules: each in a process of its own, in turns, so that what disturbs the machine disturbs
//! all alike.

mod chart;
#[cfg(feature = "floor")]
mod floor;
mod ops;
mod scale;
mod stats;
mod worker;

use std::io::IsTerminal;
use std::path::PathBuf;

use serde::Serialize;

use crate::context::Env;
use stats::Summary;
use worker::{Sample, Worker};

/// What to measure and how long.
pub struct Plan {
    /// Only operations whose name contains one of these.
    pub only: Vec<String>,
    pub sizes: Vec<usize>,
    pub objects: Vec<usize>,
    pub threads: Vec<usize>,
    pub processes: Vec<usize>,
    pub rounds: usize,
    /// Milliseconds of one round of one module.
    pub slice: u64,
    pub floor: bool,
}

/// One line of the result: an operation under a load, and what each module made of it.
#[derive(Serialize)]
pub struct Line {
    pub operation: String,
    pub threads: usize,
    pub processes: usize,
    /// In the order of the modules; `None` where the module cannot do it, with the reason in `missing`.
    pub results: Vec<Option<Summary>>,
    pub missing: Vec<Option<String>>,
    /// What a module's side said when it was prepared.
    pub said: Vec<String>,
}

#[derive(Serialize)]
pub struct Bench {
    pub modules: Vec<String>,
    pub lines: Vec<Line>,
}

/// Runs the plan for all modules; the first one is the one that the others are compared with.
pub fn run(envs: &[Env], plan: &Plan) -> Result<Bench, String> {
    let mut modules: Vec<String> = envs.iter().map(name).collect();
    let floor = plan.floor && cfg!(feature = "floor");
    if plan.floor && !floor {
        return Err("built without the feature `floor`".to_owned());
    }
    if floor {
        modules.push("floor".to_owned());
    }
    let cases = ops::cases(plan);
    let loads: Vec<_> = plan.threads.iter().map(|t| (*t, 1)).chain(plan.processes.iter().map(|p| (1, *p))).collect();
    let rows: Vec<_> = cases
        .iter()
        .flat_map(|case| loads.iter().map(move |load| (case, *load)))
        .filter(|(case, load)| *load == (1, 1) || case.parallel)
        .collect();
    let mut lines = Vec::new();
    for (done, (case, (threads, processes))) in rows.iter().enumerate() {
        progress(&bar(done, rows.len(), &format!("{}, {threads} threads, {processes} processes", case.name)));
        lines.push(measure(envs, floor, case, *threads, *processes, plan)?);
    }
    progress("");
    Ok(Bench { modules, lines })
}

/// How far it has come, and with what it is busy.
fn bar(done: usize, total: usize, what: &str) -> String {
    const WIDTH: usize = 30;
    let full = done * WIDTH / total.max(1);
    format!("[{}{}] {done}/{total} {what}", "#".repeat(full), "-".repeat(WIDTH - full))
}

fn name(env: &Env) -> String {
    env.module.file_name().map_or_else(|| env.module.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

/// One operation under one load: all modules prepared, then rounds in turns.
fn measure(
    envs: &[Env],
    floor: bool,
    case: &ops::Case,
    threads: usize,
    processes: usize,
    plan: &Plan,
) -> Result<Line, String> {
    let sides = envs.len() + usize::from(floor);
    let mut workers: Vec<Vec<Worker>> = Vec::new();
    let mut missing: Vec<Option<String>> = vec![None; sides];
    let mut said = vec![String::new(); sides];
    for (side, why) in missing.iter_mut().enumerate() {
        let mut team = Vec::new();
        // One after the other: each finds the token as the one before left it.
        while team.len() < processes && why.is_none() {
            let mut worker = Worker::start(envs.get(side), case)?;
            match worker.ready() {
                Ok(text) if text.is_empty() => {}
                Ok(text) => said[side] = text,
                Err(reason) => *why = Some(reason),
            }
            team.push(worker);
        }
        workers.push(team);
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); sides];
    // The first round warms up and is not kept.
    for round in 0..=plan.rounds {
        for (side, team) in workers.iter_mut().enumerate() {
            if missing[side].is_some() {
                continue;
            }
            team.iter_mut().for_each(|w| w.go(threads, plan.slice));
            let taken: Vec<_> = team.iter_mut().map(Worker::sample).collect();
            match taken.into_iter().collect::<Result<Vec<Sample>, _>>() {
                Ok(taken) if round > 0 => samples[side].push(Sample::together(&taken)),
                Ok(_) => {}
                Err(why) => missing[side] = Some(why),
            }
        }
    }
    let results = samples.iter().zip(&missing).map(|(s, m)| m.is_none().then(|| Summary::of(s))).collect();
    Ok(Line { operation: case.name.clone(), threads, processes, results, missing, said })
}

/// The result as a table: per module the median time and CPU time of one operation, and how many times as long as the
/// first module's the CPU time is.
pub fn table(bench: &Bench) -> String {
    use std::fmt::Write as _;
    let mut out = format!("{:<46} {:>3} {:>3}", "operation", "thr", "prc");
    for (i, m) in bench.modules.iter().enumerate() {
        let _ = write!(out, " | {:>12} {:>7} {:>10} {:>11} {:>5}", short(m), "spread", "cpu/op", "op/s", "MiB");
        if i > 0 {
            let _ = write!(out, " {:>7}", "ratio");
        }
    }
    out.push('\n');
    for line in &bench.lines {
        let _ = write!(out, "{:<46} {:>3} {:>3}", line.operation, line.threads, line.processes);
        let first = line.results.first().and_then(Option::as_ref).map(|s| s.cpu);
        for (i, result) in line.results.iter().enumerate() {
            let _ = match result {
                Some(s) => write!(
                    out,
                    " | {:>12} {:>6.1}% {:>10} {:>11.0} {:>5}",
                    stats::duration(s.wall),
                    100.0 * s.spread,
                    stats::duration(s.cpu),
                    s.rate,
                    s.resident / 1024
                ),
                None => write!(out, " | {:>49}", "-"),
            };
            if i > 0 {
                let ratio = result.as_ref().zip(first).map(|(s, f)| format!("{:.2}", s.cpu / f));
                let _ = write!(out, " {:>7}", ratio.unwrap_or_default());
            }
        }
        out.push('\n');
    }
    let mut reasons: Vec<String> = Vec::new();
    for line in &bench.lines {
        for ((m, why), said) in bench.modules.iter().zip(&line.missing).zip(&line.said) {
            let said = Some(said).filter(|said| !said.is_empty());
            reasons.extend(why.iter().chain(said).map(|text| format!("{m}: {}: {text}", line.operation)));
        }
    }
    reasons.dedup();
    reasons.iter().for_each(|r| out.push_str(&format!("{r}\n")));
    out
}

fn short(module: &str) -> &str {
    let stem = module.trim_start_matches("lib").trim_end_matches(".so");
    stem.get(..12).unwrap_or(stem)
}

/// The chart as SVG.
pub fn svg(bench: &Bench) -> String {
    chart::svg(bench)
}

/// Where results go.
pub fn write(bench: &Bench, json: Option<&PathBuf>, svg_file: Option<&PathBuf>) -> Result<(), String> {
    let put =
        |p: &PathBuf, text: String| std::fs::write(p, text).map_err(|e| format!("cannot write {}: {e}", p.display()));
    json.map_or(Ok(()), |p| put(p, serde_json::to_string_pretty(bench).unwrap_or_default()))?;
    svg_file.map_or(Ok(()), |p| put(p, svg(bench)))
}
