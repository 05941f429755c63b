//! Who used what, and what is unusual in it. Each rule looks at one line after the other and keeps no more than it needs.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::line::{GAP, Line};
use super::time;

/// What a reader may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Minutes of the day, UTC, from and to, in which keys are usually used; `None`: at all times.
    pub hours: Option<(u64, u64)>,
    /// Saturday and Sunday are unusual.
    pub workdays: bool,
    /// Uses of a key after which a new executable or user of it is unusual.
    pub learn: u64,
    /// Wrong PINs within [`Settings::PIN_WINDOW`] that make a burst.
    pub pins: usize,
    /// How many times its usual hour a key's hour must have.
    pub factor: u64,
}

impl Settings {
    /// Microseconds.
    pub const PIN_WINDOW: u64 = 60_000_000;
    /// Uses in an hour below which no rate is unusual.
    pub const LEAST_RATE: u64 = 100;
    /// Hours with use before a key has a usual one.
    pub const USUAL_AFTER: u64 = 3;
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { hours: None, workdays: false, learn: 10, pins: 5, factor: 10 }
    }
}

/// Something unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// `new_executable`, `new_user`, `refused_use`, `pin_burst`, `export`, `off_hours`, `rate`, `clock_back`, `chain_gap`.
    pub rule: &'static str,
    pub seq: u64,
    pub time: String,
    pub what: String,
}

/// Which key (and its label), which operation, by whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub token: String,
    pub key: String,
    pub label: String,
    pub operation: String,
    pub exe: String,
    pub uid: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub done: u64,
    pub refused: u64,
    pub first: String,
    pub last: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub lines: u64,
    pub uses: BTreeMap<Who, Count>,
    pub anomalies: Vec<Anomaly>,
}

/// Reads a record line by line.
pub struct Watch {
    settings: Settings,
    report: Report,
    seq: u64,
    time: u64,
    keys: HashMap<String, Known>,
    pins: HashMap<String, VecDeque<u64>>,
    /// Hours of a key that were told of.
    off_hours: HashSet<(String, u64)>,
}

/// What is known of a key.
#[derive(Default)]
struct Known {
    uses: u64,
    exes: HashSet<String>,
    uids: HashSet<u32>,
    hour: u64,
    in_hour: u64,
    /// Hours with use before this one, and the uses in them.
    hours: u64,
    before: u64,
    told: bool,
}

const HOUR: u64 = 3_600_000_000;

impl Watch {
    pub fn new(settings: Settings) -> Watch {
        Watch {
            settings,
            report: Report::default(),
            seq: 0,
            time: 0,
            keys: HashMap::new(),
            pins: HashMap::new(),
            off_hours: HashSet::new(),
        }
    }

    pub fn see(&mut self, line: &Line) {
        self.report.lines = self.report.lines.saturating_add(1);
        let now = line.micros().unwrap_or(self.time);
        self.order(line, now);
        if !line.is_own() {
            self.count(line);
            self.pins(line, now);
            self.exports(line);
            if !line.key.is_empty() {
                self.key(line, now);
            }
        }
        self.seq = line.seq;
        self.time = now;
    }

    pub fn finish(self) -> Report {
        self.report
    }

    fn tell(&mut self, rule: &'static str, line: &Line, what: String) {
        self.report.anomalies.push(Anomaly { rule, seq: line.seq, time: line.time.clone(), what });
    }

    fn order(&mut self, line: &Line, now: u64) {
        // Lines are dated and written under one lock, so no two of a machine overtake each other.
        if now < self.time {
            let (from, to) = (time::text(self.time), &line.time);
            self.tell("clock_back", line, format!("the clock went back from {from} to {to}"));
        }
        if line.op == GAP {
            self.tell("chain_gap", line, line.rule.clone());
        } else if self.seq > 0 && line.seq != self.seq.saturating_add(1) {
            self.tell("chain_gap", line, format!("line {} follows line {}", line.seq, self.seq));
        }
    }

    fn count(&mut self, line: &Line) {
        let who = Who {
            token: line.token.clone(),
            key: line.key.clone(),
            label: line.label.clone(),
            operation: line.op.clone(),
            exe: line.exe.clone(),
            uid: line.uid,
        };
        let count = self.report.uses.entry(who).or_default();
        let counter = if line.is_good() { &mut count.done } else { &mut count.refused };
        *counter = counter.saturating_add(1);
        if count.first.is_empty() {
            count.first = line.time.clone();
        }
        count.last = line.time.clone();
    }

    fn pins(&mut self, line: &Line, now: u64) {
        let wrong = matches!(line.result.as_str(), "CKR_PIN_INCORRECT" | "CKR_PIN_LOCKED");
        if !wrong {
            return;
        }
        let recent = self.pins.entry(line.token.clone()).or_default();
        recent.retain(|then| now.saturating_sub(*then) <= Settings::PIN_WINDOW);
        recent.push_back(now);
        let count = recent.len();
        // Once for each burst.
        if count == self.settings.pins {
            self.tell("pin_burst", line, format!("{count} wrong PINs within a minute on token {}", line.token));
        }
    }

    fn exports(&mut self, line: &Line) {
        let by = if line.with.is_empty() { String::new() } else { format!(" under {}", line.with) };
        let what = match line.op.as_str() {
            "wrap" => format!("{} was wrapped{by}", named(line)),
            "read_value" => format!("the value of {} was read in clear", named(line)),
            "export" => format!("{} was exported", named(line)),
            "backup" => format!("token {} was backed up", line.token),
            _ => return,
        };
        if line.is_good() {
            self.tell("export", line, what);
        }
    }

    fn key(&mut self, line: &Line, now: u64) {
        if matches!(line.result.as_str(), "CKR_KEY_FUNCTION_NOT_PERMITTED" | "CKR_ACTION_PROHIBITED") {
            let why = if line.rule.is_empty() { String::new() } else { format!(": {}", line.rule) };
            self.tell("refused_use", line, format!("{} of {} was refused{why}", line.op, named(line)));
        }
        let learn = self.settings.learn;
        let known = self.keys.entry(line.key.clone()).or_default();
        let settled = known.uses >= learn;
        let new_exe = known.exes.insert(line.exe.clone()) && settled;
        let new_uid = known.uids.insert(line.uid) && settled;
        known.uses = known.uses.saturating_add(1);
        let rate = known.rate(now / HOUR, self.settings.factor);
        if new_exe {
            self.tell("new_executable", line, format!("{} uses {} for the first time", line.exe, named(line)));
        }
        if new_uid {
            self.tell("new_user", line, format!("user {} uses {} for the first time", line.uid, named(line)));
        }
        if let Some(usual) = rate {
            let what = format!("{} is used far more often than its usual {usual} times an hour", named(line));
            self.tell("rate", line, what);
        }
        if self.is_off_hours(now) && self.off_hours.insert((line.key.clone(), now / HOUR)) {
            self.tell("off_hours", line, format!("{} of {} outside of its hours", line.op, named(line)));
        }
    }

    fn is_off_hours(&self, now: u64) -> bool {
        let moment = time::moment(now / 1_000_000);
        let minute = moment.hour.saturating_mul(60).saturating_add(moment.minute);
        let outside = self.settings.hours.is_some_and(|(from, to)| match from <= to {
            true => minute < from || minute >= to,
            // Over midnight.
            false => minute < from && minute >= to,
        });
        outside || (self.settings.workdays && moment.weekday >= 5)
    }
}

impl Known {
    /// The usual uses in an hour, where this hour has just gone far beyond it.
    fn rate(&mut self, hour: u64, factor: u64) -> Option<u64> {
        if hour != self.hour {
            if self.in_hour > 0 {
                self.hours = self.hours.saturating_add(1);
                self.before = self.before.saturating_add(self.in_hour);
            }
            (self.hour, self.in_hour, self.told) = (hour, 0, false);
        }
        self.in_hour = self.in_hour.saturating_add(1);
        let usual = self.before.checked_div(self.hours).filter(|_| self.hours >= Settings::USUAL_AFTER)?;
        let beyond = self.in_hour > usual.saturating_mul(factor).max(Settings::LEAST_RATE);
        (beyond && !std::mem::replace(&mut self.told, true)).then_some(usual)
    }
}

fn named(line: &Line) -> String {
    match line.label.as_str() {
        "" => format!("key {}", line.key),
        label => format!("key \"{label}\" ({})", line.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 November 2026, a Monday, at noon.
    const NOON: u64 = 1_793_620_800_000_000;

    fn at(micros: u64, op: &str) -> Line {
        Line { op: op.into(), time: time::text(micros), key: "k1".into(), exe: "/bin/a".into(), ..Line::default() }
    }

    fn rules(settings: Settings, lines: impl IntoIterator<Item = Line>) -> Vec<&'static str> {
        let mut watch = Watch::new(settings);
        for (seq, line) in (1..).zip(lines) {
            watch.see(&Line { seq: if line.seq > 0 { line.seq } else { seq }, ..line });
        }
        watch.finish().anomalies.into_iter().map(|anomaly| anomaly.rule).collect()
    }

    fn steady(count: u64) -> Vec<Line> {
        (0..count).map(|n| at(NOON + n, "sign")).collect()
    }

    fn with(mut lines: Vec<Line>, last: Line) -> Vec<Line> {
        lines.push(last);
        lines
    }

    #[test]
    fn steady_use_by_one_program_is_nothing_unusual() {
        assert!(rules(Settings::default(), steady(99)).is_empty());
    }

    #[test]
    fn a_new_executable_and_a_new_user_show_once_a_key_is_settled() {
        let other = Line { exe: "/tmp/x".into(), ..at(NOON + 99, "sign") };
        assert_eq!(rules(Settings::default(), with(steady(10), other.clone())), ["new_executable"]);
        assert!(rules(Settings::default(), with(steady(9), other)).is_empty(), "still learning");
        let other = Line { uid: 7, ..at(NOON + 99, "sign") };
        assert_eq!(rules(Settings::default(), with(steady(10), other)), ["new_user"]);
    }

    #[test]
    fn a_use_in_a_refused_state_shows() {
        let refused = Line { result: "CKR_KEY_FUNCTION_NOT_PERMITTED".into(), ..at(NOON, "sign") };
        assert_eq!(rules(Settings::default(), [refused]), ["refused_use"]);
        let unknown = Line { result: "CKR_KEY_HANDLE_INVALID".into(), ..at(NOON, "sign") };
        assert!(rules(Settings::default(), [unknown]).is_empty());
    }

    #[test]
    fn wrong_pins_make_one_burst_when_they_come_close_together() {
        let wrong = |n: u64, apart: u64| Line {
            key: String::new(),
            result: "CKR_PIN_INCORRECT".into(),
            ..at(NOON + n * apart, "login")
        };
        assert_eq!(rules(Settings::default(), (0..8).map(|n| wrong(n, 1_000_000))), ["pin_burst"]);
        assert!(rules(Settings::default(), (0..8).map(|n| wrong(n, 20_000_000))).is_empty());
    }

    #[test]
    fn whatever_leaves_the_token_shows() {
        let backup = Line { key: String::new(), ..at(NOON, "backup") };
        let refused = Line { result: "CKR_KEY_UNEXTRACTABLE".into(), ..at(NOON, "wrap") };
        let lines = [at(NOON, "wrap"), at(NOON, "read_value"), at(NOON, "export"), backup, refused];
        assert_eq!(rules(Settings::default(), lines), ["export"; 4]);
    }

    #[test]
    fn nights_and_weekends_show_where_they_are_unusual() {
        let day = Settings { hours: Some((7 * 60, 19 * 60)), workdays: true, ..Settings::default() };
        let night = NOON + 10 * HOUR;
        let saturday = NOON + 5 * 24 * HOUR;
        assert_eq!(rules(day.clone(), [at(NOON, "sign"), at(night, "sign"), at(night + 5, "sign")]), ["off_hours"]);
        assert_eq!(rules(day, [at(saturday, "sign")]), ["off_hours"]);
        let over_night = Settings { hours: Some((22 * 60, 6 * 60)), ..Settings::default() };
        assert_eq!(rules(over_night, [at(NOON, "sign"), at(night, "sign")]), ["off_hours"]);
    }

    #[test]
    fn a_rate_far_beyond_the_usual_shows_once_an_hour() {
        let hour = |hour: u64, uses: u64| (0..uses).map(move |n| at(NOON + hour * HOUR + n, "sign"));
        let usual = || (0..4).flat_map(move |h| hour(h, 20));
        assert_eq!(rules(Settings::default(), usual().chain(hour(4, 250))), ["rate"]);
        assert!(rules(Settings::default(), usual().chain(hour(4, 200))).is_empty());
        assert!(rules(Settings::default(), hour(0, 5000)).is_empty(), "no usual rate is known yet");
    }

    #[test]
    fn a_clock_set_back_and_a_gap_show() {
        assert_eq!(rules(Settings::default(), [at(NOON, "sign"), at(NOON - 1, "sign")]), ["clock_back"]);
        let later = Line { seq: 9, ..at(NOON, "sign") };
        assert_eq!(rules(Settings::default(), [at(NOON, "sign"), later]), ["chain_gap"]);
        assert_eq!(rules(Settings::default(), [at(NOON, GAP)]), ["chain_gap"]);
    }
}
