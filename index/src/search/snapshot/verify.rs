//! Proves that every file of a generation is sound, and that the files agree.

use std::ops::Range;
use std::path::Path;

use super::{Member, Snapshot};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{FileKind, Reader, TILE_BYTES};
use crate::generations::Generation;
use crate::generations::unique::{self, WithDeleted};
use crate::model::Model;
use crate::model::fine::FineCodec;
use crate::shard::{ShardEntry, shard_name};

/// Tiles of a piece: 32 MiB.
const PIECE_TILES: usize = 512;
/// Rows of a piece, but for a list that is longer.
const PIECE_ROWS: u32 = 1 << 18;
/// Pieces into which ids or keys of several shards are split, for each of a million rows.
const PIECE_NAMES: u64 = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// Most bad tiles of a piece that are told.
const MOST_TILES: usize = 64;

/// A piece of the proof that a generation is sound. Pieces do not depend on each other: they can be
/// done in any order, by any number of threads.
#[derive(Clone, Debug)]
pub struct Proof {
    what: What,
    bytes: u64,
}

impl Proof {
    /// Bytes of files that the piece is the first to read: over all pieces, the size of the
    /// generation's files. Pieces that read bytes again, or compare, have few or none.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The subject of a piece. Shards are numbers of members.
#[derive(Clone, Debug)]
enum What {
    Generation,
    DeleteLog,
    Models,
    Missing(usize),
    Digest(usize),
    Keys(usize),
    Attributes(usize),
    Tombstones(usize),
    Tiles(usize, Range<usize>),
    Lists(usize, Range<u32>),
    Ids(usize, Range<u32>),
    UniqueIds(Range<u64>),
    UniqueKeys(Range<u64>),
    Columns,
    NextId,
    Deleted,
}

impl Snapshot {
    /// Proves every byte of every file of the generation: its own file, the model's with and
    /// without fine codec, the shards, the tombstones, the delete log; and that they agree: hashes,
    /// lists, ordinals, ids, keys, codes, and the bounds that a scan relies on. Mapped files are
    /// read from their mapping, the others anew.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Misplaced`] and those of opening, naming the first thing that
    /// is wrong.
    pub fn verify(&self) -> Result<()> {
        let mut proofs = self.proofs(|_| false);
        // A bad tile says more than the hash of its whole file.
        proofs.sort_by_key(|proof| !matches!(proof.what, What::Tiles(..) | What::Models));
        let mut faults = proofs.iter().flat_map(|proof| self.prove(proof));
        faults.next().map_or(Ok(()), Err)
    }

    /// The shards, each with its deleted rows.
    fn with_deleted(&self) -> Vec<WithDeleted<'_>> {
        let mut shards = Vec::with_capacity(self.members.len());
        for member in &self.members {
            shards.push((&*member.shard, member.deleted.as_ref().map(|dead| dead.ordinals())));
        }
        shards
    }

    /// The pieces of [`Self::verify`]; those that take longest and cannot be split come first. Of a
    /// shard that is `known` to be sound, only what it has in common with the others is proven.
    /// Damage makes pieces larger, but none is left out for it.
    pub fn proofs(&self, known: impl Fn(&ShardEntry) -> bool) -> Vec<Proof> {
        let mut proofs = Vec::new();
        let mut add = |what, bytes| proofs.push(Proof { what, bytes });
        add(What::Generation, 0);
        if self.generation.deletes.is_some() {
            add(What::DeleteLog, 0);
            add(What::Deleted, 0);
        }
        add(What::Columns, 0);
        add(What::NextId, 0);
        for missing in 0..self.missing.len() {
            add(What::Missing(missing), 0);
        }
        let new = |member: &Member| self.entry(member).map_or(true, |entry| !known(entry));
        let members = || self.members.iter().enumerate().filter(|(_, member)| new(member));
        for (number, member) in members() {
            add(What::Digest(number), 0);
            if member.shard.keyed() > 0 {
                add(What::Keys(number), 0);
            }
            if member.shard.columns().is_some() {
                add(What::Attributes(number), 0);
            }
        }
        let model = self.dir.model_path(&self.generation.model).ok();
        let model = model.and_then(|path| std::fs::metadata(path).ok());
        add(What::Models, model.map_or(0, |file| file.len()));
        for (number, member) in self.members.iter().enumerate() {
            if member.deleted.is_some() {
                add(What::Tombstones(number), 0);
            }
        }
        for (number, member) in members() {
            let (file, rows) = (member.shard.file(), member.shard.rows());
            let tiles = file.tiles();
            for start in (0..tiles).step_by(PIECE_TILES) {
                let end = (start + PIECE_TILES).min(tiles);
                let bytes = (end * TILE_BYTES).min(file.bytes() as usize) - start * TILE_BYTES;
                add(What::Tiles(number, start..end), bytes as u64);
            }
            for lists in pieces_of_lists(member) {
                add(What::Lists(number, lists), 0);
            }
            for start in (0..rows).step_by(PIECE_ROWS as usize) {
                let end = start.saturating_add(PIECE_ROWS).min(rows);
                add(What::Ids(number, start..end), 0);
            }
        }
        let shards = || self.members.iter().map(|member| &member.shard);
        let ids: u64 = shards().map(|shard| u64::from(shard.rows())).sum();
        let keys: u64 = shards().map(|shard| u64::from(shard.keyed())).sum();
        if self.members.len() > 1 {
            for range in unique::id_ranges(&self.with_deleted(), pieces(ids)) {
                add(What::UniqueIds(range), 0);
            }
            for range in unique::key_ranges(pieces(keys)) {
                add(What::UniqueKeys(range), 0);
            }
        }
        proofs
    }

    /// Does a piece. Returns what is wrong: each bad tile of a piece of tiles, the first fault of
    /// another piece; nothing where all is sound.
    pub fn prove(&self, proof: &Proof) -> Vec<Error> {
        let member = |number: usize| &self.members[number];
        let done = match &proof.what {
            What::Tiles(number, tiles) => {
                return member(*number).shard.file().bad_tiles(tiles.clone(), MOST_TILES);
            }
            What::Generation => self.verify_generation(),
            What::DeleteLog => {
                let mut log = self.dir.delete_hashes(self.generation.deletes);
                log.try_for_each(|file| file.map(drop))
            }
            What::Models => self.verify_models(),
            What::Missing(number) => Err(self.missing[*number].error.clone()),
            What::Digest(number) => {
                let member = member(*number);
                let entry = self.entry(member);
                entry.and_then(|entry| {
                    verify_name(member, entry).and_then(|()| verify_digest(member, entry))
                })
            }
            What::Keys(number) => member(*number).shard.verify_keys(),
            What::Attributes(number) => member(*number).shard.verify_attributes(),
            What::Tombstones(number) => self.verify_tombstones(member(*number)),
            What::Lists(number, lists) => {
                let shard = &member(*number).shard;
                let rows = shard.verify_lists(lists.clone());
                rows.and_then(|()| shard.verify_codes(&self.model, lists.clone()))
            }
            What::Ids(number, ranks) => member(*number).shard.verify_ids(ranks.clone()),
            What::UniqueIds(ids) => unique::ids_in(&self.with_deleted(), ids.clone()),
            What::UniqueKeys(hashes) => unique::keys_in(&self.with_deleted(), hashes.clone()),
            What::Columns => self.verify_columns(),
            What::NextId => self.verify_next_id(),
            What::Deleted => self.verify_deleted(),
        };
        done.err().into_iter().collect()
    }

    /// The generation's entry of a member.
    fn entry(&self, member: &Member) -> Result<&ShardEntry> {
        let found = self.generation.shards.iter().find(|entry| entry.name == member.name);
        found.ok_or_else(|| Error::not_found(format!("no shard {} in the generation", member.name)))
    }

    fn verify_generation(&self) -> Result<()> {
        let generation: Generation = self.dir.generation(self.generation.number)?;
        if generation != self.generation {
            let what = format!("generation {} is another one now", generation.number);
            return Err(Error::corrupt(self.dir.root(), what));
        }
        Ok(())
    }

    fn verify_tombstones(&self, member: &Member) -> Result<()> {
        match self.generation.tombstones.get(&member.name) {
            Some(hash) => self.dir.tombstones(hash, member.shard.rows()).map(drop),
            None => Ok(()),
        }
    }

    /// The file of the model, and if it has a fine codec, the one that holds both.
    fn verify_models(&self) -> Result<()> {
        let expected = self.generation.model;
        let codec = self.model.fine_codec().map(FineCodec::hash);
        verify_model(&self.dir.model_path(&expected)?, expected, None)?;
        match codec {
            Some(hash) => {
                verify_model(&self.dir.fine_model_path(&expected, &hash)?, expected, codec)
            }
            None => Ok(()),
        }
    }
}

/// Pieces for so many names.
fn pieces(names: u64) -> u64 {
    names.div_ceil(PIECE_NAMES)
}

/// Ranges of lists that have [`PIECE_ROWS`] rows or a few more. A list whose length cannot be read
/// counts as empty: its piece finds the fault.
fn pieces_of_lists(member: &Member) -> Vec<Range<u32>> {
    let nlist = member.shard.meta().nlist;
    let (mut pieces, mut start, mut rows) = (Vec::new(), 0, 0);
    for list in 0..nlist {
        rows += member.shard.list(list).map_or(0, |entry| entry.len);
        if rows >= PIECE_ROWS || list + 1 == nlist {
            pieces.push(start..list + 1);
            (start, rows) = (list + 1, 0);
        }
    }
    pieces
}

/// Compares the name of a shard with its content, where it is one that a writer of shards gave:
/// plan, task, hash of the content.
fn verify_name(member: &Member, entry: &ShardEntry) -> Result<()> {
    let parts: Vec<&str> = member.name.trim_end_matches(".shard").split('-').collect();
    let [plan, task, content] = parts[..] else { return Ok(()) };
    let short = Hash::of(b"").short().len();
    let is_hash = |text: &str| text.len() == short && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hash(plan) || !is_hash(content) || task.parse::<u32>().is_err() {
        return Ok(());
    }
    let expected = shard_name(entry.plan, entry.task, &entry.checksum);
    if expected == member.name {
        return Ok(());
    }
    Err(Error::Misplaced {
        path: member.shard.path().to_owned(),
        what: "name",
        expected,
        found: member.name.clone(),
    })
}

fn verify_digest(member: &Member, entry: &ShardEntry) -> Result<()> {
    let found = member.shard.file().checksum();
    member.shard.intact()?;
    if entry.checksum == found {
        return Ok(());
    }
    Err(Error::Misplaced {
        path: member.shard.path().to_owned(),
        what: "SHA-256",
        expected: entry.checksum.to_string(),
        found: found.to_string(),
    })
}

/// Proves a model's file, and that it holds this model and this fine codec.
fn verify_model(path: &Path, expected: Hash, codec: Option<Hash>) -> Result<()> {
    Reader::open(path, FileKind::Model)?.verify()?;
    let model = Model::open(path)?;
    model.verify()?;
    if model.hash() != expected {
        return Err(Error::ModelMismatch { path: path.to_owned(), expected, found: model.hash() });
    }
    let found = model.fine_codec().map(FineCodec::hash);
    if found != codec {
        let name = |hash: Option<Hash>| hash.map_or("none".into(), |hash| hash.to_string());
        return Err(Error::Misplaced {
            path: path.to_owned(),
            what: "fine codec",
            expected: name(codec),
            found: name(found),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::tests::small;
    use crate::{IndexDir, Metric, NewGeneration, ShardBuilder};

    /// Ids come in no order, so that each shard has a map of them, over several tiles.
    fn shard(dir: &IndexDir, model: &Model, task: u32, rows: u64) -> ShardEntry {
        let mut builder = ShardBuilder::new(model);
        for i in 0..rows {
            let id = 2 * (i * 7 % rows) + u64::from(task);
            let list = (i % 3) as u32;
            builder.push_code(id, &format!("k{id}"), list, &[(i % 16) as u8, 1, 2, 3]).unwrap();
        }
        dir.put_shard(builder, Hash::of(b"p"), task).unwrap()
    }

    /// Whichever tile is damaged, all pieces are there, and the damage is told.
    #[test]
    fn no_damaged_tile_ends_a_proof() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = IndexDir::create(tmp.path()).unwrap();
        let model = small(Metric::L2, false, 1);
        dir.put_model(&model).unwrap();
        let shards = vec![shard(&dir, &model, 0, 30_000), shard(&dir, &model, 1, 20_000)];
        let path = dir.shard_path(&shards[0].name).unwrap();
        let tombstones = BTreeMap::new();
        let (model, deletes) = (model.hash(), None);
        let new = NewGeneration { model, shards, tombstones, deletes, next_id: 60_000 };
        dir.commit(None, new).unwrap();
        let whole = Snapshot::open(tmp.path(), None).unwrap();
        whole.verify().unwrap();
        let pieces = whole.proofs(|_| false).len();
        let tiles = whole.members[0].shard.file().tiles();
        assert!(tiles > 4);
        drop(whole);
        let sound = std::fs::read(&path).unwrap();
        let mut fewest = pieces;
        for tile in 0..tiles {
            let mut bytes = sound.clone();
            bytes[(tile * TILE_BYTES + TILE_BYTES / 2).min(sound.len() - 1)] ^= 1;
            // Another file, as a mapping of the one before may be open.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let snapshot = Snapshot::open_degraded(tmp.path(), None, None).unwrap();
            let proofs = snapshot.proofs(|_| false);
            let faults: Vec<Error> = proofs.iter().flat_map(|p| snapshot.prove(p)).collect();
            assert!(faults.iter().any(|fault| fault.path() == Some(path.as_path())), "tile {tile}");
            if snapshot.missing.is_empty() {
                let ids = |proof: &&Proof| matches!(proof.what, What::UniqueIds(_));
                let ranges: Vec<Range<u64>> = proofs.iter().filter(ids).map(ids_of).collect();
                assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, u64::MAX));
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                fewest = fewest.min(proofs.len());
            }
        }
        // Damage among the ids was met by the split.
        assert!(fewest < pieces);
    }

    fn ids_of(proof: &Proof) -> Range<u64> {
        match &proof.what {
            What::UniqueIds(range) => range.clone(),
            _ => panic!("{proof:?}"),
        }
    }
}
