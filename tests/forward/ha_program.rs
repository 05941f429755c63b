//! `keyward ha status` and `keyward ha sync`.

use std::process::{Command, Output};

use cryptoki_sys::*;

use crate::scene::*;
use crate::several::*;

fn ha(words: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = keyward(&[&["--json", "ha"], words].concat());
    let json = serde_json::from_slice(&output.stdout);
    (output.status.code(), json.unwrap_or_else(|_| panic!("{output:?}")))
}

fn keyward(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keyward")).args(words).env("USER_PIN", PIN).output().unwrap()
}

const STATUS: [&str; 3] = ["status", "--pin-env", "USER_PIN"];
const SYNC: [&str; 3] = ["sync", "--pin-env", "USER_PIN"];
const WRAP: &str = "mirror = 'wrap'\nwrapping_key = 'shared'\ncopies = 1\n";

#[test]
fn status_says_who_is_there_and_what_is_where() {
    let together = Several::new(2, &format!("{QUICK}{WRAP}")).start();
    let session = together.user();
    shared_key(session);
    ec_pair(session, "key", 1);
    let several = &together.several;
    let (code, json) = ha(&STATUS);
    assert_eq!((code, &json["sound"], &json["objects"]["on_all"]), (Some(0), &true.into(), &3.into()), "{json}");
    // Without a login, and without a PIN anywhere: public objects alone.
    let (code, json) = ha(&["status"]);
    assert_eq!((code, &json["objects"]["on_all"], &json["logged_in"]), (Some(0), &1.into(), &false.into()), "{json}");
    several.dies("west");
    try_sign(session, find(session, &[bytes(CKA_LABEL, b"key"), yes(CKA_PRIVATE)])[0], &[1; 32]).unwrap();
    find(session, &[bytes(CKA_LABEL, b"key")]).into_iter().for_each(|key| crate::ok!(C_DestroyObject, session, key));
    let (code, json) = ha(&STATUS);
    assert_eq!(code, Some(7), "{json}");
    let west = &json["members"][1];
    assert_eq!((&west["name"], &west["reached"], &west["breaker"]), (&"west".into(), &false.into(), &"open".into()));
    assert_eq!(west["tombstones"].as_array().unwrap().len(), 2, "{json}");
    assert!(west["last_event"]["why"].as_str().unwrap().contains("CKR_DEVICE_REMOVED"), "{json}");
    let text = String::from_utf8(keyward(&[&["ha"], &STATUS[..]].concat()).stdout).unwrap();
    assert!(
        text.contains("MEMBER") && text.contains("TO DESTROY") && text.contains("C_Initialize answered 0x32"),
        "{text}"
    );
    several.dies("east");
    assert_eq!(ha(&STATUS).0, Some(1), "nobody is there");
    several.lives("east");
    several.lives("west");
    // The look itself brings the tombstones home.
    let (code, json) = ha(&STATUS);
    assert_eq!(code, Some(0), "{json}");
    assert_eq!(several.keys("west"), ["shared"]);
}

#[test]
fn sync_carries_what_a_member_lacks_and_names_what_stays() {
    let together = Several::new(2, &format!("{QUICK}{WRAP}")).start();
    let session = together.user();
    shared_key(session);
    let several = &together.several;
    several.dies("west");
    let aes = |label: &str, more: Attr| {
        let template = aes_template(&[yes(CKA_TOKEN), bytes(CKA_LABEL, label.as_bytes()), yes(CKA_SENSITIVE), more]);
        try_generate(session, CKM_AES_KEY_GEN, &template).unwrap()
    };
    aes("goes", yes(CKA_EXTRACTABLE));
    aes("stays", no(CKA_EXTRACTABLE));
    several.lives("west");
    let (code, json) = ha(&STATUS);
    assert_eq!((code, json["objects"]["on_some"].as_array().unwrap().len()), (Some(7), 2), "{json}");
    let (_, json) = ha(&[&SYNC[..], &["--dry-run"]].concat());
    let result = |json: &serde_json::Value, name: &str| {
        let steps = json["steps"].as_array().unwrap().clone();
        let step = steps.iter().find(|step| step["object"].as_str().unwrap().contains(name)).cloned();
        step.unwrap()["result"].as_str().unwrap().to_owned()
    };
    assert_eq!(result(&json, "goes"), "would be carried", "{json}");
    assert_eq!(several.keys("west"), ["shared"], "a dry run");
    let (code, json) = ha(&SYNC);
    assert_eq!((code, result(&json, "goes").as_str()), (Some(7), "carried"), "{json}");
    assert!(result(&json, "stays").contains("CKA_EXTRACTABLE"), "{json}");
    assert_eq!(several.keys("west"), ["goes", "shared"]);
    // It is as sensitive as it was, and the one handle is of both.
    let goes = find(session, &[bytes(CKA_LABEL, b"goes")]);
    assert_eq!(goes.len(), 1);
    several.dies("east");
    assert_eq!(value(session, goes[0], CKA_SENSITIVE).unwrap(), [1]);
}

#[test]
fn what_cannot_be_chosen_is_said() {
    let scene = Scene::new();
    scene.configure(std::path::Path::new(SOFTHSM), "token = 'hsm'");
    let output = keyward(&["ha", "status"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("docs/ha.md"), "{output:?}");
}

/// The configuration and the commands of docs/ha.md, with the places of this test in them.
#[test]
fn the_page_is_true() {
    let several = Several::new(2, "");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ha.md")).unwrap();
    let blocks = |kind: &str| -> Vec<String> {
        let fence = format!("```{kind}\n");
        page.split(&fence).skip(1).map(|part| part.split("```").next().unwrap().to_owned()).collect()
    };
    let mut text = format!("tokens = 'keyward'\ndevice_secret = 'device'\nfree_slot = 'never'\n{}", blocks("toml")[0]);
    for (name, module) in NAMES.iter().zip(several.modules()) {
        let pin = several.scene.place.join(format!("{name}.pin"));
        std::fs::write(&pin, PIN).unwrap();
        text = text
            .replace(&format!("/usr/lib/hsm-{name}.so"), module.to_str().unwrap())
            .replace(&format!("/etc/keyward/{name}.pin"), pin.to_str().unwrap())
            .replace(&format!("signing-{name}"), name);
    }
    std::fs::write(several.scene.place.join("keyward.toml"), text).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_keyward")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    for block in blocks("sh") {
        let mut shell = Command::new("sh");
        shell.current_dir(&several.scene.place).args(["-euc", &block]).env("MODULE", library()).env("PIN", PIN);
        let output = shell.env("PATH", &path).output().unwrap();
        assert!(output.status.success(), "{block}\n{output:?}\n{}", several.scene.log());
    }
    assert_eq!(several.keys("east"), ["ha-wrapping"]);
    assert_eq!(several.keys("west"), ["ha-wrapping"]);
    let tool = |words: &[&str]| {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(library()).args(["--token-label", "signing", "--login", "--pin", PIN]).args(words);
        let output = tool.output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", several.scene.log());
    };
    tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "ca", "--id", "01"]);
    assert_eq!(several.keys("west"), ["ca", "ha-wrapping"]);
    let file = several.scene.place.join("wrapping.key");
    std::fs::write(&file, [1; 32]).unwrap();
    several.dies("east");
    let signature = several.scene.place.join("signature");
    tool(&["--sign", "-m", "ECDSA", "--id", "01", "-i", file.to_str().unwrap(), "-o", signature.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(signature).unwrap().len(), 64);
    assert_eq!(keyward(&["ha", "status"]).status.code(), Some(7));
}
