//! The section "coarse groups": groups of centroids with their members as bytes.
//! The layout is in `docs/shard-format.md`.

use std::sync::Arc;

use ocelli_vector::Simd;
use ocelli_vector::relative::{self, BLOCK, Rounded, Rows};

use super::build::cluster;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{Reader, Section, SectionKind};

/// The layout that this version writes and reads.
const LAYOUT: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Alignment of the rows' bytes within the section: one cache line.
const ALIGN: usize = 64;
/// Fills the slots after a group's last list.
const NO_LIST: u32 = u32::MAX;

/// Words of the header that hold the model's hash.
const HASH_WORDS: std::ops::Range<usize> = 8..16;

/// A group's line of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    len: u32,
    rounded: Rounded,
}

/// An entry as it is in the file: length, then three f32.
type Words = [u32; 4];

impl Entry {
    fn words(self) -> Words {
        let Rounded { scale, largest_norm, largest_error } = self.rounded;
        [self.len, scale.to_bits(), largest_norm.to_bits(), largest_error.to_bits()]
    }

    fn of([len, rest @ ..]: Words) -> Self {
        let [scale, largest_norm, largest_error] = rest.map(f32::from_bits);
        Self { len, rounded: Rounded { scale, largest_norm, largest_error } }
    }
}

/// Where the arrays of a section begin.
#[derive(Clone, Copy, Debug)]
struct Places {
    table: usize,
    centres: usize,
    lists: usize,
    norms: usize,
    bytes: usize,
    end: usize,
}

impl Places {
    /// `None` if they are beyond any memory.
    fn new(d: usize, groups: usize, slots: usize) -> Option<Self> {
        let table = HEADER_BYTES;
        let centres = table.checked_add(groups.checked_mul(size_of::<Words>())?)?;
        let lists = centres.checked_add(groups.checked_mul(d)?.checked_mul(4)?)?;
        let norms = lists.checked_add(slots.checked_mul(4)?)?;
        let bytes = norms.checked_add(slots.checked_mul(4)?)?.checked_next_multiple_of(ALIGN)?;
        let end = bytes.checked_add((slots / BLOCK).checked_mul(relative::block_bytes(d))?)?;
        Some(Self { table, centres, lists, norms, bytes, end })
    }
}

/// Where a section's bytes are.
#[derive(Debug)]
enum Source {
    /// As it was built, in words, so that its numbers are aligned.
    Built(Vec<u32>),
    /// In a mapped file, proven.
    Mapped(Arc<Reader>, Section),
}

/// A section whose structure holds.
#[derive(Debug)]
pub(super) struct GroupsSection {
    source: Source,
    d: usize,
    places: Places,
    /// The first slot of each group.
    first: Vec<u32>,
}

impl GroupsSection {
    /// Groups `coarse` (nlist, d) and rounds the members of each group. `groups` is from 1 to
    /// nlist.
    pub(super) fn build(simd: Simd, coarse: &[f32], d: usize, groups: usize, model: Hash) -> Self {
        let nlist = coarse.len() / d;
        let groups = groups.clamp(1, nlist);
        let (centres, group_of) = cluster(simd, coarse, d, groups);
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); groups];
        (0u32..).zip(&group_of).for_each(|(list, &group)| members[group as usize].push(list));
        let (mut table, mut lists) = (Vec::with_capacity(groups), Vec::new());
        let mut first = Vec::with_capacity(groups);
        let (mut bytes, mut norms) = (Vec::new(), Vec::new());
        for (members, centre) in members.iter().zip(centres.chunks_exact(d)) {
            let rows = members.iter().map(|&list| &coarse[list as usize * d..][..d]);
            let rounded = relative::round(rows, centre, &mut bytes, &mut norms);
            table.push(Entry { len: members.len() as u32, rounded }.words());
            first.push(lists.len() as u32);
            lists.extend_from_slice(members);
            lists.resize(norms.len(), NO_LIST);
        }
        let mut words = vec![LAYOUT, nlist as u32, d as u32, groups as u32, lists.len() as u32];
        words.resize(HASH_WORDS.start, 0);
        let mut put = |bytes: &[u8]| {
            words.extend(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)));
        };
        put(&model.bytes());
        put(bytemuck::cast_slice(&table));
        put(bytemuck::cast_slice(&centres));
        put(bytemuck::cast_slice(&lists));
        put(bytemuck::cast_slice(&norms));
        let end = words.len() * 4;
        words.resize(end.next_multiple_of(ALIGN) / 4, 0);
        words.extend(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)));
        let places = Places::new(d, groups, lists.len());
        let places = places.filter(|p| p.end == words.len() * 4);
        // It was just built in memory: its places are within it.
        let places = places.unwrap_or_else(|| unreachable!("groups of centroids do not fit"));
        Self { source: Source::Built(words), d, places, first }
    }

    /// The section of a model's file, if it has one, proven: checksums and structure.
    pub(super) fn open(
        file: &Arc<Reader>,
        nlist: usize,
        d: usize,
        model: Hash,
    ) -> Result<Option<Self>> {
        let Some(section) = file.find(SectionKind::CoarseGroups).copied() else { return Ok(None) };
        file.read_all(SectionKind::CoarseGroups)?;
        Self::parse(Source::Mapped(Arc::clone(file), section), nlist, d, model).map(Some).map_err(
            |what| {
                let name = SectionKind::CoarseGroups.name();
                Error::corrupt(file.path(), format!("{name}: {what}"))
            },
        )
    }

    /// Checks everything that a search relies on: afterwards no index can leave an array.
    fn parse(
        source: Source,
        nlist: usize,
        d: usize,
        model: Hash,
    ) -> std::result::Result<Self, String> {
        let bytes = source.bytes();
        let header: &[u32] = bytes
            .get(..HEADER_BYTES)
            .and_then(|b| bytemuck::try_cast_slice(b).ok())
            .ok_or_else(|| format!("{} bytes, its header has {HEADER_BYTES}", bytes.len()))?;
        if header[0] != LAYOUT {
            return Err(format!("layout {}, expected {LAYOUT}", header[0]));
        }
        let [of, dim, groups, slots] = [1, 2, 3, 4].map(|i| header[i] as usize);
        if (of, dim) != (nlist, d) {
            return Err(format!("of {of} centroids of dimension {dim}, expected {nlist} of {d}"));
        }
        if bytemuck::cast_slice::<u32, u8>(&header[HASH_WORDS]) != &model.bytes()[..] {
            return Err("it belongs to another model".into());
        }
        let places = Places::new(d, groups, slots)
            .filter(|p| p.end == bytes.len() && groups > 0 && slots.is_multiple_of(BLOCK))
            .ok_or_else(|| {
                format!("{} bytes do not fit {groups} groups and {slots} slots", bytes.len())
            })?;
        let table: &[Words] = bytemuck::cast_slice(&bytes[places.table..places.centres]);
        let lists: &[u32] = bytemuck::cast_slice(&bytes[places.lists..places.norms]);
        let numbers: &[f32] = bytemuck::cast_slice(&bytes[places.centres..places.lists]);
        let norms: &[f32] = bytemuck::cast_slice(&bytes[places.norms..places.norms + 4 * slots]);
        let sound = |x: f32| x.is_finite() && x >= 0.0;
        if !numbers.iter().all(|x| x.is_finite()) || norms.iter().any(|x| x.is_nan()) {
            return Err("a centre or a norm is not a number".into());
        }
        let mut first = Vec::with_capacity(groups);
        let mut seen = vec![false; nlist];
        let mut slot = 0usize;
        for (group, entry) in table.iter().enumerate() {
            let Entry { len, rounded: r } = Entry::of(*entry);
            // An infinite bound of an error is allowed: floats then decide alone.
            if !sound(r.scale) || r.largest_norm.is_nan() || r.largest_error.is_nan() {
                return Err(format!("group {group} has a scale or an error that is not a number"));
            }
            let end = slot + len as usize;
            let members = lists.get(slot..end).ok_or_else(|| {
                format!("group {group} of {len} centroids leaves {slots} slots at slot {slot}")
            })?;
            for &list in members {
                match seen.get_mut(list as usize) {
                    Some(seen) if !*seen => *seen = true,
                    _ => {
                        return Err(format!(
                            "group {group} holds list {list} (of {nlist}) wrongly"
                        ));
                    }
                }
            }
            first.push(slot as u32);
            slot = end.next_multiple_of(BLOCK);
        }
        if slot != slots {
            return Err(format!("its groups fill {slot} slots, expected {slots}"));
        }
        if let Some(list) = seen.iter().position(|seen| !seen) {
            return Err(format!("list {list} is in no group"));
        }
        Ok(Self { source, d, places, first })
    }

    /// All bytes of the section, as they are in a file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.source.bytes()
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.first.len()
    }

    /// Centres (groups, d).
    pub(super) fn centres(&self) -> &[f32] {
        bytemuck::cast_slice(&self.bytes()[self.places.centres..self.places.lists])
    }

    /// The list of every slot.
    pub(super) fn lists(&self) -> &[u32] {
        bytemuck::cast_slice(&self.bytes()[self.places.lists..self.places.norms])
    }

    /// Number of a group's members.
    pub(super) fn len(&self, group: u32) -> usize {
        self.entry(group).len as usize
    }

    /// A group's first slot.
    pub(super) fn first(&self, group: u32) -> u32 {
        self.first[group as usize]
    }

    /// Lists of a group's members.
    pub(super) fn members(&self, group: u32) -> &[u32] {
        &self.lists()[self.first(group) as usize..][..self.len(group)]
    }

    /// A group's members as bytes.
    pub(super) fn rows(&self, group: u32) -> Rows<'_> {
        let entry = self.entry(group);
        let (all, places) = (self.bytes(), &self.places);
        let (len, first) = (entry.len as usize, self.first(group) as usize);
        let blocks = len.div_ceil(BLOCK);
        let block_bytes = relative::block_bytes(self.d);
        let norms: &[f32] =
            bytemuck::cast_slice(&all[places.norms + 4 * first..][..4 * blocks * BLOCK]);
        let bytes = &all[places.bytes + first / BLOCK * block_bytes..][..blocks * block_bytes];
        Rows { len, bytes, norms, rounded: entry.rounded, next: &[] }
    }

    fn entry(&self, group: u32) -> Entry {
        let table: &[Words] =
            bytemuck::cast_slice(&self.bytes()[self.places.table..self.places.centres]);
        Entry::of(table[group as usize])
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Built(words) => bytemuck::cast_slice(words),
            Self::Mapped(file, section) => file.read_proven(section),
        }
    }
}
