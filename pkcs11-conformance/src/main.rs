//! `pkcs11-conformance`: judges any PKCS#11 module from outside, by its shared library alone.

mod bench;
mod check;
mod context;
mod data;
mod ffi;
mod functions;
mod names;
mod process;
mod profiles;
mod report;
mod runner;
mod vectors;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use context::{Choice, Env};
use report::{Expected, Report};
use runner::Verdict;

#[derive(Parser)]
#[command(version, about = "Black-box checker, vector runner and benchmark for any PKCS#11 module")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the specification as tests against a module
    Check(CheckArgs),
    /// Replay test cases of the PKCS#11 Profiles in their XML form
    Profiles(ProfilesArgs),
    /// Measure modules side by side
    Bench(BenchArgs),
    /// Run the vectors of Wycheproof and NIST ACVP through a module
    Vectors(VectorsArgs),
}

/// Which module, and which token of it.
#[derive(Args)]
struct Target {
    /// The module's shared library
    #[arg(long)]
    module: PathBuf,
    /// String that the module wants in pReserved of C_Initialize
    #[arg(long)]
    init_args: Option<String>,
    /// Slot ID (decimal, or hexadecimal with 0x)
    #[arg(long, value_parser = number)]
    slot: Option<u64>,
    /// Label of the token
    #[arg(long, conflicts_with = "slot")]
    token_label: Option<String>,
    /// PIN of the user
    #[arg(long, env = "PKCS11_USER_PIN", hide_env_values = true)]
    user_pin: Option<String>,
    /// PIN of the security officer
    #[arg(long, env = "PKCS11_SO_PIN", hide_env_values = true)]
    so_pin: Option<String>,
    /// Initialise a token of our own, in a free slot or the one given with --slot, WIPING what is in it; PINs are chosen
    /// if none are given
    #[arg(long)]
    init_token: bool,
    /// Seconds that one test may take
    #[arg(long, default_value_t = 20)]
    timeout: u64,
    /// Show what the module itself prints
    #[arg(long)]
    verbose: bool,
}

fn part(s: &str) -> Result<(usize, usize), String> {
    let numbers = s.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    numbers.filter(|(part, of)| (1..=*of).contains(part)).ok_or_else(|| "expected a part such as 1/2".to_owned())
}

fn number(s: &str) -> Result<u64, String> {
    let parsed = s.strip_prefix("0x").map_or_else(|| s.parse(), |h| u64::from_str_radix(h, 16));
    parsed.map_err(|e| e.to_string())
}

impl Target {
    fn env(&self) -> Env {
        let own_pin =
            |given: &Option<String>, ours: &str| given.clone().or_else(|| self.init_token.then(|| ours.to_owned()));
        let choice = match (self.init_token, self.slot, &self.token_label) {
            (true, slot, _) => Choice::Own(slot),
            (false, Some(id), _) => Choice::Slot(id),
            (false, None, Some(label)) => Choice::Label(label.clone()),
            (false, None, None) => Choice::First,
        };
        Env {
            module: self.module.clone(),
            init_args: self.init_args.clone(),
            choice,
            user_pin: own_pin(&self.user_pin, "check-user-pin"),
            so_pin: own_pin(&self.so_pin, "check-so-pin"),
            timeout: self.timeout,
            verbose: self.verbose,
        }
    }
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    target: Target,
    /// Only tests whose name contains one of these
    #[arg(long = "only")]
    only: Vec<String>,
    /// List the tests and run none
    #[arg(long)]
    list: bool,
    /// Show passed and skipped tests too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: Output,
}

/// Where results go, and what they are compared with.
#[derive(Args)]
struct Output {
    /// Known failures and skips; the exit status then tells whether the results are exactly as expected
    #[arg(long)]
    expected: Option<PathBuf>,
    /// Write the results into the file given with --expected
    #[arg(long, requires = "expected")]
    write_expected: bool,
    /// Write results as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write results as JUnit XML to this file
    #[arg(long)]
    junit: Option<PathBuf>,
}

#[derive(Args)]
struct ProfilesArgs {
    #[command(flatten)]
    target: Target,
    /// Cases, or folders of cases
    #[arg(required = true)]
    cases: Vec<PathBuf>,
    /// Fail on every difference that the profile document does not list as variable
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct BenchArgs {
    #[command(flatten)]
    target: Target,
    /// A module to compare with; may be given several times
    #[arg(long)]
    vs: Vec<PathBuf>,
    /// Only operations whose name contains one of these
    #[arg(long = "only")]
    only: Vec<String>,
    /// Sizes of data in bytes
    #[arg(long, value_delimiter = ',', default_value = "16,1024,16384,1048576")]
    sizes: Vec<usize>,
    /// Numbers of objects in the token, for searches; they are made first
    #[arg(long, value_delimiter = ',', default_value = "10,1000")]
    objects: Vec<usize>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Numbers of processes
    #[arg(long, value_delimiter = ',')]
    processes: Vec<usize>,
    /// Rounds of each module, taken in turns
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Milliseconds of one round
    #[arg(long, default_value_t = 50)]
    slice: u64,
    /// Add the same operations straight on AWS-LC (feature `floor`)
    #[arg(long)]
    floor: bool,
    /// Write results as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a chart as SVG to this file
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Args)]
struct VectorsArgs {
    #[command(flatten)]
    target: Target,
    /// Only sets whose name contains one of these
    #[arg(long = "only")]
    only: Vec<String>,
    /// Folder of ACVP files; otherwise `acvp` in the folder that KEYWARD_VECTORS names
    #[arg(long)]
    acvp: Option<PathBuf>,
    /// Of each set only until so many vectors were supported, evenly spread
    #[arg(long, value_name = "NUMBER")]
    sample: Option<usize>,
    /// One part of the sets, such as 1/2, where several processes share the work
    #[arg(long, value_name = "PART", value_parser = part)]
    part: Option<(usize, usize)>,
    /// Show passed and skipped sets too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Check(args) => check(&args),
        Command::Profiles(args) => run_profiles(&args),
        Command::Bench(args) => run_bench(&args),
        Command::Vectors(args) => run_vectors(&args),
    };
    result.unwrap_or_else(|why| {
        eprintln!("pkcs11-conformance: {why}");
        ExitCode::from(2)
    })
}

/// Exit status: 0 when all is well or as expected, 1 otherwise, 2 when nothing could be run.
fn check(args: &CheckArgs) -> Result<ExitCode, String> {
    let env = args.target.env();
    let about = runner::probe(&env)?;
    let chosen = |id: &str| args.only.is_empty() || args.only.iter().any(|o| id.contains(o.as_str()));
    let tests: Vec<_> = check::all(&about.mechanisms).into_iter().filter(|t| chosen(&t.id)).collect();
    if args.list {
        tests.iter().for_each(|t| println!("{:<60} {}", t.id, t.section));
        return Ok(ExitCode::SUCCESS);
    }
    let records = in_turn(&tests, |t| &t.id, |t| runner::run(&env, t));
    tell(&args.output, &Report { module: env.module.display().to_string(), about, records }, args.all)
}

fn run_profiles(args: &ProfilesArgs) -> Result<ExitCode, String> {
    let env = args.target.env();
    let about = runner::probe(&env)?;
    let files = profiles::files(&args.cases)?;
    let mut records: Vec<_> = files.iter().map(|f| profiles::replay(&env, f, args.strict)).collect();
    records.push(profiles::claims(&env, &records));
    tell(&args.output, &Report { module: env.module.display().to_string(), about, records }, true)
}

fn run_vectors(args: &VectorsArgs) -> Result<ExitCode, String> {
    let env = args.target.env();
    let about = runner::probe(&env)?;
    let acvp = vectors::folder(args.acvp.as_ref());
    if acvp.is_none() {
        eprintln!("pkcs11-conformance: no folder of ACVP files: those are left out (--acvp, KEYWARD_VECTORS)");
    }
    let chosen = |id: &str| args.only.is_empty() || args.only.iter().any(|o| id.contains(o.as_str()));
    let sets: Vec<_> = vectors::sets(acvp.as_deref())?.into_iter().filter(|s| chosen(&s.id)).collect();
    let ours = |i: usize| args.part.is_none_or(|(part, of)| i % of == part - 1);
    let sets: Vec<_> = sets.into_iter().enumerate().filter(|(i, _)| ours(*i)).map(|(_, s)| s).collect();
    let records = in_turn(&sets, |s| &s.id, |s| vectors::run(&env, s, args.sample));
    tell(&args.output, &Report { module: env.module.display().to_string(), about, records }, args.all)
}

fn run_bench(args: &BenchArgs) -> Result<ExitCode, String> {
    let first = args.target.env();
    let mut envs = vec![first.clone()];
    envs.extend(args.vs.iter().map(|m| Env { module: m.clone(), init_args: None, ..first.clone() }));
    for env in &envs {
        runner::probe(env)?;
    }
    let plan = bench::Plan {
        only: args.only.clone(),
        sizes: args.sizes.clone(),
        objects: args.objects.clone(),
        threads: args.threads.clone(),
        processes: args.processes.clone(),
        rounds: args.rounds,
        slice: args.slice,
        floor: args.floor,
    };
    let results = bench::run(&envs, &plan)?;
    print!("{}", bench::table(&results));
    bench::write(&results, args.json.as_ref(), args.svg.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints and writes the results, and concludes.
fn tell(output: &Output, report: &Report, all: bool) -> Result<ExitCode, String> {
    print!("{}", report::table(report, all, std::io::stdout().is_terminal()));
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(p) => std::fs::write(p, text()).map_err(|e| format!("cannot write {}: {e}", p.display())),
        None => Ok(()),
    };
    write(&output.json, &|| serde_json::to_string_pretty(report).unwrap_or_default())?;
    write(&output.junit, &|| report::junit(report))?;
    conclude(output, report)
}

/// Runs one after the other, with progress where there is a terminal.
fn in_turn<X>(all: &[X], name: impl Fn(&X) -> &String, run: impl Fn(&X) -> runner::Record) -> Vec<runner::Record> {
    let progress = std::io::stderr().is_terminal();
    let mut records = Vec::with_capacity(all.len());
    for (i, one) in all.iter().enumerate() {
        if progress {
            eprint!("\r\x1b[K{}/{} {}", i + 1, all.len(), name(one));
        }
        records.push(run(one));
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    records
}

fn conclude(args: &Output, report: &Report) -> Result<ExitCode, String> {
    let Some(path) = &args.expected else {
        let failed = report.records.iter().any(|r| r.verdict == Verdict::Fail);
        return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    };
    let expected = if path.exists() { Expected::read(path)? } else { Expected::default() };
    if args.write_expected {
        let text = expected.rewrite(&report.about, &report.records);
        std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let differences = expected.differences(&report.records);
    println!("{} results are not as {} expects", differences.len(), path.display());
    differences.iter().for_each(|d| println!("  {d}"));
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
