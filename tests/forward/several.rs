//! Several HSMs: copies of SoftHSM, each behind a module of its own that does wrong on demand, each with its own token.

use std::path::PathBuf;
use std::process::Command;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::scene::*;
use crate::{c, ok};

pub const NAMES: [&str; 3] = ["east", "west", "north"];

/// Short pauses, so that the tests need not wait.
pub const QUICK: &str = "failures = 1\nretry = 0.3\nretry_most = 0.6\n";

pub struct Several {
    pub scene: Scene,
    modules: Vec<PathBuf>,
}

impl Several {
    /// So many HSMs with a token each, `keyward.toml` over them with these lines.
    pub fn new(count: usize, lines: &str) -> Several {
        let scene = Scene::new();
        let mut modules = Vec::new();
        for name in &NAMES[..count] {
            let place = scene.place.join(name);
            std::fs::create_dir_all(place.join("tokens")).unwrap();
            let conf = place.join("softhsm.conf");
            let text = format!(
                "directories.tokendir = {}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
                place.display()
            );
            std::fs::write(&conf, text).unwrap();
            std::fs::copy(SOFTHSM, place.join("softhsm.so")).unwrap();
            set_env(&format!("FAULTY_MODULE_{name}"), place.join("softhsm.so"));
            set_env(&format!("FAULTY_CONF_{name}"), &conf);
            set_env(&format!("FAULTY_CONTROL_{name}"), place.join("control"));
            set_env(&format!("FAULTY_TRACE_{name}"), place.join("trace"));
            set_env("SOFTHSM2_CONF", &conf);
            scene.token(name);
            modules.push(compile_faulty(&format!("_{name}")));
        }
        let several = Several { scene, modules };
        several.configure(lines);
        several
    }

    pub fn configure(&self, lines: &str) {
        self.configure_members(lines, "");
    }

    /// With further lines for each member.
    pub fn configure_members(&self, lines: &str, of_each: &str) {
        let mut text = format!(
            "tokens = 'keyward'\ndevice_secret = 'device'\nfree_slot = 'never'\n[log]\nlevel = 'debug'\n\
             [[slot]]\nkind = 'ha'\nlabel = 'both'\n{lines}\n"
        );
        for (name, module) in NAMES.iter().zip(&self.modules) {
            let member = format!(
                "[[slot.member]]\nname = '{name}'\nmodule = '{}'\ntoken = '{name}'\n{of_each}\n",
                module.display()
            );
            text.push_str(&member);
        }
        std::fs::write(self.scene.place.join("keyward.toml"), text).unwrap();
    }

    pub fn start(self) -> Together {
        ok!(C_Initialize, null_mut());
        Together { several: self }
    }

    pub fn modules(&self) -> &[PathBuf] {
        &self.modules
    }

    /// What one of them is to do wrong from now on.
    pub fn faults(&self, name: &str, lines: &str) {
        let place = self.scene.place.join(name);
        let _ = std::fs::remove_file(place.join("control.seen"));
        std::fs::write(place.join("control"), lines).unwrap();
    }

    /// It is not there: whatever is asked of it fails.
    pub fn dies(&self, name: &str) {
        const ALL: &[&str] = &[
            "C_Initialize",
            "C_GetSlotList",
            "C_GetTokenInfo",
            "C_OpenSession",
            "C_Login",
            "C_SignInit",
            "C_Sign",
            "C_SignUpdate",
            "C_SignFinal",
            "C_VerifyInit",
            "C_Verify",
            "C_EncryptInit",
            "C_Encrypt",
            "C_EncryptUpdate",
            "C_EncryptFinal",
            "C_DecryptInit",
            "C_Decrypt",
            "C_DigestInit",
            "C_Digest",
            "C_FindObjectsInit",
            "C_FindObjects",
            "C_GetAttributeValue",
            "C_SetAttributeValue",
            "C_CreateObject",
            "C_DestroyObject",
            "C_GenerateKey",
            "C_GenerateKeyPair",
            "C_WrapKey",
            "C_UnwrapKey",
            "C_GenerateRandom",
            "C_GetMechanismList",
            "C_GetMechanismInfo",
        ];
        let lines: String = ALL.iter().map(|name| format!("{name} rv {CKR_DEVICE_REMOVED:#x}\n")).collect();
        self.faults(name, &lines);
    }

    pub fn lives(&self, name: &str) {
        self.faults(name, "");
        // The pause after a vain attempt to connect, and that of the breaker.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }

    pub fn calls(&self, name: &str, function: &str) -> usize {
        let trace = std::fs::read_to_string(self.scene.place.join(name).join("trace")).unwrap_or_default();
        trace.lines().filter(|line| *line == function).count()
    }

    /// Labels of the private and secret keys of one of them, as its own tool sees them.
    pub fn keys(&self, name: &str) -> Vec<String> {
        let mut labels: Vec<String> = ["privkey", "secrkey"]
            .iter()
            .flat_map(|kind| {
                let text = self.tool(name, &["--list-objects", "--type", kind]);
                let label = |line: &str| line.trim().strip_prefix("label:").map(|label| label.trim().to_owned());
                text.lines().filter_map(label).collect::<Vec<_>>()
            })
            .collect();
        labels.sort();
        labels
    }

    /// What pkcs11-tool says of one of them, past Keyward.
    pub fn tool(&self, name: &str, words: &[&str]) -> String {
        let conf = self.scene.place.join(name).join("softhsm.conf");
        let mut tool = Command::new("pkcs11-tool");
        tool.env("SOFTHSM2_CONF", conf).args(["--module", SOFTHSM, "--token-label", name, "--login", "--pin", PIN]);
        let output = tool.args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        self.modules.iter().for_each(|module| drop(std::fs::remove_file(module)));
    }
}

/// Initialised.
pub struct Together {
    pub several: Several,
}

impl Drop for Together {
    fn drop(&mut self) {
        NAMES[..self.several.modules.len()].iter().for_each(|name| self.several.faults(name, ""));
        c!(C_Finalize, null_mut());
    }
}

impl Together {
    pub fn user(&self) -> CK_SESSION_HANDLE {
        let session = open(slots()[0], CKF_RW_SESSION);
        assert_eq!(login(session, CKU_USER, PIN), CKR_OK);
        session
    }

    /// As another application that starts now.
    pub fn again(&self) -> CK_SESSION_HANDLE {
        ok!(C_Finalize, null_mut());
        ok!(C_Initialize, null_mut());
        self.user()
    }
}

pub fn try_create(session: CK_SESSION_HANDLE, template: &[Attr]) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let (mut template, mut object) = (raw(template), 0);
    let count = len(&template);
    match c!(C_CreateObject, session, template.as_mut_ptr(), count, &raw mut object) {
        CKR_OK => Ok(object),
        rv => Err(rv),
    }
}

/// The key under which others are carried, on every member.
pub fn shared_key(session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let template = [
        number(CKA_CLASS, CKO_SECRET_KEY),
        number(CKA_KEY_TYPE, CKK_AES),
        bytes(CKA_VALUE, &[7; 32]),
        bytes(CKA_LABEL, b"shared"),
        yes(CKA_TOKEN),
        yes(CKA_PRIVATE),
        yes(CKA_SENSITIVE),
        no(CKA_EXTRACTABLE),
        yes(CKA_WRAP),
        yes(CKA_UNWRAP),
    ];
    try_create(session, &template).unwrap()
}
