//! XML answers as trees of elements, names without their namespaces.

#[cfg(feature = "s3")]
use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Why an answer could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not the XML that was expected: {detail}")]
pub(crate) struct XmlError {
    detail: String,
}

pub(crate) fn fault(detail: impl Into<String>) -> XmlError {
    XmlError { detail: detail.into() }
}

/// Elements nest this deep at most; S3's own answers stay below ten.
const MAX_DEPTH: usize = 32;

/// One element.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) text: String,
    #[cfg_attr(not(feature = "azure"), expect(dead_code, reason = "S3 writes no attributes that matter"))]
    attributes: Vec<(String, String)>,
    children: Vec<Node>,
}

impl Node {
    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|c| c.name == name)
    }

    /// An attribute's value.
    #[cfg(feature = "azure")]
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The text of a child; an empty one counts as none.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|c| c.text.as_str()).filter(|t| !t.is_empty())
    }

    pub(crate) fn need(&self, name: &str) -> Result<&str, XmlError> {
        self.text_of(name).ok_or_else(|| fault(format!("`{}` has no `{name}`", self.name)))
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64, XmlError> {
        let text = self.need(name)?.trim();
        text.parse().map_err(|_| fault(format!("`{name}` is `{text}`, which is no number")))
    }

    #[cfg(feature = "s3")]
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, XmlError> {
        let text = self.need(name)?.trim();
        text.parse().map_err(|_| fault(format!("`{name}` is `{text}`, which is no time")))
    }

    #[cfg(feature = "s3")]
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.text_of(name).is_some_and(|t| t.trim() == "true")
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Node, XmlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| fault("it is not UTF-8"))?;
    // Azure begins with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader::from_str(text);
    let mut open = vec![Node::default()];
    loop {
        match reader.read_event().map_err(|e| fault(e.to_string()))? {
            Event::Start(start) => {
                if open.len() > MAX_DEPTH {
                    return Err(fault("it nests too deep"));
                }
                open.push(begun(&start));
            }
            Event::Empty(start) => {
                top(&mut open)?.children.push(begun(&start));
            }
            Event::End(_) => {
                let node = open.pop().ok_or_else(|| fault("an element ends that never began"))?;
                top(&mut open)?.children.push(node);
            }
            Event::Text(text) => top(&mut open)?.text.push_str(&text.xml10_content()),
            Event::CData(text) => top(&mut open)?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(entity) => {
                let resolved = match entity.resolve_char_ref().map_err(|e| fault(e.to_string()))? {
                    Some(c) => c,
                    None => match entity.xml10_content().as_ref() {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "apos" => '\'',
                        "quot" => '"',
                        other => return Err(fault(format!("unknown entity `{other}`"))),
                    },
                };
                top(&mut open)?.text.push(resolved);
            }
            Event::Eof => break,
            // Declarations, comments and processing instructions say nothing here.
            _ => {}
        }
    }
    let root = open.pop().filter(|_| open.is_empty()).ok_or_else(|| fault("it ends within an element"))?;
    root.children.into_iter().next().ok_or_else(|| fault("it is empty"))
}

/// An element that begins. Attributes that are no plain text say nothing here.
fn begun(start: &BytesStart<'_>) -> Node {
    let plain = start.attributes().flatten();
    let attributes = plain.map(|a| (a.key.as_ref().to_owned(), a.value.to_string())).collect();
    Node { name: start.local_name().as_ref().to_owned(), attributes, ..Node::default() }
}

fn top(open: &mut [Node]) -> Result<&mut Node, XmlError> {
    open.last_mut().ok_or_else(|| fault("an element ends that never began"))
}

pub(crate) fn root(bytes: &[u8], name: &str) -> Result<Node, XmlError> {
    let node = parse(bytes)?;
    match node.name == name {
        true => Ok(node),
        false => Err(fault(format!("`{}` where `{name}` was expected", node.name))),
    }
}

/// An etag without its quotes.
pub(crate) fn unquoted(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}
