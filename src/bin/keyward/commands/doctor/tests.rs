use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use keyward::error::Code;

use super::*;
use crate::slots::Slot;
use crate::testing::Double;

/// A configuration's places, as a sound installation has them.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keyward-doctor-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = Scratch(std::env::temp_dir().join(name));
        let config = scratch.config();
        std::fs::create_dir_all(&config.tokens).unwrap();
        scratch.mode(&config.tokens, 0o700);
        scratch.file(&config.device_secret, 32);
        scratch.file(&config.tokens.join("a1.slot"), 100);
        scratch
    }

    fn config(&self) -> Config {
        Config::within(&self.0)
    }

    fn file(&self, path: &Path, len: usize) {
        std::fs::write(path, vec![7; len]).unwrap();
        self.mode(path, 0o600);
    }

    fn mode(&self, path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn findings(&self, config: Config) -> Findings {
        let open = |_: Arc<Config>| {
            let token = Double::made("a1", "t");
            Ok(vec![Slot { id: 0xa1, token, blank: false }])
        };
        let context = Context::for_test(config, false, Box::new(open));
        let mut findings = Findings::default();
        if let Some(config) = configuration(&context, &mut findings) {
            files::check(&config, &mut findings);
            tokens::check(&context, &config, &mut findings);
        }
        findings
    }

    fn worst(&self) -> Grade {
        self.findings(self.config()).worst()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_sound_installation_has_nothing_to_say() {
    let scratch = Scratch::new();
    let findings = scratch.findings(scratch.config());
    assert_eq!(findings.worst(), Grade::Good, "{:?}", findings.0);
    let report = report(&findings);
    assert_eq!(report.exit, Exit::Done);
    assert!(report.text.contains("token t"), "{}", report.text);
}

#[test]
fn each_fault_is_an_error_with_its_cure() {
    type Fault = fn(&Scratch, &Config);
    let faults: [(Fault, &str); 6] = [
        (|scratch, config| scratch.mode(&config.device_secret, 0o644), "chmod 600"),
        (|scratch, config| scratch.mode(&config.tokens, 0o755), "chmod 700"),
        (|scratch, config| scratch.mode(&config.tokens.join("a1.slot"), 0o640), "chmod 600"),
        (|scratch, config| scratch.file(&config.device_secret, 31), "backup"),
        (|_, config| std::fs::remove_file(&config.device_secret).unwrap(), "backup"),
        (|scratch, config| scratch.file(&config.tokens.join("b2.slot"), 1), "KEYWARD_LOG"),
    ];
    for (fault, cure) in faults {
        let scratch = Scratch::new();
        fault(&scratch, &scratch.config());
        let findings = scratch.findings(scratch.config());
        let errors: Vec<_> = findings.0.iter().filter(|one| one.grade == Grade::Error).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].advice.contains(cure), "{errors:?}");
        assert_eq!(report(&findings).exit, Exit::Unsound);
    }
}

#[test]
fn nothing_made_yet_is_no_fault_and_stays_unmade() {
    let scratch = Scratch::new();
    std::fs::remove_dir_all(&scratch.0).unwrap();
    assert_eq!(scratch.worst(), Grade::Note);
    assert!(!scratch.0.exists(), "the doctor makes nothing");
}

#[test]
fn a_token_that_does_not_open_is_told_and_a_wrong_mechanism_name_too() {
    let scratch = Scratch::new();
    let open = |_: Arc<Config>| Err(Code::DeviceError.because("a1.slot: no slot file"));
    let context = Context::for_test(scratch.config(), false, Box::new(open));
    let mut findings = Findings::default();
    tokens::check(&context, &scratch.config(), &mut findings);
    assert!(findings.0[0].found.contains("a1.slot"));
    let mechanisms = keyward::config::Mechanisms::Only(vec!["NO_SUCH".into()]);
    let findings = scratch.findings(Config { mechanisms, ..scratch.config() });
    assert!(findings.0.iter().any(|one| one.grade == Grade::Error && one.found.contains("NO_SUCH")));
}
