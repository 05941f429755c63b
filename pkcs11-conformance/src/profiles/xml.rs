//! The XML form of PKCS#11 calls (PKCS#11 Profiles 3.2, section 4): read into a tree.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An element: its name, its attributes, and what is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Node>,
}

impl Node {
    pub fn new(name: &str) -> Self {
        Node { name: name.to_owned(), ..Node::default() }
    }

    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.attributes.push((key.to_owned(), value.to_string()));
        self
    }

    pub fn value(name: &str, value: impl ToString) -> Self {
        Node::new(name).with("value", value)
    }

    pub fn holding(name: &str, children: Vec<Node>) -> Self {
        Node { name: name.to_owned(), attributes: Vec::new(), children }
    }

    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.name == name)
    }
}

/// One call of a case: the element with the inputs, and the one with the return value and the outputs.
#[derive(Clone, Debug)]
pub struct Step {
    pub call: Node,
    pub answer: Node,
}

fn element(start: &BytesStart<'_>) -> Result<Node, String> {
    let mut node = Node::new(&String::from_utf8_lossy(start.local_name().as_ref()));
    for a in start.attributes() {
        let a = a.map_err(|e| e.to_string())?;
        let value = a.unescape_value().map_err(|e| e.to_string())?;
        node.attributes.push((String::from_utf8_lossy(a.key.local_name().as_ref()).into_owned(), value.into_owned()));
    }
    Ok(node)
}

/// Reads a document into its root element. Text between elements is commentary.
fn tree(text: &str) -> Result<Node, String> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Node::default()];
    let close = |open: &mut Vec<Node>, node: Node| {
        let parent = open.last_mut().ok_or("an end without a beginning")?;
        parent.children.push(node);
        Ok::<(), String>(())
    };
    loop {
        match reader.read_event().map_err(|e| format!("at byte {}: {e}", reader.buffer_position()))? {
            Event::Start(s) => open.push(element(&s)?),
            Event::Empty(s) => close(&mut open, element(&s)?)?,
            Event::End(_) => {
                let node = open.pop().unwrap_or_default();
                close(&mut open, node)?;
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match open.as_slice() {
        [root] => root.children.first().cloned().ok_or_else(|| "an empty document".to_owned()),
        _ => Err("an element without an end".to_owned()),
    }
}

/// Reads a case: a root element `PKCS11` with calls and answers in turns.
pub fn case(text: &str) -> Result<Vec<Step>, String> {
    let root = tree(text)?;
    if root.name != "PKCS11" {
        return Err(format!("the root element is {}, not PKCS11", root.name));
    }
    root.children
        .chunks(2)
        .map(|pair| match pair {
            [call, answer] if call.name == answer.name && answer.attribute("rv").is_some() => {
                Ok(Step { call: call.clone(), answer: answer.clone() })
            }
            [call, ..] => Err(format!("the call of {} has no answer after it", call.name)),
            [] => Err("no call".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_answers_pair_up() {
        let text = "<PKCS11><C_Initialize/>\n# note\n<C_Initialize rv=\"OK\"/><C_GetSlotList><TokenPresent \
                    value=\"true\"/><SlotList/></C_GetSlotList><C_GetSlotList rv=\"OK\"><SlotList length=\"1\"/>\
                    </C_GetSlotList></PKCS11>";
        let steps = case(text).unwrap();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[1].call.child("TokenPresent").and_then(|n| n.attribute("value")), Some("true"));
        assert_eq!(steps[1].answer.attribute("rv"), Some("OK"));
    }

    #[test]
    fn malformed_cases_are_refused() {
        for bad in ["", "<PKCS11><C_Login/></PKCS11>", "<X/>", "<PKCS11><a>", "<PKCS11><a/><b rv=\"OK\"/></PKCS11>"] {
            assert!(case(bad).is_err(), "{bad}");
        }
    }
}
