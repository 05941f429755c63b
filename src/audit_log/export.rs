//! Other forms of the record's lines: CEF, and RFC 5424 for the local syslog socket.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::line::Line;

/// How an event weighs: what was refused weighs more, most of all on the record itself.
fn weight(line: &Line) -> Weight {
    match line.op.as_str() {
        super::line::GAP => Weight::Alarm,
        _ if !line.is_good() => Weight::Warning,
        "destroy" | "init_token" | "init_pin" | "set_pin" | "wrap" | "read_value" | "backup" | "restore" => {
            Weight::Notice
        }
        _ => Weight::Information,
    }
}

#[derive(Clone, Copy)]
enum Weight {
    Information,
    Notice,
    Warning,
    Alarm,
}

impl Weight {
    /// 0 to 10.
    fn cef(self) -> u8 {
        match self {
            Weight::Information => 2,
            Weight::Notice => 4,
            Weight::Warning => 6,
            Weight::Alarm => 9,
        }
    }

    /// RFC 5424, 6.2.1.
    fn severity(self) -> u8 {
        match self {
            Weight::Information => 6,
            Weight::Notice => 5,
            Weight::Warning => 4,
            Weight::Alarm => 1,
        }
    }
}

/// The fields that have something to say, with their names in the record.
fn fields(line: &Line) -> Vec<(&'static str, String)> {
    let version = line.version.map(|version| version.to_string()).unwrap_or_default();
    let slot = if line.token.is_empty() { String::new() } else { line.slot.to_string() };
    let all = [
        ("seq", line.seq.to_string()),
        ("uid", line.uid.to_string()),
        ("exe", line.exe.clone()),
        ("slot", slot),
        ("token", line.token.clone()),
        ("user", line.user.clone()),
        ("key", line.key.clone()),
        ("label", line.label.clone()),
        ("version", version),
        ("with", line.with.clone()),
        ("mechanism", line.mechanism.clone()),
        ("result", line.result.clone()),
        ("rule", line.rule.clone()),
        ("prev", line.prev.clone()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// ArcSight Common Event Format, version 0: a header of fields between bars, then names and values.
pub fn cef(line: &Line) -> String {
    let head = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    let value = |text: &str| text.replace('\\', "\\\\").replace('=', "\\=").replace('\r', "\\r").replace('\n', "\\n");
    // The dictionary's own names where it has one; further fields stand in its custom strings, each with its label.
    const CUSTOM: [&str; 6] = ["key", "label", "mechanism", "token", "with", "prev"];
    let mut text = format!(
        "CEF:0|Keyward|Keyward|{}|{}|{}|{}|",
        env!("CARGO_PKG_VERSION"),
        head(&line.op),
        head(&line.op.replace('_', " ")),
        weight(line).cef()
    );
    let millis = line.micros().unwrap_or(0) / 1000;
    let mut said = vec![format!("rt={millis}"), format!("dvchost={}", value(&line.host)), format!("spid={}", line.pid)];
    for (name, found) in fields(line) {
        let named = match name {
            "seq" => "externalId",
            "uid" => "suid",
            "exe" => "sproc",
            "user" => "suser",
            "result" => "outcome",
            "rule" => "reason",
            _ => "",
        };
        if let Some(number) = CUSTOM.iter().position(|custom| *custom == name) {
            let number = number + 1;
            said.push(format!("cs{number}Label={name} cs{number}={}", value(&found)));
        } else if !named.is_empty() {
            said.push(format!("{named}={}", value(&found)));
        }
    }
    text.push_str(&said.join(" "));
    text
}

/// RFC 5424, facility authpriv. The structured data stand under the enterprise number that IANA keeps for documentation
/// (32473), since Keyward has none.
pub fn syslog(line: &Line) -> String {
    const AUTHPRIV: u8 = 10;
    let name = |text: &str, most: usize| -> String {
        let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
        if text.is_empty() { "-".to_owned() } else { text }
    };
    let value = |text: &str| {
        text.chars().fold(String::new(), |mut text, c| {
            if matches!(c, '"' | '\\' | ']') {
                text.push('\\');
            }
            text.push(if c.is_control() { ' ' } else { c });
            text
        })
    };
    let data: String = fields(line).iter().map(|(name, found)| format!(" {name}=\"{}\"", value(found))).collect();
    format!(
        "<{}>1 {} {} keyward {} {} [keyward@32473{data}] {} {}",
        AUTHPRIV * 8 + weight(line).severity(),
        name(&line.time, 64),
        name(&line.host, 255),
        line.pid,
        name(&line.op, 32),
        value(&line.op),
        if line.result.is_empty() { "recorded" } else { &line.result }
    )
}

/// The socket of the local syslog daemon: one message, one datagram.
pub struct Socket(UnixDatagram);

impl Socket {
    pub fn connect(path: &Path) -> io::Result<Socket> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Socket(socket))
    }

    pub fn send(&self, message: &str) -> io::Result<()> {
        self.0.send(message.as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Line {
        Line {
            seq: 7,
            time: "2026-11-28T17:49:52.000001Z".into(),
            host: "a b".into(),
            op: "sign".into(),
            label: "x=1|y\"]\\\nz".into(),
            result: "CKR_OK".into(),
            ..Line::default()
        }
    }

    #[test]
    fn a_label_cannot_leave_its_place() {
        let cef = cef(&hostile());
        assert!(cef.starts_with("CEF:0|Keyward|Keyward|"), "{cef}");
        assert!(cef.contains("cs2Label=label cs2=x\\=1|y\"]\\\\\\nz outcome=CKR_OK"), "{cef}");
        assert!(cef.contains("rt=1795888192000"), "{cef}");
        let syslog = syslog(&hostile());
        assert!(
            syslog.starts_with("<86>1 2026-11-28T17:49:52.000001Z ab keyward 0 sign [keyward@32473 seq=\"7\""),
            "{syslog}"
        );
        assert!(syslog.contains("label=\"x=1|y\\\"\\]\\\\ z\""), "{syslog}");
        assert!(!cef.contains('\n') && !syslog.contains('\n'));
    }
}
