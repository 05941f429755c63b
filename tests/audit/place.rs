//! A configuration of a test's own, the program on it, and processes that work by a script.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

pub const PIN: &str = "1234-abcd";

pub struct Place(pub PathBuf);

impl Place {
    /// With an `[audit]` table of these lines.
    pub fn new(audit: &str) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keyward-audit-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = Place(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).unwrap();
        std::fs::write(place.0.join("pin"), format!("{PIN}\n{PIN}\n")).unwrap();
        place.configure(audit);
        place
    }

    /// With a token, and a key pair `tls` in it.
    pub fn ready(audit: &str) -> Place {
        let place = Place::new(audit);
        place.work("init; open; generate tls");
        place
    }

    pub fn configure(&self, audit: &str) {
        let here = self.0.display();
        let text = format!(
            "tokens = '{here}/tokens'\ndevice_secret = '{here}/device'\nlog.file = '{here}/log'\n[audit]\n{audit}\n"
        );
        std::fs::write(self.conf(), text).unwrap();
    }

    pub fn conf(&self) -> PathBuf {
        self.0.join("keyward.toml")
    }

    pub fn record(&self) -> PathBuf {
        self.0.join("audit/audit.log")
    }

    pub fn head(&self) -> PathBuf {
        self.0.join("anchors/audit.head")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    pub fn start(&self, script: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["worker::works_by_its_script", "--exact", "--nocapture"]);
        command.env("KEYWARD_CONF", self.conf()).env("KEYWARD_TEST_SCRIPT", script);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().unwrap()
    }

    /// What each step of the script answered.
    pub fn try_work(&self, script: &str) -> Vec<String> {
        answers(self.start(script))
    }

    /// As [`Place::try_work`], and every answer must be `CKR_OK`.
    pub fn work(&self, script: &str) -> Vec<String> {
        let answers = self.try_work(script);
        assert!(answers.iter().all(|answer| !answer.contains("CKR_") || answer.ends_with("CKR_OK")), "{answers:?}");
        answers
    }

    pub fn keyward(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(line.split_whitespace()).env_clear().env("KEYWARD_CONF", self.conf());
        command.stdin(Stdio::null()).current_dir(&self.0);
        command
    }

    /// The program's JSON, and its exit code.
    pub fn json(&self, line: &str) -> (Value, i32) {
        let out = self.keyward(&format!("{line} --json"));
        let text = if out.stdout.is_empty() { &out.stderr } else { &out.stdout };
        let value = serde_json::from_slice(text)
            .unwrap_or_else(|e| panic!("{line}: {e}: {}{}", shown(&out.stdout), shown(&out.stderr)));
        (value, out.status.code().unwrap())
    }

    pub fn verified(&self) -> (Value, i32) {
        self.json("audit verify")
    }

    /// Verified, and whole.
    pub fn whole(&self) -> Value {
        let (found, exit) = self.verified();
        assert_eq!(exit, 0, "{found:#}");
        found
    }

    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.record()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn operations(&self) -> Vec<String> {
        let own = ["checkpoint", "begin", "gap", "rotate"];
        let all = self.lines();
        let all = all.iter().map(|line| line["op"].as_str().unwrap().to_owned());
        all.filter(|operation| !own.contains(&operation.as_str())).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn answers(child: Child) -> Vec<String> {
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", shown(&out.stderr));
    text.lines().filter_map(|line| line.strip_prefix("> ")).map(str::to_owned).collect()
}

pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
