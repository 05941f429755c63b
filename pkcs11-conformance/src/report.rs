//! Results for people (a table), for programs (JSON) and for CI (JUnit), and the comparison with what is expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use quick_xml::escape::escape;
use serde::Serialize;

use crate::runner::{About, Counts, Record, Verdict};

#[derive(Serialize)]
pub struct Report {
    pub module: String,
    pub about: About,
    pub records: Vec<Record>,
}

/// Passed, failed, skipped.
pub fn totals(records: &[Record]) -> [usize; 3] {
    [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(|v| records.iter().filter(|r| r.verdict == v).count())
}

/// Expected verdicts other than a pass, each with a reason: a line `fail ID # reason` or `skip ID # reason`; or
/// `vary ID # reason`, written by hand, for what a race in the module decides.
#[derive(Debug, Default, PartialEq)]
pub struct Expected(BTreeMap<String, (Option<Verdict>, String)>);

impl Expected {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for (n, line) in text.lines().enumerate() {
            let (head, reason) = line.split_once(" # ").unwrap_or((line, ""));
            let mut words = head.split_whitespace();
            let (kind, id) = (words.next(), words.next());
            let verdict = match kind {
                None => continue,
                Some(k) if k.starts_with('#') => continue,
                Some("fail") => Some(Verdict::Fail),
                Some("skip") => Some(Verdict::Skip),
                Some("vary") => None,
                Some(k) => return Err(format!("line {}: `{k}` is none of fail, skip, vary", n + 1)),
            };
            let id = id.ok_or_else(|| format!("line {}: no test named", n + 1))?;
            map.insert(id.to_owned(), (verdict, reason.trim().to_owned()));
        }
        Ok(Expected(map))
    }

    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The verdict expected; `None` for any.
    fn verdict(&self, id: &str) -> Option<Verdict> {
        self.0.get(id).map_or(Some(Verdict::Pass), |(v, _)| *v)
    }

    /// What is not as expected: a line each. Tests that did not run are left out.
    pub fn differences(&self, records: &[Record]) -> Vec<String> {
        let tell = |r: &Record| match self.verdict(&r.id) {
            Some(v) if v != r.verdict => Some(format!("{}: expected {v:?}, got {:?} {}", r.id, r.verdict, r.reason)),
            _ => None,
        };
        records.iter().filter_map(tell).collect()
    }

    /// The file for these results; reasons written by hand for the same verdict stay.
    pub fn rewrite(&self, about: &About, records: &[Record]) -> String {
        let mut out = format!(
            "# {} {} ({}): verdicts other than a pass. Kept by `check --write-expected`; reasons may be edited.\n",
            about.library, about.library_version, about.manufacturer
        );
        for r in records {
            let (kind, reason) = match (self.0.get(&r.id), r.verdict) {
                (Some((None, reason)), _) => ("vary", reason),
                (_, Verdict::Pass) => continue,
                (Some((Some(v), reason)), verdict) if *v == verdict && !reason.is_empty() => (word(verdict), reason),
                (_, verdict) => (word(verdict), &r.reason),
            };
            let _ = writeln!(out, "{kind} {} # {}", r.id, reason.replace('\n', " "));
        }
        out
    }
}

fn word(v: Verdict) -> &'static str {
    match v {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Skip => "skip",
    }
}

/// Results as a table: failures and, when asked for, everything.
pub fn table(report: &Report, all: bool, colour: bool) -> String {
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = String::new();
    let about = &report.about;
    let _ = writeln!(
        out,
        "{}: {} {} by {}, PKCS#11 {} (list {}), token {}",
        report.module,
        about.library,
        about.library_version,
        about.manufacturer,
        about.cryptoki_version,
        about.list_version,
        about.token.as_deref().unwrap_or("none"),
    );
    for r in &report.records {
        let word = match r.verdict {
            Verdict::Pass if all => paint("32", "pass"),
            Verdict::Skip if all => paint("33", "skip"),
            Verdict::Fail => paint("31", "FAIL"),
            _ => continue,
        };
        let _ = writeln!(out, "{word} {:<56} {:<14} {:>7.1} ms  {}", r.id, r.section, r.seconds * 1e3, r.reason);
    }
    out.push_str(&by_mechanism(&report.records));
    out.push_str(&by_area(&report.records));
    let [pass, fail, skip] = totals(&report.records);
    let _ = writeln!(out, "{pass} passed, {fail} failed, {skip} skipped");
    out
}

/// Vectors accepted and refused by each mechanism; nothing where none were run.
fn by_mechanism(records: &[Record]) -> String {
    let mut all = Counts::new();
    for (name, [accepted, refused]) in records.iter().flat_map(|r| &r.counts) {
        let sum = all.entry(name.clone()).or_default();
        *sum = [sum[0] + accepted, sum[1] + refused];
    }
    let [accepted, refused] = [0, 1].map(|i| all.values().map(|sum| sum[i]).sum::<usize>());
    if accepted + refused == 0 {
        return String::new();
    }
    let mut out = format!("\n{:<40} {:>8} {:>8}\n", "vectors by mechanism", "accepted", "refused");
    for (name, [accepted, refused]) in &all {
        let _ = writeln!(out, "{name:<40} {accepted:>8} {refused:>8}");
    }
    let _ = writeln!(out, "{:<40} {accepted:>8} {refused:>8}", format!("{} mechanisms", all.len()));
    out
}

fn by_area(records: &[Record]) -> String {
    let mut areas: Vec<(&str, Vec<Record>)> = Vec::new();
    for r in records {
        let area = r.id.split('/').next().unwrap_or_default();
        match areas.iter_mut().find(|(a, _)| *a == area) {
            Some((_, list)) => list.push(r.clone()),
            None => areas.push((area, vec![r.clone()])),
        }
    }
    let mut out = format!("\n{:<14} {:>6} {:>6} {:>6}\n", "area", "pass", "fail", "skip");
    for (area, list) in areas {
        let [pass, fail, skip] = totals(&list);
        let _ = writeln!(out, "{area:<14} {pass:>6} {fail:>6} {skip:>6}");
    }
    out
}

/// JUnit XML, one test suite.
pub fn junit(report: &Report) -> String {
    let [_, fail, skip] = totals(&report.records);
    let seconds: f64 = report.records.iter().map(|r| r.seconds).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{fail}\" \
         skipped=\"{skip}\" time=\"{seconds:.3}\">\n",
        escape(&*report.module),
        report.records.len()
    );
    for r in &report.records {
        let (area, name) = r.id.split_once('/').unwrap_or(("", &r.id));
        let _ = write!(
            out,
            "  <testcase classname=\"{}\" name=\"{} ({})\" time=\"{:.3}\"",
            escape(area),
            escape(name),
            escape(&*r.section),
            r.seconds
        );
        let _ = match r.verdict {
            Verdict::Pass => writeln!(out, "/>"),
            Verdict::Fail => writeln!(out, "><failure message=\"{}\"/></testcase>", escape(&*r.reason)),
            Verdict::Skip => writeln!(out, "><skipped message=\"{}\"/></testcase>", escape(&*r.reason)),
        };
    }
    out.push_str("</testsuite>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, verdict: Verdict) -> Record {
        Record {
            id: id.into(),
            section: "5.1".into(),
            verdict,
            reason: "a < b".into(),
            seconds: 0.5,
            counts: Counts::new(),
        }
    }

    #[test]
    fn expected_file_round_trips_and_finds_differences() {
        let records = [record("a/x", Verdict::Fail), record("a/y", Verdict::Pass), record("b/z", Verdict::Skip)];
        let text = Expected::default().rewrite(&About::default(), &records);
        let expected = Expected::parse(&text).unwrap();
        assert!(expected.differences(&records).is_empty());
        let better = [record("a/x", Verdict::Pass), record("a/y", Verdict::Fail)];
        let told = expected.differences(&better);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(Expected::parse("maybe a/x").is_err());
        let edited = Expected::parse("fail a/x # upstream 42").unwrap();
        assert!(edited.rewrite(&About::default(), &records).contains("fail a/x # upstream 42"));
    }

    #[test]
    fn junit_escapes_and_counts() {
        let report = Report {
            module: "m.so".into(),
            about: About::default(),
            records: vec![record("a/x", Verdict::Fail), record("a/y", Verdict::Skip)],
        };
        let xml = junit(&report);
        assert!(xml.contains("tests=\"2\" failures=\"1\" skipped=\"1\""));
        assert!(xml.contains("a &lt; b"));
    }
}
