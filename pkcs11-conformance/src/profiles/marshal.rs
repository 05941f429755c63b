//! Between the XML form and C: inputs of a call from elements, outputs to elements of the same form.

use cryptoki_sys::*;

use super::xml::Node;
use crate::check::rsa_key::unhex;
use crate::context::{Stop, fail};
use crate::data::{Mech, Template};
use crate::names::{name_of, value_of};

/// How the value of an attribute is written.
enum Form {
    Bool,
    /// A number, or a name with this prefix.
    Number(&'static str),
    Text,
    Bytes,
}

fn form(ty: CK_ATTRIBUTE_TYPE) -> Form {
    match ty {
        CKA_TOKEN
        | CKA_PRIVATE
        | CKA_MODIFIABLE
        | CKA_COPYABLE
        | CKA_DESTROYABLE
        | CKA_TRUSTED
        | CKA_SENSITIVE
        | CKA_ENCRYPT
        | CKA_DECRYPT
        | CKA_WRAP
        | CKA_UNWRAP
        | CKA_SIGN
        | CKA_SIGN_RECOVER
        | CKA_VERIFY
        | CKA_VERIFY_RECOVER
        | CKA_DERIVE
        | CKA_EXTRACTABLE
        | CKA_LOCAL
        | CKA_NEVER_EXTRACTABLE
        | CKA_ALWAYS_SENSITIVE
        | CKA_ALWAYS_AUTHENTICATE
        | CKA_WRAP_WITH_TRUSTED
        | CKA_ENCAPSULATE
        | CKA_DECAPSULATE => Form::Bool,
        CKA_CLASS => Form::Number("CKO_"),
        CKA_KEY_TYPE => Form::Number("CKK_"),
        CKA_CERTIFICATE_TYPE => Form::Number("CKC_"),
        CKA_PROFILE_ID => Form::Number("CKP_"),
        CKA_KEY_GEN_MECHANISM | CKA_MECHANISM_TYPE => Form::Number("CKM_"),
        CKA_MODULUS_BITS | CKA_VALUE_LEN | CKA_CERTIFICATE_CATEGORY | CKA_PARAMETER_SET | CKA_VALUE_BITS => {
            Form::Number("")
        }
        CKA_LABEL | CKA_APPLICATION | CKA_URL | CKA_UNIQUE_ID | CKA_START_DATE | CKA_END_DATE => Form::Text,
        _ => Form::Bytes,
    }
}

/// A number: decimal, `0x` hexadecimal, a special value, a name without its prefix, or such names joined.
pub fn number(text: &str, prefix: &str) -> Result<CK_ULONG, Stop> {
    let one = |word: &str| match word {
        "UnavailableInformation" => Some(CK_UNAVAILABLE_INFORMATION),
        "EffectivelyInfinite" => Some(CK_EFFECTIVELY_INFINITE),
        "true" | "TRUE" => Some(1),
        "false" | "FALSE" => Some(0),
        _ => match word.strip_prefix("0x") {
            Some(hex) => CK_ULONG::from_str_radix(hex, 16).ok(),
            None => word.parse().ok().or_else(|| value_of(&format!("{prefix}{word}"))),
        },
    };
    let words = text.split(['|', ' ']).filter(|w| !w.is_empty());
    words.map(one).try_fold(0, |sum, n| n.map(|n| sum | n)).map_or_else(|| fail(format!("`{text}` is no number")), Ok)
}

/// The prefix of the names that a plain number of this element may have.
pub fn prefix(element: &str) -> &'static str {
    match element {
        "Flags" => "CKF_",
        "UserType" => "CKU_",
        "Type" => "CKM_",
        "State" => "CKS_",
        _ => "",
    }
}

pub fn attribute_type(node: &Node) -> Result<CK_ATTRIBUTE_TYPE, Stop> {
    let name = node.attribute("type").unwrap_or_default();
    number(name, "CKA_").map_err(|_| Stop::Fail(format!("unknown attribute `{name}`")))
}

/// The bytes of an attribute's value as written.
fn attribute_bytes(ty: CK_ATTRIBUTE_TYPE, text: &str) -> Result<Vec<u8>, Stop> {
    Ok(match form(ty) {
        Form::Bool => vec![u8::from(number(text, "")? != 0)],
        Form::Number(prefix) => number(text, prefix)?.to_ne_bytes().to_vec(),
        Form::Text => text.as_bytes().to_vec(),
        Form::Bytes => unhex(text),
    })
}

/// An attribute's value as the XML form writes it.
pub fn attribute_text(ty: CK_ATTRIBUTE_TYPE, value: &[u8]) -> String {
    let number = || value.try_into().ok().map(CK_ULONG::from_ne_bytes);
    match (form(ty), number()) {
        (Form::Bool, _) => if value == [0] { "FALSE" } else { "TRUE" }.to_owned(),
        (Form::Number(""), Some(n)) => n.to_string(),
        (Form::Number(prefix), Some(n)) => name_of(prefix, n).trim_start_matches(prefix).to_owned(),
        (Form::Text, _) => String::from_utf8_lossy(value).into_owned(),
        _ => value.iter().map(|b| format!("{b:02x}")).collect(),
    }
}

/// A template that goes in.
pub fn template(node: &Node) -> Result<Template, Stop> {
    node.children.iter().filter(|c| c.name == "Attribute").try_fold(Template::new(), |t, a| {
        let ty = attribute_type(a)?;
        Ok(t.bytes(ty, &attribute_bytes(ty, a.attribute("value").unwrap_or_default())?))
    })
}

/// A mechanism: its type, and its parameter if that is plain bytes.
pub fn mechanism(node: &Node) -> Result<Mech, Stop> {
    let ty = node.child("Type").and_then(|t| t.attribute("value")).unwrap_or_default();
    let ty = number(ty, "CKM_")?;
    let parameter = node.child("Parameter").or_else(|| node.child("Iv"));
    match parameter {
        None => Ok(Mech::new(ty)),
        Some(p) => match p.attribute("value") {
            Some(hex) if p.children.is_empty() => Ok(Mech::bytes(ty, &unhex(hex))),
            _ => fail(format!("the parameter of {} is of a form that is not read", name_of("CKM_", ty))),
        },
    }
}

/// Input bytes: text for PINs and names, hexadecimal digits otherwise.
pub fn bytes(node: &Node) -> Vec<u8> {
    let text = node.attribute("value").unwrap_or_default();
    match node.name.as_str() {
        "Pin" | "OldPin" | "NewPin" | "Username" => text.as_bytes().to_vec(),
        _ => unhex(text),
    }
}

fn version(name: &str, v: CK_VERSION) -> Node {
    Node::new(name).with("major", v.major).with("minor", v.minor)
}

fn text(name: &str, field: &[u8]) -> Node {
    Node::value(name, String::from_utf8_lossy(field))
}

pub fn info(i: &CK_INFO) -> Node {
    Node::holding(
        "Info",
        vec![
            version("CryptokiVersion", i.cryptokiVersion),
            text("ManufacturerID", &i.manufacturerID),
            Node::value("Flags", i.flags),
            text("LibraryDescription", &i.libraryDescription),
            version("LibraryVersion", i.libraryVersion),
        ],
    )
}

pub fn slot_info(i: &CK_SLOT_INFO) -> Node {
    Node::holding(
        "SlotInfo",
        vec![
            text("SlotDescription", &i.slotDescription),
            text("ManufacturerID", &i.manufacturerID),
            Node::value("Flags", i.flags),
            version("HardwareVersion", i.hardwareVersion),
            version("FirmwareVersion", i.firmwareVersion),
        ],
    )
}

pub fn token_info(i: &CK_TOKEN_INFO) -> Node {
    let mut nodes = vec![
        text("label", &i.label),
        text("ManufacturerID", &i.manufacturerID),
        text("model", &i.model),
        text("serialNumber", &i.serialNumber),
        Node::value("Flags", i.flags),
    ];
    let numbers = [
        ("MaxSessionCount", i.ulMaxSessionCount),
        ("SessionCount", i.ulSessionCount),
        ("MaxRwSessionCount", i.ulMaxRwSessionCount),
        ("RwSessionCount", i.ulRwSessionCount),
        ("MaxPinLen", i.ulMaxPinLen),
        ("MinPinLen", i.ulMinPinLen),
        ("TotalPublicMemory", i.ulTotalPublicMemory),
        ("FreePublicMemory", i.ulFreePublicMemory),
        ("TotalPrivateMemory", i.ulTotalPrivateMemory),
        ("FreePrivateMemory", i.ulFreePrivateMemory),
    ];
    nodes.extend(numbers.map(|(name, n)| Node::value(name, n)));
    nodes.push(version("HardwareVersion", i.hardwareVersion));
    nodes.push(version("FirmwareVersion", i.firmwareVersion));
    nodes.push(text("utcTime", &i.utcTime));
    Node::holding("TokenInfo", nodes)
}

pub fn mechanism_info(i: &CK_MECHANISM_INFO) -> Node {
    Node::holding(
        "MechanismInfo",
        vec![
            Node::value("MinKeySize", i.ulMinKeySize),
            Node::value("MaxKeySize", i.ulMaxKeySize),
            Node::value("Flags", i.flags),
        ],
    )
}

pub fn session_info(i: &CK_SESSION_INFO) -> Node {
    Node::holding(
        "SessionInfo",
        vec![
            Node::value("SlotID", i.slotID),
            Node::value("State", i.state),
            Node::value("Flags", i.flags),
            Node::value("DeviceError", i.ulDeviceError),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_form() {
        assert_eq!(number("RW_SESSION|SERIAL_SESSION", "CKF_").unwrap(), 6);
        assert_eq!(number("RW_SESSION SERIAL_SESSION", "CKF_").unwrap(), 6);
        assert_eq!(number("0x1082", "CKM_").unwrap(), CKM_AES_CBC);
        assert_eq!(number("UnavailableInformation", "").unwrap(), CK_ULONG::MAX);
        assert!(number("NO_SUCH", "CKM_").is_err());
    }

    #[test]
    fn attributes_go_both_ways() {
        for (name, value) in [("CLASS", "PUBLIC_KEY"), ("TOKEN", "TRUE"), ("LABEL", "a b"), ("MODULUS", "00ff")] {
            let node = Node::new("Attribute").with("type", name).with("value", value);
            let ty = attribute_type(&node).unwrap();
            let t = template(&Node::holding("Template", vec![node])).unwrap();
            assert_eq!(attribute_text(ty, t.value(ty).unwrap()), value);
        }
    }
}
