//! `pkcs11-conformance`: judges any PKCS#11 module from outside, by its shared library alone.

mod check;
mod context;
mod data;
mod ffi;
mod functions;
mod names;
mod process;
mod report;
mod runner;

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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Check(args) => check(&args),
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
    let records = run_all(&env, &tests);
    let report = Report { module: env.module.display().to_string(), about, records };
    print!("{}", report::table(&report, args.all, std::io::stdout().is_terminal()));
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(p) => std::fs::write(p, text()).map_err(|e| format!("cannot write {}: {e}", p.display())),
        None => Ok(()),
    };
    write(&args.json, &|| serde_json::to_string_pretty(&report).unwrap_or_default())?;
    write(&args.junit, &|| report::junit(&report))?;
    conclude(args, &report)
}

fn run_all(env: &Env, tests: &[check::Test]) -> Vec<runner::Record> {
    let progress = std::io::stderr().is_terminal();
    let mut records = Vec::with_capacity(tests.len());
    for (i, test) in tests.iter().enumerate() {
        if progress {
            eprint!("\r\x1b[K{}/{} {}", i + 1, tests.len(), test.id);
        }
        records.push(runner::run(env, test));
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    records
}

fn conclude(args: &CheckArgs, report: &Report) -> Result<ExitCode, String> {
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
