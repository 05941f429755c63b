//! A file system that is really full, a small one of the test's own, at each step of its filling: what could not be written leaves
//! what was, by `CKR_DEVICE_MEMORY`, and reading and signing go on. (Each single write refused: `store_faults`.)

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::harness::*;
use crate::place::may_mount;
use crate::world::*;
use crate::{c, ok};

const NAME: &str = "full::a_file_system_without_room_leaves_what_was";
const SMALL: &str = "KEYWARD_TEST_SMALL";
const OTHER_PIN: &[u8] = b"987654";
const PAGE: u64 = 4096;

#[test]
fn a_file_system_without_room_leaves_what_was() {
    if std::env::var_os(SMALL).is_some() {
        return in_little_room();
    }
    if !may_mount() {
        return;
    }
    let place = std::env::temp_dir().join(format!("keyward-full-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let mount = "mount -t tmpfs -o size=2m,mode=700 tmpfs \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", mount]).arg(&place).arg(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env(SMALL, &place).env("TMPDIR", &place).env("KEYWARD_LOG", "off");
    let output = command.output();
    std::fs::remove_dir_all(&place).unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    print!("{said}");
}

/// The token as it must be.
struct Model {
    many: usize,
    pin: &'static [u8],
    label: &'static [u8],
}

struct Scene {
    session: CK_SESSION_HANDLE,
    changed: CK_OBJECT_HANDLE,
    signer: CK_OBJECT_HANDLE,
}

/// A step of the token's use: what came of it, after which the model is as the token must be.
type Step = (&'static str, fn(&Scene, &mut Model) -> CK_RV);

const STEPS: [Step; 7] = [
    ("create", |scene, model| {
        let large = secret(CKK_GENERIC_SECRET).yes(CKA_TOKEN).bytes(CKA_VALUE, &[7; 20_000]);
        let (mut template, mut made) = (large.bytes(CKA_ID, b"many"), 0);
        let raw = template.raw();
        let rv = c!(C_CreateObject, scene.session, raw.as_mut_ptr(), len(raw), &raw mut made);
        model.many += usize::from(rv == CKR_OK);
        rv
    }),
    ("generate", |scene, model| {
        let mut template = Template::new().yes(CKA_TOKEN).number(CKA_VALUE_LEN, 32).bytes(CKA_ID, b"many");
        let (by, raw, mut made) = ([mechanism(CKM_AES_KEY_GEN)], template.raw(), 0);
        let rv = c!(C_GenerateKey, scene.session, ptr(&by), raw.as_mut_ptr(), len(raw), &raw mut made);
        model.many += usize::from(rv == CKR_OK);
        rv
    }),
    ("change", |scene, model| {
        let label: &[u8] = if model.label == b"one" { b"other" } else { b"one" };
        let mut template = by(CKA_LABEL, label);
        let rv = c!(C_SetAttributeValue, scene.session, scene.changed, template.raw().as_mut_ptr(), 1);
        model.label = if rv == CKR_OK { label } else { model.label };
        rv
    }),
    ("destroy", |scene, model| {
        let last = find(scene.session, by(CKA_ID, b"many")).last().copied().unwrap();
        let rv = c!(C_DestroyObject, scene.session, last);
        model.many -= usize::from(rv == CKR_OK);
        rv
    }),
    ("change of PIN", |scene, model| {
        let new = if model.pin == USER_PIN { OTHER_PIN } else { USER_PIN };
        let rv = c!(C_SetPIN, scene.session, ptr(model.pin), len(model.pin), ptr(new), len(new));
        model.pin = if rv == CKR_OK { new } else { model.pin };
        rv
    }),
    ("a wrong PIN", |scene, _| {
        ok!(C_Logout, scene.session);
        match c!(C_Login, scene.session, CKU_USER, ptr(b"000000"), 6) {
            CKR_PIN_INCORRECT => CKR_OK,
            rv => rv,
        }
    }),
    ("login", |scene, model| c!(C_Login, scene.session, CKU_USER, ptr(model.pin), len(model.pin))),
];

fn in_little_room() {
    let (world, slot) = World::with_token();
    let session = logged_in(slot);
    create(session, kept(b"changed", "one"));
    create(session, kept(b"many", "first"));
    key_pair(session, b"signer");
    ok!(C_Finalize, null_mut());
    let mut model = Model { many: 1, pin: USER_PIN, label: b"one" };
    let mut refused = [0; STEPS.len()];
    for level in (0..8).chain((8..).step_by(4)) {
        let before = refused;
        let scene = look(&model);
        let filler = Filler::leaving(&world.path("filler"), level * PAGE);
        for ((name, step), refused) in STEPS.iter().zip(&mut refused) {
            let rv = step(&scene, &mut model);
            assert!([CKR_OK, CKR_DEVICE_MEMORY].contains(&rv), "{name} with {level} pages left: {rv:#x}");
            *refused += u32::from(rv != CKR_OK);
            if !["a wrong PIN", "login"].contains(name) {
                goes_on(&scene, &model);
            }
        }
        drop(filler);
        ok!(C_Finalize, null_mut());
        // With room again, another process of the token's would see the same.
        look(&model);
        ok!(C_Finalize, null_mut());
        if refused == before {
            let names = STEPS.map(|(name, _)| name);
            println!("refused of {names:?}, with up to {level} pages left: {refused:?}");
            assert!(refused.iter().all(|times| *times > 0), "each writes");
            break;
        }
    }
    let (exit, said) = keyward(&world, "token verify");
    assert_eq!(exit, Some(0), "{said}");
}

/// Opens the token anew and holds it against the model.
fn look(model: &Model) -> Scene {
    ok!(C_Initialize, null_mut());
    let session = open(slots(CK_TRUE)[0]);
    ok!(C_Login, session, CKU_USER, ptr(model.pin), len(model.pin));
    let one = |template: Template| {
        let found = find(session, template);
        assert_eq!(found.len(), 1);
        found[0]
    };
    let (changed, signer) = (one(by(CKA_ID, b"changed")), one(by(CKA_ID, b"signer").yes(CKA_SIGN)));
    let scene = Scene { session, changed, signer };
    goes_on(&scene, model);
    scene
}

fn goes_on(scene: &Scene, model: &Model) {
    assert_eq!(value(scene.session, scene.changed, CKA_LABEL).unwrap(), model.label);
    assert_eq!(find(scene.session, by(CKA_ID, b"many")).len(), model.many);
    try_sign(scene.session, scene.signer, &[1; 32]).unwrap();
}

fn keyward(world: &World, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(line.split_whitespace()).env("KEYWARD_CONF", world.path("keyward.toml"));
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Takes all room but so many bytes, until dropped.
struct Filler(PathBuf);

impl Filler {
    fn leaving(path: &Path, bytes: u64) -> Filler {
        let mut file = File::create(path).unwrap();
        while file.write_all(&[0; PAGE as usize]).is_ok() {}
        let whole = file.metadata().unwrap().len() / PAGE * PAGE;
        file.set_len(whole.saturating_sub(bytes)).unwrap();
        Filler(path.to_owned())
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
