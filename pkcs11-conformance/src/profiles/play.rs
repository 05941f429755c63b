//! Plays the steps of a case: inputs out of the elements, the call, and the answer against the one expected.

use std::collections::HashMap;

use cryptoki_sys::*;

use super::marshal::{self, number, prefix};
use super::xml::{Node, Step};
use crate::context::{Outcome, Stop, T, ensure, fail};
use crate::data::{RawMech, RawTemplate, Template};
use crate::ffi::{Api, Room, Rv, Session};
use crate::functions::{ALL, Arg, F};
use crate::names::name_of;

/// Elements whose values vary with the provider (PKCS#11 Profiles 3.2, section 5.1.1).
const VARIABLE: &[&str] = &[
    "LibraryDescription",
    "LibraryVersion",
    "ManufacturerID",
    "SlotDescription",
    "HardwareVersion",
    "FirmwareVersion",
    "serialNumber",
    "label",
    "model",
    "utcTime",
    "SlotID",
    "Object",
    "Session",
    "Data",
    "EncryptedData",
    "RandomData",
];

/// Attributes whose values vary, and the two that must with a key of our own.
const VARIABLE_ATTRIBUTES: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_VALUE,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
    CKA_PRIME,
    CKA_SUBPRIME,
    CKA_BASE,
    CKA_EC_POINT,
    CKA_UNIQUE_ID,
];

pub struct Player {
    api: &'static Api,
    init_args: Option<String>,
    /// The slot that stands for the first one of the list.
    slot: CK_SLOT_ID,
    bound: HashMap<String, String>,
    /// Lengths that a case tells and this token has otherwise.
    lengths: HashMap<(CK_ATTRIBUTE_TYPE, String), usize>,
    /// Differences that are no failures.
    pub notes: Vec<String>,
}

/// Everything that a call in progress points to.
#[derive(Default)]
struct Store {
    words: Vec<usize>,
    inputs: Vec<Vec<u8>>,
    mechs: Vec<RawMech>,
    templates: Vec<RawTemplate<'static>>,
    /// The output buffer, the element that asked for it, and whether it asked for the length only.
    out: Option<(Vec<u8>, String, bool)>,
    out_len: Box<CK_ULONG>,
    handles: Box<[CK_ULONG; 2]>,
    record: Vec<u64>,
}

impl Player {
    pub fn new(t: &T<'_>, slot: CK_SLOT_ID) -> Self {
        let pin = t.env.user_pin.clone().map(|p| ("Pin".to_owned(), p));
        Player {
            api: t.api,
            init_args: t.env.init_args.clone(),
            slot,
            bound: pin.into_iter().collect(),
            lengths: HashMap::new(),
            notes: Vec::new(),
        }
    }

    /// One call with its answer.
    pub fn step(&mut self, step: &Step) -> Outcome {
        let name = step.call.name.as_str();
        let f = ALL.iter().copied().find(|f| f.name() == name);
        let Some(f) = f else { return fail(format!("{name} is no function of PKCS#11")) };
        let call = self.substituted(&step.call)?;
        let (rv, answer) = self.perform(f, &call)?;
        let want = step.answer.attribute("rv").unwrap_or_default();
        ensure(rv.0 == number(want, "CKR_")?, || format!("{name} returned {rv}, the case says CKR_{want}"))?;
        self.compare(name, &step.answer, &answer)
    }

    /// The element with every `${Name}` replaced.
    fn substituted(&self, node: &Node) -> Result<Node, Stop> {
        let mut out = node.clone();
        for (_, value) in &mut out.attributes {
            if let Some(name) = symbol(value) {
                match self.bound.get(name) {
                    Some(v) => *value = v.clone(),
                    None => return fail(format!("{}: nothing was found for ${{{name}}}", node.name)),
                }
            }
        }
        out.children = node.children.iter().map(|c| self.substituted(c)).collect::<Result<_, _>>()?;
        Ok(out)
    }

    fn perform(&mut self, f: F, call: &Node) -> Result<(Rv, Node), Stop> {
        if f == F::C_Initialize {
            let rv = self.api.initialize(self.init_args.as_deref()).map_or_else(|r| r.rv, |()| Rv(CKR_OK));
            return Ok((rv, Node::new(f.name())));
        }
        if f == F::C_GetAttributeValue {
            return self.get_attributes(call);
        }
        let mut store = Store::default();
        self.collect(f, call, &mut store)?;
        // SAFETY: the words are what the function's row asks for; everything they point to is in `store`.
        let rv = unsafe { self.api.call(f, &store.words) };
        let children = if rv.0 == CKR_OK { self.outputs(f, &store) } else { Vec::new() };
        Ok((rv, Node::holding(f.name(), children)))
    }

    /// The arguments, in order: elements stand in the order of the parameters, without lengths, counts and NULLs.
    fn collect(&self, f: F, call: &Node, store: &mut Store) -> Outcome {
        let mut elements = call.children.iter();
        store.record = vec![0; 64];
        for arg in f.row().args {
            let mut next =
                || elements.next().ok_or_else(|| Stop::Fail(format!("{}: an argument is missing", f.name())));
            let word = match arg {
                Arg::Session | Arg::Slot | Arg::Object | Arg::Key | Arg::Value => {
                    let e = next()?;
                    number(e.attribute("value").unwrap_or_default(), prefix(&e.name))? as usize
                }
                Arg::In | Arg::Text | Arg::Parameter => {
                    store.inputs.push(marshal::bytes(next()?));
                    store.inputs.last().map_or(0, |b| b.as_ptr() as usize)
                }
                Arg::Mechanism => {
                    store.mechs.push(marshal::mechanism(next()?)?.raw());
                    store.mechs.last_mut().map_or(0, RawMech::pointer)
                }
                Arg::Template => {
                    let t: &'static Template = Box::leak(Box::new(marshal::template(next()?)?));
                    store.templates.push(t.raw());
                    store.templates.last().map_or(0, RawTemplate::pointer)
                }
                Arg::Out | Arg::Fill => room(next()?, store)?,
                Arg::Len if store.out.is_some() && f.has(Arg::Fill) => *store.out_len as usize,
                Arg::Len => store.inputs.last().map_or(0, Vec::len),
                Arg::Count => store.templates.last().map_or(0, RawTemplate::count),
                Arg::OutLen => &raw mut *store.out_len as usize,
                Arg::Handle => {
                    let used = store.words.iter().filter(|w| **w == store.handles.as_ptr() as usize).count();
                    store.handles.as_mut_ptr().wrapping_add(used) as usize
                }
                Arg::Store => store.record.as_mut_ptr() as usize,
                Arg::Reserved | Arg::Opaque => 0,
            };
            store.words.push(word);
        }
        Ok(())
    }

    /// What the call gave, as elements.
    fn outputs(&self, f: F, store: &Store) -> Vec<Node> {
        let record = store.record.as_ptr();
        // SAFETY: the record is zeroed memory, larger and at least as aligned as any structure, which the function filled.
        let node = unsafe {
            match f {
                F::C_GetInfo => Some(marshal::info(&*record.cast())),
                F::C_GetSlotInfo => Some(marshal::slot_info(&*record.cast())),
                F::C_GetTokenInfo => Some(marshal::token_info(&*record.cast())),
                F::C_GetMechanismInfo => Some(marshal::mechanism_info(&*record.cast())),
                F::C_GetSessionInfo => Some(marshal::session_info(&*record.cast())),
                F::C_GetObjectSize => Some(Node::value("Size", *record)),
                _ => None,
            }
        };
        let mut nodes: Vec<Node> = node.into_iter().collect();
        if let Some((bytes, name, query)) = &store.out {
            let n = *store.out_len as usize;
            nodes.push(match f {
                F::C_FindObjects => items(name, "Object", bytes, store.record.first().map_or(0, |n| *n as usize)),
                _ if *query => Node::new(name).with("length", n),
                F::C_GetSlotList => self.slot_items(name, bytes, n),
                F::C_GetMechanismList => items(name, "Type", bytes, n),
                _ => Node::value(name, bytes.iter().take(n).map(|b| format!("{b:02x}")).collect::<String>()),
            });
        }
        match f {
            F::C_OpenSession => nodes.push(Node::value("Session", store.handles[0])),
            F::C_GenerateKeyPair => {
                nodes.push(Node::value("PublicKey", store.handles[0]));
                nodes.push(Node::value("PrivateKey", store.handles[1]));
            }
            F::C_CreateObject | F::C_CopyObject => nodes.push(Node::value("Object", store.handles[0])),
            _ if f.has(Arg::Handle) => nodes.push(Node::value("Key", store.handles[0])),
            _ => {}
        }
        nodes
    }

    /// The slots, with the one under test first.
    fn slot_items(&self, name: &str, bytes: &[u8], n: usize) -> Node {
        let mut node = items(name, "SlotID", bytes, n);
        let ours = self.slot.to_string();
        node.children.sort_by_key(|c| c.attribute("value") != Some(&ours));
        node
    }

    fn get_attributes(&mut self, call: &Node) -> Result<(Rv, Node), Stop> {
        let value = |name: &str| number(call.child(name).and_then(|n| n.attribute("value")).unwrap_or_default(), "");
        let s = Session { api: self.api, h: value("Session")? };
        let Some(template) = call.child("Template") else { return fail("C_GetAttributeValue without template") };
        let mut ask = Vec::new();
        for a in &template.children {
            let ty = marshal::attribute_type(a)?;
            let room = match a.attribute("length") {
                None => Room::Query,
                Some(n) => match self.lengths.get(&(ty, n.to_owned())) {
                    Some(real) => Room::Bytes(*real),
                    None => Room::Bytes(number(n, "")? as usize),
                },
            };
            ask.push((ty, room));
        }
        let (rv, got) = s.get_many(value("Object")?, &ask);
        let attributes = ask.iter().zip(got).map(|((ty, room), (len, bytes))| {
            let node = Node::new("Attribute").with("type", name_of("CKA_", *ty).trim_start_matches("CKA_"));
            match (room, len) {
                (_, None) => node.with("length", "UnavailableInformation"),
                (Room::Query, Some(n)) => node.with("length", n),
                (Room::Bytes(_), Some(_)) => node.with("value", marshal::attribute_text(*ty, &bytes)),
            }
        });
        Ok((rv, Node::holding("C_GetAttributeValue", vec![Node::holding("Template", attributes.collect())])))
    }

    /// The answer against the one of the case, from the outside in.
    fn compare(&mut self, path: &str, want: &Node, got: &Node) -> Outcome {
        for (i, w) in want.children.iter().enumerate() {
            let here = format!("{path}/{}", w.name);
            let found = match w.name.as_str() {
                "Attribute" => got.children.get(i),
                "Type" if w.attribute("value").is_some() => {
                    self.listed(&here, w, got)?;
                    continue;
                }
                // Items of one name by their place; single elements by their name.
                _ if want.children.iter().filter(|c| c.name == w.name).count() > 1 => got.children.get(i),
                _ => got.child(&w.name),
            };
            match found {
                Some(g) => self.element(&here, w, g)?,
                // An object that is not there matters when a later call needs it.
                None if w.name == "Object" => {}
                None => return fail(format!("{here} is missing in the answer")),
            }
        }
        Ok(())
    }

    fn element(&mut self, path: &str, want: &Node, got: &Node) -> Outcome {
        for (key, value) in want.attributes.iter().filter(|(k, _)| k != "rv") {
            let Some(real) = got.attribute(key) else {
                return fail(format!("{path} has no {key} in the answer"));
            };
            match symbol(value) {
                Some(name) => drop(self.bound.insert(name.to_owned(), real.to_owned())),
                None => self.value(path, want, (key, value), real)?,
            }
        }
        self.compare(path, want, got)
    }

    fn value(&mut self, path: &str, want: &Node, (key, value): (&str, &str), real: &str) -> Outcome {
        let attribute = (want.name == "Attribute").then(|| marshal::attribute_type(want)).transpose()?;
        if let (Some(ty), "length", Ok(n)) = (attribute, key, real.parse()) {
            self.lengths.insert((ty, value.to_owned()), n);
        }
        let varies =
            VARIABLE.contains(&want.name.as_str()) || attribute.is_some_and(|ty| VARIABLE_ATTRIBUTES.contains(&ty));
        if varies || key == "type" || real == value {
            return Ok(());
        }
        if let (Ok(w), Ok(g)) = (number(value, prefix(&want.name)), number(real, prefix(&want.name))) {
            if w == g {
                return Ok(());
            }
            // What must be offered is offered; more may be.
            if want.name == "Flags" {
                let lacking = w & !g;
                return ensure(lacking == 0, || format!("{path}: flags {lacking:#x} of {value} are not set in {g:#x}"));
            }
        }
        let short =
            |s: &str| if s.len() > 40 { format!("{}...", &s[..s.floor_char_boundary(40)]) } else { s.to_owned() };
        self.notes.push(format!("{path} {key} is {}, the case has {}", short(real), short(value)));
        Ok(())
    }

    /// A mechanism of the case's list is among the real ones.
    fn listed(&mut self, path: &str, want: &Node, got: &Node) -> Outcome {
        let name = want.attribute("value").unwrap_or_default();
        let ty = number(name, "CKM_")?.to_string();
        ensure(got.children.iter().any(|g| g.attribute("value") == Some(&ty)), || {
            format!("{path}: {name} is not listed")
        })
    }
}

/// The name in `${name}`.
fn symbol(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// Room for an output as its element asks: a length, or none for a length query.
fn room(e: &Node, store: &mut Store) -> Result<usize, Stop> {
    let item = if matches!(e.name.as_str(), "SlotList" | "MechanismList" | "Object") { 8 } else { 1 };
    let Some(n) = e.attribute("length") else {
        store.out = Some((Vec::new(), e.name.clone(), true));
        return Ok(0);
    };
    let n = number(n, "")?;
    *store.out_len = n;
    store.out = Some((vec![0; n as usize * item], e.name.clone(), false));
    Ok(store.out.as_ref().map_or(0, |(b, _, _)| b.as_ptr() as usize))
}

/// A list of handles or numbers as elements.
fn items(name: &str, item: &str, bytes: &[u8], n: usize) -> Node {
    let words = bytes.chunks_exact(8).take(n).filter_map(|c| c.try_into().ok().map(u64::from_ne_bytes));
    Node::holding(name, words.map(|w| Node::value(item, w)).collect()).with("length", n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_lists() {
        assert_eq!(symbol("${SlotList.SlotID[0]}"), Some("SlotList.SlotID[0]"));
        assert_eq!(symbol("OK"), None);
        let node = items("Object", "Object", &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], 1);
        assert_eq!(node.children, [Node::value("Object", 1)]);
        assert_eq!(node.attribute("length"), Some("1"));
    }
}
