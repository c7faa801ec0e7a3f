//! Azure's XML: listings in, block lists out.

use jiff::Timestamp;

use crate::http::answer::parse_http_date;
use crate::http::xml::{Node, XmlError, fault, root, unquoted};

/// One page of List Blobs, with names as the server has them; `None` stands for a name that is not UTF-8.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BlobPage {
    pub(crate) blobs: Vec<ListedBlob>,
    pub(crate) prefixes: Vec<Option<String>>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListedBlob {
    pub(crate) name: Option<String>,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
    /// A directory of a hierarchical account, which holds no bytes.
    pub(crate) is_directory: bool,
    /// The key that a staged output would have, where metadata was asked for.
    pub(crate) staged_key: Option<String>,
}

/// A name; encoded where it has characters that XML has not.
fn name_of(entry: &Node) -> Result<Option<String>, XmlError> {
    let node = entry.child("Name").ok_or_else(|| fault("an entry has no `Name`"))?;
    match node.attribute("Encoded") == Some("true") {
        true => Ok(percent_encoding::percent_decode_str(&node.text).decode_utf8().ok().map(|name| name.into_owned())),
        false => Ok(Some(node.text.clone())),
    }
}

/// Reads a page.
pub(crate) fn blob_page(bytes: &[u8]) -> Result<BlobPage, XmlError> {
    let node = root(bytes, "EnumerationResults")?;
    let mut page = BlobPage::default();
    let blobs = node.child("Blobs").ok_or_else(|| fault("there is no `Blobs`"))?;
    for entry in blobs.all("Blob") {
        let properties = entry.child("Properties").ok_or_else(|| fault("a blob has no `Properties`"))?;
        let modified = properties.need("Last-Modified")?;
        page.blobs.push(ListedBlob {
            name: name_of(entry)?,
            etag: unquoted(properties.need("Etag")?).to_owned(),
            size: properties.number("Content-Length")?,
            modified: parse_http_date(modified).ok_or_else(|| fault(format!("`{modified}` is no time")))?,
            is_directory: properties.text_of("ResourceType") == Some("directory"),
            staged_key: entry.child("Metadata").and_then(|m| m.text_of("balerkey")).map(str::to_owned),
        });
    }
    for entry in blobs.all("BlobPrefix") {
        page.prefixes.push(name_of(entry)?);
    }
    page.next = node.text_of("NextMarker").map(str::to_owned);
    Ok(page)
}

/// The body of Put Block List: all blocks from those not committed yet.
pub(crate) fn block_list(ids: impl Iterator<Item = String>) -> String {
    let mut body = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for id in ids {
        body.push_str(&format!("<Uncommitted>{id}</Uncommitted>"));
    }
    body.push_str("</BlockList>");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_with_encoded_names_and_directories() {
        let text = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults><Blobs>\
            <Blob><Name> a &amp; b </Name><Properties><Last-Modified>Fri, 24 May 2013 00:00:00 GMT</Last-Modified>\
            <Etag>0x8D</Etag><Content-Length>7</Content-Length></Properties>\
            <Metadata><balerkey>b3V0</balerkey></Metadata></Blob>\
            <Blob><Name Encoded=\"true\">x%01%EF%BF%BE</Name><Properties>\
            <Last-Modified>Fri, 24 May 2013 00:00:00 GMT</Last-Modified><Etag>0x8E</Etag>\
            <Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>\
            <BlobPrefix><Name>p/</Name></BlobPrefix></Blobs><NextMarker>m!1</NextMarker></EnumerationResults>";
        let page = blob_page(text.as_bytes()).unwrap();
        assert_eq!(page.blobs[0].name.as_deref(), Some(" a & b "));
        assert_eq!((page.blobs[0].size, page.blobs[0].staged_key.as_deref()), (7, Some("b3V0")));
        assert_eq!(page.blobs[1].name.as_deref(), Some("x\u{1}\u{fffe}"));
        assert!(page.blobs[1].is_directory && !page.blobs[0].is_directory);
        assert_eq!((page.prefixes, page.next), (vec![Some("p/".into())], Some("m!1".into())));
    }
}
