//! The frames of a connection (RFC 9113, section 4) on their way in, and where frames end on their way out.

use std::collections::{HashMap, HashSet, VecDeque};

use super::hpack::{self, Malformed, Seen, Table};

/// What a client opens a connection with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, kind, flags and stream.
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// The largest frame that a client may send that is told nothing else, as none is.
const MAX_FRAME_BYTES: usize = 16_384;
/// The longest block of headers that is read here, with the frames that it comes in.
const MAX_HEADERS_BYTES: usize = 128 << 10;
/// Bytes of a refused request that are waited for; it is answered before its end where it is longer.
const MAX_BODY_BYTES: usize = 32 << 10;
/// Bytes that went nowhere before the client is told that it may send as many more.
const WINDOW_BYTES: usize = 8 << 10;
/// Refused requests whose end has not come yet, and those of them that were answered.
const MAX_OPEN: usize = 256;
const MAX_ANSWERED: usize = 64;

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Head> {
        let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Head { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff })
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

fn write_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    payload.iter().for_each(|part| out.extend_from_slice(part));
}

/// The headers of an answer that is nothing but headers.
pub(crate) type Answer = Vec<u8>;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes no further and is answered with these headers.
    Refused(Answer),
    /// It passes, and counts until its end.
    Counted,
    /// It passes.
    Passed,
}

/// Where bytes go that come in.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// To who answers requests.
    pub(super) passed: Vec<u8>,
    /// Back to the client, between frames.
    pub(super) answers: Vec<u8>,
    /// Requests that counted and that the client gave up.
    pub(super) given_up: usize,
}

/// What happens to the payload of the frame that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    Passes,
    /// It goes nowhere; a request may end with it.
    Stays(Option<u32>),
}

/// A request that was refused and has not ended.
#[derive(Debug)]
struct Refused {
    bytes: usize,
    /// `None`: it is answered.
    answer: Option<Answer>,
}

/// The frames of one connection on their way in.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Bytes of the preface that were seen.
    preface: usize,
    /// It makes no sense: everything passes, for who answers requests to say what is wrong.
    blind: bool,
    /// The beginning of something that has to be seen whole.
    rest: Vec<u8>,
    payload: Option<(Payload, usize)>,
    table: Table,
    /// Whether a block that changed the table was kept: then all that pass need none.
    diverged: bool,
    last_passed: u32,
    last_refused: u32,
    refused: HashMap<u32, Refused>,
    /// Those of them that are answered, in their order.
    told: VecDeque<u32>,
    /// Requests that passed and count.
    counted: HashSet<u32>,
    /// Bytes that went nowhere since the client was told.
    unpaid: usize,
}

impl Inbound {
    /// Takes `input`. `judge` is asked for each request.
    ///
    /// # Errors
    /// Headers that are malformed, where nobody else can say so any more.
    pub(super) fn take(
        &mut self,
        input: &[u8],
        flow: &mut Flow,
        mut judge: impl FnMut(&Seen) -> Verdict,
    ) -> Result<(), Malformed> {
        let mut kept = std::mem::take(&mut self.rest);
        let all = match kept.is_empty() {
            true => input,
            false => {
                kept.extend_from_slice(input);
                &kept
            }
        };
        let mut left = all;
        while !left.is_empty() {
            match self.step(left, flow, &mut judge)? {
                0 => {
                    self.rest = left.to_owned();
                    break;
                }
                taken => left = left.get(taken..).unwrap_or_default(),
            }
        }
        if self.unpaid >= WINDOW_BYTES {
            let bytes = std::mem::take(&mut self.unpaid) as u32;
            write_frame(&mut flow.answers, WINDOW_UPDATE, 0, 0, &[&bytes.to_be_bytes()]);
        }
        Ok(())
    }

    /// Takes some bytes; 0: there are too few.
    fn step(
        &mut self,
        bytes: &[u8],
        flow: &mut Flow,
        judge: &mut impl FnMut(&Seen) -> Verdict,
    ) -> Result<usize, Malformed> {
        if self.blind {
            flow.passed.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.preface < PREFACE.len() {
            let expected = PREFACE.get(self.preface..).unwrap_or_default();
            let n = expected.len().min(bytes.len());
            self.blind = expected.get(..n) != bytes.get(..n);
            self.preface += n;
            flow.passed.extend(bytes.iter().take(n));
            return Ok(n);
        }
        if let Some((payload, left)) = self.payload.take() {
            let n = left.min(bytes.len());
            if payload == Payload::Passes {
                flow.passed.extend(bytes.iter().take(n));
            }
            match (left - n, payload) {
                (0, Payload::Stays(Some(stream))) => self.end(stream, flow),
                (0, _) => {}
                (left, payload) => self.payload = Some((payload, left)),
            }
            return Ok(n);
        }
        let Some(head) = Head::read(bytes) else { return Ok(0) };
        if head.kind == HEADERS && head.length <= MAX_FRAME_BYTES {
            return self.headers(head, bytes, flow, judge);
        }
        let payload = match head.kind {
            DATA if self.is_refused(head.stream) => {
                self.unpaid += head.length;
                self.body(head, flow);
                Payload::Stays(head.has(END_STREAM).then_some(head.stream))
            }
            RST_STREAM | WINDOW_UPDATE if self.is_refused(head.stream) => {
                if head.kind == RST_STREAM {
                    self.refused.remove(&head.stream);
                }
                Payload::Stays(None)
            }
            RST_STREAM => {
                flow.given_up += usize::from(self.answered(head.stream));
                Payload::Passes
            }
            _ => Payload::Passes,
        };
        if payload == Payload::Passes {
            flow.passed.extend(bytes.iter().take(HEAD_BYTES));
        }
        match (head.length, payload) {
            (0, Payload::Stays(Some(stream))) => self.end(stream, flow),
            (0, _) => {}
            (length, payload) => self.payload = Some((payload, length)),
        }
        Ok(HEAD_BYTES)
    }

    /// A request's headers, or its trailers, in one frame or several, which are taken together.
    fn headers(
        &mut self,
        head: Head,
        bytes: &[u8],
        flow: &mut Flow,
        judge: &mut impl FnMut(&Seen) -> Verdict,
    ) -> Result<usize, Malformed> {
        let (block, taken) = match block(head, bytes) {
            Ok(Some(found)) => found,
            Ok(None) if bytes.len() < MAX_HEADERS_BYTES => return Ok(0),
            Ok(None) | Err(Malformed) => return self.give_up(bytes, flow),
        };
        let mut plain = self.diverged.then(Vec::new);
        let Ok(seen) = self.table.read(&block, plain.as_mut()) else {
            return self.give_up(bytes, flow);
        };
        let (stream, ends) = (head.stream, head.has(END_STREAM));
        let known = self.is_refused(stream);
        let new = !known && stream > self.last_passed && self.refused.len() < MAX_OPEN;
        let verdict = if new { judge(&seen) } else { Verdict::Passed };
        let stays = match verdict {
            Verdict::Refused(answer) => {
                self.last_refused = stream;
                self.refused.insert(stream, Refused { bytes: 0, answer: Some(answer) });
                true
            }
            Verdict::Counted => {
                self.counted.insert(stream);
                false
            }
            Verdict::Passed => known,
        };
        if stays {
            self.diverged |= seen.changes;
            if ends {
                self.end(stream, flow);
            }
            return Ok(taken);
        }
        self.last_passed = self.last_passed.max(stream);
        match plain {
            None => flow.passed.extend(bytes.iter().take(taken)),
            // The client's own frames may be as large, and hold as much; larger ones are told apart.
            Some(plain) => write_headers(&mut flow.passed, stream, ends, &plain),
        }
        Ok(taken)
    }

    /// Headers that cannot be read: who answers requests says so, if it reads the same table.
    fn give_up(&mut self, bytes: &[u8], flow: &mut Flow) -> Result<usize, Malformed> {
        if self.diverged {
            return Err(Malformed);
        }
        self.blind = true;
        flow.passed.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Whether frames of this stream are nobody's: who answers requests has not heard of it, or has heard of later ones
    /// only.
    fn is_refused(&self, stream: u32) -> bool {
        let later = self.last_passed < stream && stream <= self.last_refused;
        stream != 0 && (later || self.refused.contains_key(&stream))
    }

    /// A request has its answer; whether it counted.
    pub(super) fn answered(&mut self, stream: u32) -> bool {
        self.counted.remove(&stream)
    }

    /// Requests that count at present.
    pub(super) fn counted(&self) -> usize {
        self.counted.len()
    }

    /// A part of the body of a refused request.
    fn body(&mut self, head: Head, flow: &mut Flow) {
        let Some(refused) = self.refused.get_mut(&head.stream) else { return };
        refused.bytes += head.length;
        if refused.bytes <= MAX_BODY_BYTES || head.has(END_STREAM) {
            return;
        }
        // Answered, and told that the rest is not wanted.
        let Some(answer) = refused.answer.take() else { return };
        write_answer(flow, head.stream, &answer);
        write_frame(&mut flow.answers, RST_STREAM, 0, head.stream, &[&0u32.to_be_bytes()]);
        self.told.push_back(head.stream);
        if self.told.len() > MAX_ANSWERED
            && let Some(oldest) = self.told.pop_front()
        {
            self.refused.remove(&oldest);
        }
    }

    /// A refused request has ended.
    fn end(&mut self, stream: u32, flow: &mut Flow) {
        let refused = self.refused.remove(&stream);
        if let Some(answer) = refused.and_then(|refused| refused.answer) {
            write_answer(flow, stream, &answer);
        }
    }
}

fn write_answer(flow: &mut Flow, stream: u32, answer: &[u8]) {
    write_frame(&mut flow.answers, HEADERS, END_STREAM | END_HEADERS, stream, &[answer]);
}

fn write_headers(out: &mut Vec<u8>, stream: u32, ends: bool, block: &[u8]) {
    let end_stream = if ends { END_STREAM } else { 0 };
    let mut parts = block.chunks(MAX_FRAME_BYTES).peekable();
    let first = parts.next().unwrap_or_default();
    let last = |more: bool| if more { 0 } else { END_HEADERS };
    write_frame(out, HEADERS, end_stream | last(parts.peek().is_some()), stream, &[first]);
    while let Some(part) = parts.next() {
        write_frame(out, CONTINUATION, last(parts.peek().is_some()), stream, &[part]);
    }
}

/// The block of the headers that `bytes` begin with and the bytes of their frames; `None`: there are too few.
fn block(head: Head, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut taken = HEAD_BYTES + head.length;
    let Some(payload) = bytes.get(HEAD_BYTES..taken) else { return Ok(None) };
    let padding = match head.has(PADDED) {
        true => usize::from(*payload.first().ok_or(Malformed)?),
        false => 0,
    };
    let before = usize::from(head.has(PADDED)) + if head.has(PRIORITY) { 5 } else { 0 };
    let end = payload.len().checked_sub(padding).ok_or(Malformed)?;
    let mut block = payload.get(before..end).ok_or(Malformed)?.to_owned();
    let mut ended = head.has(END_HEADERS);
    while !ended {
        let rest = bytes.get(taken..).unwrap_or_default();
        let Some(next) = Head::read(rest) else { return Ok(None) };
        if next.kind != CONTINUATION
            || next.stream != head.stream
            || next.length > MAX_FRAME_BYTES
            || taken > MAX_HEADERS_BYTES
        {
            return Err(Malformed);
        }
        let Some(payload) = rest.get(HEAD_BYTES..HEAD_BYTES + next.length) else { return Ok(None) };
        block.extend_from_slice(payload);
        taken += HEAD_BYTES + next.length;
        ended = next.has(END_HEADERS);
    }
    Ok(Some((block, taken)))
}

/// A response's headers as [`Answer`]; their values as they are, with nothing for a table.
pub(super) fn answer<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Answer {
    // `:status 200` of the static table.
    let mut block = vec![0x88];
    for (name, value) in headers {
        hpack::write_field(&mut block, name, value);
    }
    block
}

/// Where frames end among the bytes that go out.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    head: [u8; HEAD_BYTES],
    /// Bytes of it that are there.
    head_bytes: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
    /// Whether headers go on in the next frame.
    continues: bool,
    /// Whether a frame has ended: the first must be settings.
    begun: bool,
}

impl Outbound {
    /// Whether another frame may be put in here.
    pub(super) fn between(&self) -> bool {
        self.begun && self.head_bytes == 0 && self.left == 0 && !self.continues
    }

    /// Bytes up to the next such place, as far as is known; `usize::MAX` where it is not.
    pub(super) fn until_between(&self) -> usize {
        match self.head_bytes == HEAD_BYTES && !self.continues {
            true => self.left,
            false => usize::MAX,
        }
    }

    /// `bytes` went out; `ended` is told of each stream that ends with them.
    pub(super) fn sent(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u32)) {
        while !bytes.is_empty() {
            if self.head_bytes < HEAD_BYTES {
                let n = (HEAD_BYTES - self.head_bytes).min(bytes.len());
                let (now, later) = bytes.split_at(n);
                for (to, from) in self.head.iter_mut().skip(self.head_bytes).zip(now) {
                    *to = *from;
                }
                self.head_bytes += n;
                bytes = later;
                if self.head_bytes == HEAD_BYTES
                    && let Some(head) = Head::read(&self.head)
                {
                    self.left = head.length;
                    self.continues = match head.kind {
                        HEADERS | CONTINUATION => !head.has(END_HEADERS),
                        _ => false,
                    };
                    let answers = head.kind == DATA || head.kind == HEADERS;
                    if head.kind == RST_STREAM || answers && head.has(END_STREAM) {
                        ended(head.stream);
                    }
                }
            } else {
                let n = self.left.min(bytes.len());
                bytes = bytes.get(n..).unwrap_or_default();
                self.left -= n;
            }
            if self.head_bytes == HEAD_BYTES && self.left == 0 {
                self.head_bytes = 0;
                self.begun = true;
            }
        }
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
