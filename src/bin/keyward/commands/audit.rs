//! `keyward audit`: read, check, export and rotate the audit record.

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use keyward::audit_log::report::{Count, Report as Found, Settings, Watch, Who};
use keyward::audit_log::{self, Class, Event, Line, Log, Verified, export, time};
use keyward::error::Code;
use keyward::module;
use serde_json::{Value, json};

use crate::commands::duty::Auditor;
use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::report::{Report, cell, fields, shown, table};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show events
    Show(Show),
    /// Check the chain, the signatures and the end of the record
    Verify(Verify),
    /// Who used what, and what is unusual
    Report(Review),
    /// Give the events to other programs: JSON lines, CEF, syslog
    Export(Export),
    /// Begin a new file
    Rotate(Rotate),
}

/// Which part of the record.
#[derive(Args, Debug, Default)]
pub struct Part {
    /// Read the record in this directory instead of the configured one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Not before this moment, UTC: 2026-11-28 or 2026-11-28T17:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Before this moment, UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Only events of the key with this unique ID or label
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only this operation: sign, login, destroy, ...
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Only what was refused or failed
    #[arg(long)]
    refused: bool,
    #[command(flatten)]
    by: Auditor,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keyward audit show --last 20
  keyward audit show --key tls --since 2026-11-01
  keyward audit show --operation login --refused --json")]
pub struct Show {
    #[command(flatten)]
    part: Part,
    /// Only the last events
    #[arg(long, value_name = "N", default_value_t = 100)]
    last: usize,
}

#[derive(Args, Debug)]
#[command(
    after_help = "On the machine that writes the record its end is held against what that machine remembers, so that \
lines cut off show too. Elsewhere the public key is enough for the rest: audit.pub lies beside the record; take it from a \
place that the record's writer cannot reach. Exit code 7: something was found.

Examples:
  keyward audit verify
  keyward audit verify --directory /srv/collected/web1 --public-key web1.pub"
)]
pub struct Verify {
    /// Check the record in this directory instead of the configured one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The public key of its checkpoints, 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    by: Auditor,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Rules: new_executable and new_user (of a key used often before), refused_use, pin_burst, export (wraps, \
values read, exports, backups), off_hours, rate (far above the key's usual hour), clock_back, chain_gap. Exit code 7: \
something unusual was found.

Examples:
  keyward audit report --since 2026-11-01
  keyward audit report --hours 07:00-19:00 --workdays --json"
)]
pub struct Review {
    #[command(flatten)]
    part: Part,
    /// When keys are usually used, UTC: 07:00-19:00
    #[arg(long, value_name = "FROM-TO", value_parser = hours)]
    hours: Option<(u64, u64)>,
    /// Saturdays and Sundays are unusual
    #[arg(long)]
    workdays: bool,
    /// Uses after which a new executable or user of a key is unusual
    #[arg(long, value_name = "N", default_value_t = 10)]
    learn: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The lines as they are recorded
    Json,
    /// ArcSight Common Event Format
    Cef,
    /// RFC 5424
    Syslog,
}

#[derive(Args, Debug)]
#[command(
    after_help = "With --cursor, what was exported is remembered in a file, and the next call goes on from there.

Examples:
  keyward audit export --format json > audit.jsonl
  keyward audit export --format cef --since 2026-11-28
  keyward audit export --format syslog --socket /dev/log --cursor /var/lib/keyward/exported"
)]
pub struct Export {
    #[command(flatten)]
    part: Part,
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Write to this file, which must not exist yet, instead of printing
    #[arg(long, short, value_name = "FILE", conflicts_with = "socket")]
    output: Option<PathBuf>,
    /// Send each event as a datagram to this local socket, such as /dev/log
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Only events after the one whose number this file holds; it is brought up to date
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Full files are rotated by themselves at audit.max_size; the chain goes on. Put full files away as you \
like: the first remaining line says what came before it.

Examples:
  keyward audit rotate
  keyward audit rotate --accept      after `audit verify` has shown what was damaged"
)]
pub struct Rotate {
    /// Go on after damage, which then counts as known
    #[arg(long)]
    accept: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    by: Auditor,
}

fn moment(text: &str) -> std::result::Result<u64, String> {
    time::parse(text).ok_or_else(|| "expected UTC such as 2026-11-28 or 2026-11-28T17:00:00Z".to_owned())
}

fn hours(text: &str) -> std::result::Result<(u64, u64), String> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute) = (hour.parse::<u64>().ok()?, minute.parse::<u64>().ok()?);
        (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let found = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    found.ok_or_else(|| "expected two times of the day such as 07:00-19:00".to_owned())
}

pub fn run(context: &Context, command: &Command) -> Result<Report> {
    let (by, directory) = match command {
        Command::Show(Show { part, .. })
        | Command::Report(Review { part, .. })
        | Command::Export(Export { part, .. }) => (&part.by, part.directory.as_deref()),
        Command::Verify(arguments) => (&arguments.by, arguments.directory.as_deref()),
        Command::Rotate(arguments) => (&arguments.by, None),
    };
    by.admit(context, directory)?;
    match command {
        Command::Show(arguments) => show(context, arguments),
        Command::Verify(arguments) => verify(context, arguments),
        Command::Report(arguments) => report(context, arguments),
        Command::Export(arguments) => exported(context, arguments),
        Command::Rotate(arguments) => rotate(context, arguments),
    }
}

/// The record of the configuration.
pub fn log(context: &Context) -> Result<Arc<Log>> {
    module::audit_log(&context.config()?).ok_or_else(|| {
        let message = "no record is kept: put an [audit] table into the configuration, or name a --directory";
        Failure::new(Exit::Configuration, message)
    })
}

/// Puts on record what the program does below the tokens, where a record is kept: before it is done. The number of the
/// record's last line.
pub fn note(context: &Context, operation: &str, serial: &str, rule: &str) -> Result<Option<u64>> {
    note_by(context, "", operation, serial, rule)
}

/// The same, done by a user of the token.
pub fn note_by(context: &Context, user: &str, operation: &str, serial: &str, rule: &str) -> Result<Option<u64>> {
    let Some(log) = module::audit_log(&context.config()?) else { return Ok(None) };
    let event = Event { token: serial, rule, user, result: "CKR_OK", ..Event::new(Class::Admin, operation) };
    log.record(&event).map_err(Failure::of("nothing was done"))?;
    Ok(log.last())
}

impl Part {
    pub fn directory(&self, context: &Context) -> Result<PathBuf> {
        match &self.directory {
            Some(directory) => Ok(directory.clone()),
            None => Ok(log(context)?.directory().to_owned()),
        }
    }

    fn holds(&self, line: &Line) -> bool {
        let micros = line.micros().unwrap_or(0);
        self.since.is_none_or(|since| micros >= since)
            && self.until.is_none_or(|until| micros < until)
            && self.key.as_ref().is_none_or(|key| [&line.key, &line.label, &line.with].contains(&key))
            && self.operation.as_ref().is_none_or(|operation| line.op == *operation)
            && (!self.refused || !line.is_good())
    }

    fn lines(&self, context: &Context, mut each: impl FnMut(&str, Line) -> keyward::error::Result<()>) -> Result<()> {
        let directory = self.directory(context)?;
        let read = audit_log::lines(&directory, |text, line| if self.holds(&line) { each(text, line) } else { Ok(()) });
        read.map_err(Failure::of("cannot read the record"))
    }
}

fn show(context: &Context, arguments: &Show) -> Result<Report> {
    let mut last: VecDeque<(Value, Line)> = VecDeque::new();
    arguments.part.lines(context, |text, line| {
        if arguments.last > 0 {
            if last.len() == arguments.last {
                last.pop_front();
            }
            last.push_back((serde_json::from_str(text).unwrap_or_default(), line));
        }
        Ok(())
    })?;
    let rows: Vec<Vec<String>> = last
        .iter()
        .map(|(_, line)| {
            let key = if line.label.is_empty() { &line.key } else { &line.label };
            let program = line.exe.rsplit('/').next().unwrap_or_default();
            vec![
                line.seq.to_string(),
                line.time.get(..19).unwrap_or_default().to_owned(),
                cell(program),
                line.uid.to_string(),
                cell(&line.op),
                cell(key),
                cell(&line.mechanism),
                cell(&line.result),
                shown(&line.rule),
            ]
        })
        .collect();
    let text =
        table(&["SEQ", "TIME (UTC)", "PROGRAM", "UID", "OPERATION", "KEY", "MECHANISM", "RESULT", "RULE"], &rows);
    Ok(Report::new(text, last.into_iter().map(|(json, _)| json).collect()))
}

fn verify(context: &Context, arguments: &Verify) -> Result<Report> {
    let failed = Failure::of("cannot check the record");
    let public = arguments.public_key.as_deref().map(audit_log::read_public).transpose().map_err(&failed)?;
    let found = match &arguments.directory {
        Some(directory) => audit_log::verify(directory, None, public),
        None => {
            let log = log(context)?;
            let (keys, head) = log.keys().map_err(&failed)?;
            audit_log::verify(log.directory(), Some((keys, head)), public)
        }
    };
    Ok(verified(&found.map_err(&failed)?))
}

fn verified(found: &Verified) -> Report {
    let mut text = match found.findings.is_empty() {
        true => "The record is whole\n".to_owned(),
        false => "The record was CHANGED\n".to_owned(),
    };
    let earlier =
        if found.first > 1 { format!(" (the {} before are not here)", found.first - 1) } else { String::new() };
    let end =
        if found.anchored { "held against what this machine remembers" } else { "not checked: not on its machine" };
    text += &fields([
        ("lines", format!("{}, {} to {}{earlier}", found.lines, found.first, found.last)),
        ("checkpoints", format!("{}, the last good one covers line {}", found.checkpoints, found.covered)),
        ("end", end.to_owned()),
    ]);
    for finding in &found.findings {
        let place = if finding.line > 0 { format!(", line {}", finding.line) } else { String::new() };
        text += &format!("{}{place}: {}\n", finding.file.display(), shown(&finding.what));
    }
    let findings: Vec<Value> = found
        .findings
        .iter()
        .map(|finding| json!({ "file": finding.file, "line": finding.line, "what": finding.what }))
        .collect();
    let json = json!({
        "whole": found.findings.is_empty(),
        "lines": found.lines,
        "first": found.first,
        "last": found.last,
        "checkpoints": found.checkpoints,
        "covered": found.covered,
        "anchored": found.anchored,
        "findings": findings,
    });
    let exit = if found.findings.is_empty() { Exit::Done } else { Exit::Unsound };
    Report { text, json, exit }
}

fn report(context: &Context, arguments: &Review) -> Result<Report> {
    let settings = Settings {
        hours: arguments.hours,
        workdays: arguments.workdays,
        learn: arguments.learn,
        ..Settings::default()
    };
    let mut watch = Watch::new(settings);
    // All that came before teaches what is usual; only what was asked for is told.
    let directory = arguments.part.directory(context)?;
    audit_log::lines(&directory, |_, line| {
        watch.see(&line);
        Ok(())
    })
    .map_err(Failure::of("cannot read the record"))?;
    Ok(described(&arguments.part, watch.finish()))
}

fn described(part: &Part, found: Found) -> Report {
    let within = |time: &str| {
        let micros = time::parse(time).unwrap_or(0);
        part.since.is_none_or(|since| micros >= since) && part.until.is_none_or(|until| micros < until)
    };
    let chosen = |who: &Who| {
        part.key.as_ref().is_none_or(|key| [&who.key, &who.label].contains(&key))
            && part.operation.as_ref().is_none_or(|operation| who.operation == *operation)
    };
    let uses: Vec<(&Who, &Count)> =
        found.uses.iter().filter(|(who, count)| chosen(who) && within(&count.last)).collect();
    let rows: Vec<Vec<String>> = uses
        .iter()
        .map(|(who, count)| {
            vec![
                cell(if who.label.is_empty() { &who.key } else { &who.label }),
                cell(&who.operation),
                cell(&who.exe),
                who.uid.to_string(),
                count.done.to_string(),
                count.refused.to_string(),
                count.last.get(..19).unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    let unusual: Vec<_> = found.anomalies.iter().filter(|anomaly| within(&anomaly.time)).collect();
    let mut text = table(&["KEY", "OPERATION", "EXECUTABLE", "UID", "DONE", "REFUSED", "LAST"], &rows);
    text += &match unusual.len() {
        0 => "\nNothing unusual\n".to_owned(),
        count => format!("\nUnusual: {count}\n"),
    };
    for anomaly in &unusual {
        let when = anomaly.time.get(..19).unwrap_or_default();
        text += &format!("  {when}  line {}  {}: {}\n", anomaly.seq, anomaly.rule, shown(&anomaly.what));
    }
    let json = json!({
        "lines": found.lines,
        "uses": uses.iter().map(|(who, count)| json!({
            "token": who.token, "key": who.key, "label": who.label, "operation": who.operation, "exe": who.exe,
            "uid": who.uid, "done": count.done, "refused": count.refused, "first": count.first, "last": count.last,
        })).collect::<Vec<_>>(),
        "anomalies": unusual.iter().map(|anomaly| json!({
            "rule": anomaly.rule, "seq": anomaly.seq, "time": anomaly.time, "what": anomaly.what,
        })).collect::<Vec<_>>(),
    });
    let exit = if unusual.is_empty() { Exit::Done } else { Exit::Unsound };
    Report { text, json, exit }
}

/// Where exported lines go.
enum Sink {
    Text(String),
    File(BufWriter<std::fs::File>),
    Socket(export::Socket),
}

fn exported(context: &Context, arguments: &Export) -> Result<Report> {
    let failed = |what: &str, path: &PathBuf, error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot {what} {}: {error}", path.display()))
    };
    let after = arguments.cursor.as_ref().map_or(0, read_cursor);
    let mut sink = match (&arguments.output, &arguments.socket) {
        (Some(path), _) => {
            Sink::File(BufWriter::new(std::fs::File::create_new(path).map_err(|e| failed("write", path, e))?))
        }
        (None, Some(path)) => Sink::Socket(export::Socket::connect(path).map_err(|e| failed("reach", path, e))?),
        (None, None) => Sink::Text(String::new()),
    };
    let (mut count, mut last) = (0u64, after);
    arguments.part.lines(context, |text, line| {
        if line.seq <= after {
            return Ok(());
        }
        let text = match arguments.format {
            Format::Json => text.to_owned(),
            Format::Cef => export::cef(&line),
            Format::Syslog => export::syslog(&line),
        };
        let sent = match &mut sink {
            Sink::Text(all) => {
                all.push_str(&text);
                all.push('\n');
                Ok(())
            }
            Sink::File(file) => writeln!(file, "{text}"),
            Sink::Socket(socket) => socket.send(&text),
        };
        sent.map_err(|error| Code::FunctionFailed.because(format!("line {}: {error}", line.seq)))?;
        (count, last) = (count + 1, last.max(line.seq));
        Ok(())
    })?;
    let text = match sink {
        Sink::Text(all) => all,
        Sink::File(mut file) => {
            let path = arguments.output.clone().unwrap_or_default();
            file.flush().map_err(|e| failed("write", &path, e))?;
            format!("{count} events written to {}", path.display())
        }
        Sink::Socket(_) => format!("{count} events sent"),
    };
    if let Some(path) = &arguments.cursor {
        std::fs::write(path, format!("{last}\n")).map_err(|e| failed("write", path, e))?;
    }
    Ok(Report::new(text.clone(), json!({ "exported": count, "last": last, "text": text })))
}

fn read_cursor(path: &PathBuf) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn rotate(context: &Context, arguments: &Rotate) -> Result<Report> {
    let log = log(context)?;
    let directory = log.directory().display().to_string();
    if arguments.dry_run {
        let text = format!("would begin a new file in {directory}");
        return Ok(Report::new(text, json!({ "directory": directory, "rotated": false })));
    }
    if arguments.accept {
        context.confirm(&format!(
            "The record in {directory} counts as it is from now on; what `keyward audit verify` finds stays to be found."
        ))?;
    }
    log.rotate(arguments.accept).map_err(Failure::of("cannot begin a new file"))?;
    Ok(Report::new(format!("a new file is begun in {directory}"), json!({ "directory": directory, "rotated": true })))
}
