//! Event files for TensorBoard.
//!
//! A file is a sequence of records: the length of the data (u64, little endian), the masked CRC-32C
//! of these 8 bytes (u32), the data, and their masked CRC-32C (u32). The data are a message
//! `Event` of TensorFlow's `event.proto`. The first one tells the version of the file. TensorBoard
//! shows all files of a folder as one run; a record `SessionLog` at the head of a file tells it to
//! forget later iterations of earlier files.

use std::fs::{File, OpenOptions, create_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use ocelli_index::Error as IndexError;
use prost::Message;

use crate::error::{Error, Result};

/// The version of the form of these files.
const VERSION: &str = "brain.Event:2";
/// The constant of the mask over checksums.
const MASK: u32 = 0xa282_ead8;
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;

/// A number of an iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The name of the curve; a part before "/" is the group of its chart.
    pub tag: &'static str,
    /// The value, which is stored in float32.
    pub value: f64,
}

/// `Event`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

/// `Event.what`.
#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// `Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `Summary.Value`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// A member of a `oneof`, which is written also where it is 0.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// `SessionLog`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The event files of a training. Each run adds one to the folder.
#[derive(Debug)]
pub struct Events {
    folder: PathBuf,
    /// None before the first iteration.
    file: Option<(PathBuf, File)>,
}

impl Events {
    /// Makes the folder, if it is not there. The file comes with the first iteration.
    ///
    /// # Errors
    /// `Index` for a folder that cannot be made.
    pub fn begin(folder: &Path) -> Result<Events> {
        create_dir_all(folder).map_err(|e| IndexError::io(folder, "make", e))?;
        Ok(Events { folder: folder.to_owned(), file: None })
    }

    /// Appends the numbers of an iteration, whose end is `wall_s` seconds after 1970.
    ///
    /// # Errors
    /// `Index` for a file that cannot be written.
    pub fn put(&mut self, iteration: u64, wall_s: f64, scalars: &[Scalar]) -> Result<()> {
        let step = i64::try_from(iteration).unwrap_or(i64::MAX);
        let (path, file) = match &mut self.file {
            Some(open) => open,
            none => none.insert(create(&self.folder, wall_s, step)?),
        };
        let value = |scalar: &Scalar| {
            let simple_value = Some(scalar.value as f32);
            Value { tag: scalar.tag.to_owned(), simple_value }
        };
        let what = What::Summary(Summary { value: scalars.iter().map(value).collect() });
        append(path, file, &record(&Event { wall_time: wall_s, step, what: Some(what) }))
    }
}

/// A new file, which begins with iteration `step`. Names sort by the time.
fn create(folder: &Path, wall_s: f64, step: i64) -> Result<(PathBuf, File)> {
    let place = folder.join(format!(
        "events.out.tfevents.{:010}.{:09}.ocelli.{}",
        wall_s.trunc(),
        (wall_s.fract() * 1e9).trunc(),
        process::id()
    ));
    let file = OpenOptions::new().append(true).create_new(true).open(&place);
    let mut file = file.map_err(|e| IndexError::io(&place, "make", e))?;
    let version = What::FileVersion(VERSION.to_owned());
    let begin = What::SessionLog(SessionLog { status: START });
    let event = |step, what| record(&Event { wall_time: wall_s, step, what: Some(what) });
    append(&place, &mut file, &[event(0, version), event(step, begin)].concat())?;
    Ok((place, file))
}

fn append(path: &Path, file: &mut File, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(|e| Error::from(IndexError::io(path, "write", e)))
}

/// The bytes of an event in a file.
fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let (of_length, of_data) = (masked(&length).to_le_bytes(), masked(&data).to_le_bytes());
    [&length[..], &of_length, &data, &of_data].concat()
}

/// The checksum of bytes as records have it: CRCs of what holds CRCs are avoided.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, whose lengths and checksums are those of their bytes.
    fn parsed(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(word(8), masked(&bytes[..8]));
            let data = &bytes[12..12 + length];
            assert_eq!(word(12 + length), masked(data));
            events.push(Event::decode(data).unwrap());
            bytes = &bytes[16 + length..];
        }
        events
    }

    #[test]
    fn files_hold_what_was_put() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/b");
        for (first, wall_s) in [(1, 1_700_000_000.25), (4, 1_700_000_100.5)] {
            let mut events = Events::begin(&folder).unwrap();
            for iteration in first..first + 2 {
                let scalars = [
                    Scalar { tag: "train/loss", value: iteration as f64 },
                    Scalar { tag: "train/active", value: 0.0 },
                ];
                events.put(iteration, wall_s, &scalars).unwrap();
            }
        }
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 2);
        let name = files[1].file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents.1700000100.500000000.ocelli."), "{name}");
        let events = parsed(&std::fs::read(&files[1]).unwrap());
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".to_owned())));
        let begin = What::SessionLog(SessionLog { status: 1 });
        assert_eq!((events[1].step, &events[1].what), (4, &Some(begin)));
        let Some(What::Summary(summary)) = &events[3].what else { panic!("a summary") };
        assert_eq!((events[3].step, events[3].wall_time), (5, 1_700_000_100.5));
        let values: Vec<_> =
            summary.value.iter().map(|v| (v.tag.as_str(), v.simple_value)).collect();
        assert_eq!(values, [("train/loss", Some(5.0)), ("train/active", Some(0.0))]);
    }

    /// Bytes that another program put together, whose checksums go bit by bit.
    #[test]
    fn bytes_are_those_of_the_format() {
        let event = |step, what| record(&Event { wall_time: 1234.5, step, what: Some(what) });
        let version = "1800000000000000a37f4b220900000000004a93401a0d627261696e2e4576656e743a32\
                       65b8d3fb";
        assert_eq!(hex(&event(0, What::FileVersion(VERSION.to_owned()))), version);
        let value = Value { tag: "train/loss".to_owned(), simple_value: Some(0.0) };
        let summary = "200000000000000029eda9500900000000004a934010072a130a110a0a747261696e2f6c6f\
                       73731500000000757be33a";
        assert_eq!(hex(&event(7, What::Summary(Summary { value: vec![value] }))), summary);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
