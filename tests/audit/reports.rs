//! The inventory, and what is made of it.

use crate::place::*;

#[test]
fn the_inventory_knows_state_use_and_findings() {
    let place = Place::ready("");
    place.work("open; sign tls 3; secret data");
    let suspended = place.keyward("key suspend --label tls --reason check --pin-file pin --yes");
    assert!(suspended.status.success(), "{}", shown(&suspended.stderr));
    let (list, exit) = place.json("key list --pin-file pin");
    assert_eq!(exit, 7, "a readable key is an error: {list:#}");
    let keys = list.as_array().unwrap();
    let one = |label: &str| keys.iter().find(|key| key["label"] == label).unwrap();
    let (tls, data) = (one("tls"), one("data"));
    assert_eq!(
        (&tls["state"], &tls["use_count"], &tls["bits"]),
        (&"suspended".into(), &3.into(), &256.into()),
        "{tls:#}"
    );
    assert!(tls["last_use"].is_string() && tls["created"].is_string());
    let rules: Vec<_> = data["findings"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["readable", "wrap_and_decrypt", "unbounded"], "it wraps, and may decrypt by default");
    let (active, _) = place.json("key list --pin-file pin --state active");
    assert_eq!(active.as_array().unwrap().len(), 1);
}

#[test]
fn keys_about_to_end_are_told_of() {
    let place = Place::ready("");
    let ends = place.keyward("key schedule --label tls --protect-stop +10d --reason period --pin-file pin");
    assert!(ends.status.success(), "{}", shown(&ends.stderr));
    let (list, _) = place.json("key list --pin-file pin");
    assert_eq!(list[0]["findings"][0]["rule"], "expires", "{list:#}");
    let (list, exit) = place.json("key list --pin-file pin --warn 5");
    assert_eq!((exit, list[0]["findings"].as_array().unwrap().len()), (0, 0), "{list:#}");
}

#[test]
fn a_clock_that_was_set_back_is_told_of_and_undoes_nothing_that_was_written_down() {
    let place = Place::ready("");
    let shim = place.0.join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/clock.c");
    let cc = std::process::Command::new("cc").args(["-shared", "-fPIC", "-O1", source, "-o"]).arg(&shim).status();
    assert!(cc.unwrap().success());
    let ahead = |line: &str| {
        let days = (10 * 86_400).to_string();
        place.command(line).env("LD_PRELOAD", &shim).env("CLOCK_AHEAD", days).output().unwrap()
    };
    let ends = place.keyward("key schedule --label tls --deactivation +5d --reason period --pin-file pin");
    assert!(ends.status.success(), "{}", shown(&ends.stderr));
    assert!(place.try_work("open; sign tls").last().unwrap().ends_with("CKR_OK"));
    let found = |list: &serde_json::Value| list[0]["findings"].to_string().contains("\"clock\"");
    assert!(!found(&place.json("key list --pin-file pin").0));
    let maintained = ahead("maintain --pin-file pin");
    assert!(shown(&maintained.stdout).contains("deactivated by its date"), "{}", shown(&maintained.stdout));
    // Ten days back.
    assert!(place.try_work("open; sign tls").last().unwrap().ends_with("CKR_KEY_FUNCTION_NOT_PERMITTED"));
    let (list, _) = place.json("key list --pin-file pin");
    assert!(found(&list), "{list:#}");
    let (maintained, exit) = place.json("maintain --pin-file pin");
    assert!(exit == 9 && maintained.to_string().contains("the clock was set back"), "{maintained:#}");
    let (report, exit) = place.json("audit report");
    assert!(exit == 7 && report.to_string().contains("clock_back"), "{report:#}");
}

#[test]
fn compliance_says_what_was_found_and_never_more() {
    let place = Place::ready("");
    let of = |item: &str| {
        let (rows, _) = place.json("report compliance --pin-file pin");
        let row = rows.as_array().unwrap().iter().find(|row| row["item"] == item).unwrap().clone();
        (row["verdict"].as_str().unwrap().to_owned(), row["facts"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("Art. 32(1)(c)").0, "against", "no backup yet");
    assert!(place.keyward("backup create b --threshold 1 --custodian x=print").status.success());
    assert_eq!(of("Art. 32(1)(c)").0, "shown");
    assert_eq!(of("3.6.1").0, "shown");
    place.work("open; secret data");
    let (verdict, facts) = of("3.6.1");
    assert_eq!(verdict, "against");
    assert!(facts.contains("data") && facts.contains("1 of 2"), "{facts}");
    let (rows, _) = place.json("report compliance --pin-file pin --framework hipaa");
    assert!(rows.as_array().unwrap().iter().all(|row| row["framework"] == "hipaa"));
    let text = shown(&place.keyward("report compliance --pin-file pin").stdout);
    assert!(text.contains("no certificate"), "{text}");
}

#[test]
fn the_page_stands_alone() {
    let place = Place::ready("");
    place.work("open; generate <script>alert(1)</script>; sign tls");
    let out = place.keyward("report html --output page.html --pin-file pin");
    assert!(out.status.success(), "{}", shown(&out.stderr));
    let page = text(&place.0.join("page.html"));
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "a label writes no HTML");
    for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(
        place.keyward("report html --output page.html --pin-file pin").status.code(),
        Some(1),
        "never over a file"
    );
    if let Ok(kept) = std::env::var("KEYWARD_TEST_PAGE") {
        std::fs::write(kept, page).unwrap();
    }
}

#[test]
fn figures_are_in_the_form_that_the_collector_reads() {
    let place = Place::ready("");
    place.work("open; sign tls 2");
    let out = place.keyward("report metrics --output k.prom --pin-file pin");
    assert!(out.status.success(), "{}", shown(&out.stderr));
    let text = text(&place.0.join("k.prom"));
    let mut families = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(rest.split(' ').next().unwrap().to_owned()), "{line}");
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_once('{').unwrap();
            assert!(families.contains(name), "{line}");
            let (_, value) = rest.rsplit_once("} ").unwrap();
            value.parse::<u64>().unwrap();
        }
    }
    assert!(text.contains("keyward_audit_events{operation=\"sign\",result=\"CKR_OK\"} 2"), "{text}");
    assert!(text.contains("state=\"active\"} 1"), "{text}");
    assert!(place.keyward("report metrics --output k.prom --pin-file pin").status.success(), "replaced");
    assert_eq!(place.keyward("report metrics --output k.txt --pin-file pin").status.code(), Some(2));
}
