//! `keyward config`: the configuration in effect, as a complete configuration file.

use keyward::config::{Chosen, Config, FilterRules, HaRules, Mechanisms, MemberRules, SlotRules};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure, Result};
use crate::report::Report;

pub fn show(context: &Context) -> Result<Report> {
    let config = context.config()?;
    let values = values(&config);
    let text = toml::to_string(&values)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write the configuration as TOML: {error}")))?;
    let source = config.source.as_ref().map_or_else(
        || {
            let looked: Vec<String> = Config::candidates().iter().map(|path| path.display().to_string()).collect();
            format!("# Built-in defaults; there is no {}\n", looked.join(", no "))
        },
        |path| format!("# From {}\n", path.display()),
    );
    let json = json!({ "source": config.source, "values": values });
    Ok(Report::new(source + &text, json))
}

/// Every key, in the form in which it is written.
fn values(config: &Config) -> serde_json::Value {
    let mut log = json!({ "level": config.log.level });
    // TOML has no null.
    if let (Some(file), Some(log)) = (&config.log.file, log.as_object_mut()) {
        log.insert("file".to_owned(), json!(file));
    }
    let mut values = json!({
        "tokens": config.tokens,
        "device_secret": config.device_secret,
        "free_slot": config.free_slot,
        "mechanisms": mechanisms(&config.mechanisms),
        "ecdsa_nonces": config.ecdsa_nonces,
        "kdf": config.kdf,
        "pin": config.pin,
        "log": log,
    });
    // Its absence says that nothing is recorded.
    if let (Some(audit), Some(values)) = (&config.audit, values.as_object_mut()) {
        values.insert("audit".to_owned(), json!(audit));
    }
    let slots: Vec<_> = config.slots.iter().map(slot).chain(config.ha.iter().map(ha)).collect();
    if let (false, Some(values)) = (slots.is_empty(), values.as_object_mut()) {
        values.insert("slot".to_owned(), json!(slots));
    }
    values
}

fn mechanisms(mechanisms: &Mechanisms) -> serde_json::Value {
    match mechanisms {
        Mechanisms::Modern => json!("modern"),
        Mechanisms::All => json!("all"),
        Mechanisms::Approved => json!("approved"),
        Mechanisms::Only(names) => json!(names),
        Mechanisms::Without(names) => json!(names.iter().map(|name| format!("-{name}")).collect::<Vec<_>>()),
    }
}

/// Two tables as one.
fn joined(mut one: serde_json::Value, other: serde_json::Value) -> serde_json::Value {
    if let (Some(one), serde_json::Value::Object(other)) = (one.as_object_mut(), other) {
        // TOML has no null.
        one.extend(other.into_iter().filter(|(_, value)| !value.is_null()));
    }
    one
}

fn slot(rules: &SlotRules) -> serde_json::Value {
    let SlotRules { label, filter, member: rules } = rules;
    joined(joined(json!({ "kind": "forward" }), filtered(filter)), joined(member(rules), json!({ "label": label })))
}

fn filtered(filter: &FilterRules) -> serde_json::Value {
    let vendor: Vec<_> = filter.vendor_mechanisms.iter().map(|ty| format!("{ty:#x}")).collect();
    json!({
        "mechanisms": mechanisms(&filter.mechanisms),
        "vendor_mechanisms": vendor,
        "objects": filter.objects,
        "read_only": filter.read_only,
        "security_officer": filter.security_officer,
        "overlay": filter.overlay,
    })
}

fn member(member: &MemberRules) -> serde_json::Value {
    let (key, chosen) = match &member.chosen {
        Chosen::Token(label) => ("token", json!(label)),
        Chosen::Serial(serial) => ("serial", json!(serial)),
        Chosen::Index(index) => ("index", json!(index)),
    };
    let values =
        json!({ "module": member.module, "pin": member.pin.written(), "sessions": member.sessions, key: chosen });
    let isolation = member.isolation.as_ref().map(|isolation| {
        json!({
            "isolate": true,
            "deadline": isolation.deadline.as_secs_f64(),
            "environment": isolation.environment,
            "helper": isolation.helper,
        })
    });
    let further = json!({ "init_args": member.init_args, "quirks": member.quirks });
    joined(values, joined(further, isolation.unwrap_or_else(|| json!({}))))
}

fn ha(rules: &HaRules) -> serde_json::Value {
    let HaRules { label, filter, order, mirror, wrapping_key, copies, patience, state, members } = rules;
    let own = json!({
        "kind": "ha",
        "label": label,
        "order": order,
        "mirror": mirror,
        "wrapping_key": wrapping_key,
        "copies": copies,
        "failures": patience.failures,
        "retry": patience.retry.as_secs_f64(),
        "retry_most": patience.most.as_secs_f64(),
        "check": patience.check.as_secs_f64(),
        "state": state,
    });
    let members: Vec<_> = members.iter().map(|one| joined(json!({ "name": one.name }), member(&one.rules))).collect();
    joined(joined(json!({}), own), joined(filtered(filter), json!({ "member": members })))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use keyward::config::{EcdsaNonces, HaMember, IsolationRules, Mirror, Order, Patience, PinSource};

    use super::*;

    #[test]
    fn what_is_shown_can_be_read_back_and_means_the_same() {
        let path = std::env::temp_dir().join(format!("keyward-shown-{}.toml", std::process::id()));
        let mut config = Config::within(Path::new("/srv/keyward"));
        config.mechanisms = Mechanisms::Without(vec!["SHA_1".into()]);
        config.ecdsa_nonces = EcdsaNonces::Deterministic;
        config.log.file = Some(PathBuf::from("/var/log/k\"eyward"));
        config.pin.max_failures = 3;
        config.slots = vec![SlotRules {
            label: Some("front".into()),
            filter: FilterRules {
                mechanisms: Mechanisms::Only(vec!["ECDSA".into()]),
                vendor_mechanisms: vec![0x8000_0001],
                objects: vec!["pkcs11:object=web".into()],
                read_only: true,
                security_officer: false,
                overlay: Some("front".into()),
            },
            member: MemberRules {
                module: "/usr/lib/hsm.so".into(),
                init_args: Some("configdir='/x'".into()),
                chosen: Chosen::Serial("12".into()),
                pin: PinSource::File("/run/pin".into()),
                sessions: 3,
                quirks: Some("luna".into()),
                isolation: Some(IsolationRules {
                    deadline: std::time::Duration::from_millis(2500),
                    helper: Some("/opt/keyward".into()),
                    environment: [("HSM_CONF".to_owned(), "/etc/hsm".to_owned())].into(),
                }),
            },
        }];
        let one = config.slots[0].clone();
        let two = MemberRules { module: "/usr/lib/other.so".into(), init_args: None, ..one.member.clone() };
        config.ha = vec![HaRules {
            label: "both".into(),
            filter: FilterRules { overlay: Some("over-both".into()), ..one.filter },
            order: Order::RoundRobin,
            mirror: Mirror::Wrap,
            wrapping_key: Some("shared".into()),
            copies: 1,
            patience: Patience { failures: 7, retry: std::time::Duration::from_millis(1500), ..Patience::default() },
            state: "/srv/ha".into(),
            members: [("a", one.member), ("b", two)].map(|(name, rules)| HaMember { name: name.into(), rules }).into(),
        }];
        config.audit = Some(keyward::config::AuditRules {
            key_use: keyward::config::AuditMode::Durable,
            redact: vec![keyward::config::AuditField::Label],
            ..keyward::config::AuditRules::within(PathBuf::from("/srv/audit"))
        });
        config.pin.require = vec![keyward::config::PinKind::Symbol];
        let context = Context::for_test(config.clone(), false, Box::new(|_| Ok(Vec::new())));
        std::fs::write(&path, show(&context).unwrap().text).unwrap();
        let read = Config::load_file(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), Config { source: Some(path), ..config });
    }
}
