//! The stack machine that a pickle is written for: Python's protocols 0 to 5, as in its
//! `pickletools`.

use std::cell::Cell;
use std::collections::HashMap;

use super::error::{PickleError, Result};
use super::known::Known;
use super::reader::Reader;
use super::value::{Id, Node};

/// Nodes, stack and memo of one run.
pub(super) struct Machine {
    pub(super) nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes that may yet be copied from one node to another.
    budget: Cell<usize>,
}

/// Bytes that a pickle may have copied for each that it has: text to bytes, bytes to an array, an
/// array turned, and some for small things.
const COPIES: usize = 16;

/// Runs a pickle up to its end; nodes, the object, and bytes read.
pub(super) fn run(bytes: &[u8]) -> Result<(Vec<Node>, Id, usize)> {
    let mut reader = Reader::new(bytes);
    let mut machine = Machine {
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        budget: Cell::new(bytes.len().saturating_mul(COPIES)),
    };
    loop {
        let at = reader.at();
        let op = reader.u8()?;
        if op == b'.' {
            let root = machine.pop()?;
            return Ok((machine.nodes, root, reader.at()));
        }
        machine.step(op, &mut reader).map_err(|error| match error {
            PickleError::Bad(what) => {
                PickleError::bad(format!("{what} (at byte {at} of the pickle)"))
            }
            refused => refused,
        })?;
    }
}

fn empty() -> PickleError {
    PickleError::bad("pickle: an operation finds too little on the stack: damaged")
}

impl Machine {
    pub(super) fn node(&self, id: Id) -> Result<&Node> {
        self.nodes.get(id.0).ok_or_else(empty)
    }

    fn node_mut(&mut self, id: Id) -> Result<&mut Node> {
        self.nodes.get_mut(id.0).ok_or_else(empty)
    }

    /// Takes `bytes` off the budget: objects can be referred to again and again, so that a short
    /// pickle could ask for endless copies of a long one.
    pub(super) fn spend(&self, bytes: usize) -> Result<()> {
        let left =
            self.budget.get().checked_sub(bytes).ok_or_else(|| {
                PickleError::bad("pickle: copies more than its length accounts for")
            })?;
        self.budget.set(left);
        Ok(())
    }

    /// A node that is not on the stack.
    pub(super) fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        Id(self.nodes.len() - 1)
    }

    fn push(&mut self, node: Node) {
        let id = self.add(node);
        self.stack.push(id);
    }

    /// The topmost value above the last mark.
    fn pop(&mut self) -> Result<Id> {
        if self.marks.last().is_some_and(|&mark| mark >= self.stack.len()) {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(empty)
    }

    /// Everything above the last mark, and the mark itself.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(empty)?;
        if mark > self.stack.len() {
            return Err(empty());
        }
        Ok(self.stack.split_off(mark))
    }

    fn step(&mut self, op: u8, r: &mut Reader<'_>) -> Result<()> {
        match op {
            0x80 => drop(r.u8()?),         // PROTO
            0x95 => drop(r.array::<8>()?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // A POP right above a mark takes the mark.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'F' | b'G' => self.number(op, r)?,
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d => self.string(op, r)?,
            b'B' => self.push(Node::Bytes(r.counted::<4>()?.to_vec())),
            b'C' => self.push(Node::Bytes(r.counted::<1>()?.to_vec())),
            0x8e | 0x96 => self.push(Node::Bytes(r.counted::<8>()?.to_vec())),
            b']' | b'l' | b'a' | b'e' | b')' | b't' | 0x85..=0x87 | b'}' | b'd' | b's' | b'u' => {
                self.collection(op)?;
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(op, r)?,
            b'c' => {
                let (module, name) = (r.line()?, r.line()?);
                self.name(module, name)?;
            }
            0x93 => self.stack_name()?,
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                let node = self.call(callable, args)?;
                self.push(node);
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                if let Some(node) = self.build(object, state)? {
                    *self.node_mut(object)? = node;
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let node = self.storage(id)?;
                self.push(node);
            }
            other => {
                return Err(PickleError::bad(format!(
                    "pickle: operation 0x{other:02x} is not one that arrays and tensors are \
                     written with"
                )));
            }
        }
        Ok(())
    }

    /// Notes the topmost object in the memo, or fetches one from it.
    fn memory(&mut self, op: u8, r: &mut Reader<'_>) -> Result<()> {
        if matches!(op, b'p' | b'q' | b'r' | 0x94) {
            let top = self.top()?;
            let key = if op == 0x94 { self.memo.len() as u64 } else { memo_key(op, r)? };
            self.memo.insert(key, top);
            return Ok(());
        }
        let key = memo_key(op, r)?;
        let id = self.memo.get(&key).copied();
        self.stack.push(id.ok_or_else(|| {
            PickleError::bad(format!("pickle: refers to object {key}, which it has not made"))
        })?);
        Ok(())
    }

    /// STACK_GLOBAL: a name whose parts are on the stack.
    fn stack_name(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id| match self.node(id)? {
            Node::Str(text) => Ok(text.clone()),
            _ => Err(PickleError::bad("pickle: a name that is no text")),
        };
        let (name, module) = (text(name)?, text(module)?);
        self.name(&module, &name)
    }

    /// GLOBAL and STACK_GLOBAL: the one place where a name enters.
    fn name(&mut self, module: &str, name: &str) -> Result<()> {
        let known = Known::of(module, name)
            .ok_or_else(|| PickleError::Refused(printable(&format!("{module}.{name}"))))?;
        self.push(Node::Known(known));
        Ok(())
    }

    fn number(&mut self, op: u8, r: &mut Reader<'_>) -> Result<()> {
        let no_number = || PickleError::bad("pickle: a number that is none");
        let node = match op {
            b'I' => match r.line()? {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                text => Node::Int(text.trim().parse().map_err(|_| no_number())?),
            },
            b'L' => {
                let text = r.line()?;
                Node::Int(text.strip_suffix('L').unwrap_or(text).parse().map_err(|_| no_number())?)
            }
            b'J' => Node::Int(i64::from(i32::from_le_bytes(r.array()?))),
            b'K' => Node::Int(i64::from(r.u8()?)),
            b'M' => Node::Int(i64::from(u16::from_le_bytes(r.array()?))),
            0x8a => long(r.counted::<1>()?),
            0x8b => long(r.counted::<4>()?),
            b'F' => Node::Float(r.line()?.trim().parse().map_err(|_| no_number())?),
            _ => Node::Float(f64::from_be_bytes(r.array()?)),
        };
        self.push(node);
        Ok(())
    }

    fn string(&mut self, op: u8, r: &mut Reader<'_>) -> Result<()> {
        let utf8 = |bytes: &[u8]| {
            // Python writes lone surrogates too; a name with one is none of ours.
            String::from_utf8_lossy(bytes).into_owned()
        };
        let node = match op {
            // Python 2's str is bytes; as text it is one character a byte.
            b'T' => Node::Bytes(r.counted::<4>()?.to_vec()),
            b'U' => Node::Bytes(r.counted::<1>()?.to_vec()),
            b'S' => {
                let line = r.line()?;
                let quote = line.chars().next().filter(|c| ['\'', '"'].contains(c));
                let inner = quote.and_then(|q| line.get(1..)?.strip_suffix(q));
                let inner = inner.filter(|text| !text.contains('\\')).ok_or_else(|| {
                    PickleError::bad(
                        "pickle: a text with escapes, or without quotes, in protocol 0",
                    )
                })?;
                Node::Bytes(inner.as_bytes().to_vec())
            }
            b'V' => {
                let line = r.line()?;
                if line.contains('\\') {
                    return Err(PickleError::bad("pickle: a text with escapes in protocol 0"));
                }
                Node::Str(line.to_owned())
            }
            b'X' => Node::Str(utf8(r.counted::<4>()?)),
            0x8c => Node::Str(utf8(r.counted::<1>()?)),
            _ => Node::Str(utf8(r.counted::<8>()?)),
        };
        self.push(node);
        Ok(())
    }

    fn collection(&mut self, op: u8) -> Result<()> {
        match op {
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items));
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Node::Dict(pairs(&items)?));
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x85..=op {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items));
            }
            b'a' | b'e' => {
                let items = if op == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
                match self.node_mut(self.top()?)? {
                    Node::List(list) => list.extend(items),
                    _ => return Err(PickleError::bad("pickle: appends to what is no list")),
                }
            }
            _ => {
                let items = if op == b's' {
                    let (value, key) = (self.pop()?, self.pop()?);
                    vec![key, value]
                } else {
                    self.pop_mark()?
                };
                let entries = pairs(&items)?;
                match self.node_mut(self.top()?)? {
                    Node::Dict(dict) => dict.extend(entries),
                    _ => {
                        return Err(PickleError::bad("pickle: sets keys of what is no dictionary"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(PickleError::bad("pickle: a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn memo_key(op: u8, r: &mut Reader<'_>) -> Result<u64> {
    Ok(match op {
        b'q' | b'h' => u64::from(r.u8()?),
        b'r' | b'j' => u64::from(u32::from_le_bytes(r.array()?)),
        _ => r
            .line()?
            .parse()
            .map_err(|_| PickleError::bad("pickle: a reference that is no number"))?,
    })
}

/// Two's complement, little-endian, of any length.
fn long(bytes: &[u8]) -> Node {
    let Some(&last) = bytes.last() else { return Node::Int(0) };
    if bytes.len() > 8 {
        return Node::Long(bytes.to_vec());
    }
    let mut wide = [if last >= 0x80 { 0xff } else { 0 }; 8];
    wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Node::Int(i64::from_le_bytes(wide))
}

/// A name out of a file, fit for a message.
fn printable(name: &str) -> String {
    name.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
