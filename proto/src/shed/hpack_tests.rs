use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The fields of a block that needs no table, as names (the index of a static one) and values.
fn fields(mut plain: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    while let Some(first) = plain.first() {
        if first & 0x80 != 0 {
            found.push((
                format!("static {}", integer(&mut plain, 7).expect("an index")),
                String::new(),
            ));
            continue;
        }
        assert_eq!(first & 0xe0, 0, "neither indexed nor a change of the table");
        let name = match integer(&mut plain, 4).expect("an index") {
            0 => text(string(&mut plain).expect("a name")),
            index => format!("{index}"),
        };
        found.push((name, text(string(&mut plain).expect("a value"))));
    }
    found
}

fn read(table: &mut Table, hex: &str) -> (Seen, Vec<(String, String)>) {
    let mut plain = Vec::new();
    let seen = table.read(&bytes(hex), Some(&mut plain)).expect("a block");
    (seen, fields(&plain))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Requests with Huffman codes: RFC 7541, appendix C.4.
#[test]
fn requests_of_the_specification() {
    let mut table = Table::default();
    let (seen, found) = read(&mut table, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
    assert!(seen.changes && seen.path.is_none());
    let statics = [("static 2", ""), ("static 6", ""), ("static 4", "")];
    let host = ("1", "www.example.com");
    assert_eq!(found, pairs(&[&statics[..], &[host]].concat()));
    assert_eq!(table.bytes, 57);
    let (_, found) = read(&mut table, "8286 84be 5886 a8eb 1064 9cbf");
    assert_eq!(found, pairs(&[&statics[..], &[host, ("24", "no-cache")]].concat()));
    assert_eq!(table.bytes, 110);
    let (_, found) =
        read(&mut table, "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    let statics = [("static 2", ""), ("static 7", ""), ("static 5", "")];
    assert_eq!(found, pairs(&[&statics[..], &[host, ("custom-key", "custom-value")]].concat()));
    assert_eq!((table.bytes, table.entries.len()), (164, 3));
    // All of it from the table: nothing changes.
    let (seen, found) = read(&mut table, "bf be c0");
    assert!(!seen.changes);
    assert_eq!(found, pairs(&[("24", "no-cache"), ("custom-key", "custom-value"), host]));
}

/// Responses in a table of 256 bytes, which entries fall out of: RFC 7541, appendix C.6.
#[test]
fn a_small_table_forgets_as_the_specification_says() {
    let mut table = Table::default();
    let first = "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
                 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let (date, site) = ("Mon, 21 Oct 2013 20:13:21 GMT", "https://www.example.com");
    let (seen, found) = read(&mut table, first);
    assert!(seen.changes);
    assert_eq!(found, pairs(&[("8", "302"), ("24", "private"), ("33", date), ("46", site)]));
    assert_eq!((table.bytes, table.max_bytes), (222, 256));
    let (_, found) = read(&mut table, "4883 640e ffc1 c0bf");
    assert_eq!(found, pairs(&[("8", "307"), ("24", "private"), ("33", date), ("46", site)]));
    assert_eq!((table.bytes, table.entries.len()), (222, 4));
    let (_, found) = read(
        &mut table,
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    );
    assert_eq!(found.len(), 6);
    assert_eq!(found[4], ("26".to_owned(), "gzip".to_owned()));
    assert_eq!(found[5].1, "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    assert_eq!((table.bytes, table.entries.len()), (215, 3));
}

#[test]
fn path_and_id_are_seen_wherever_they_come_from() {
    let mut table = Table::default();
    // `:path` by its static name, a new name, and both again from the table.
    let block = |first: &[u8]| {
        let mut block = first.to_vec();
        write_string(&mut block, b"/a/B");
        block.push(0x40);
        write_string(&mut block, REQUEST_ID);
        write_string(&mut block, b"seven");
        block
    };
    let expect = |seen: &Seen| {
        assert_eq!(seen.path.as_deref(), Some(&b"/a/B"[..]));
        assert_eq!(seen.request_id.as_deref(), Some(&b"seven"[..]));
    };
    let seen = table.read(&block(&[0x44]), None).expect("a block");
    expect(&seen);
    assert!(seen.changes);
    let seen = table.read(&[0xbe, 0xbf], None).expect("a block");
    expect(&seen);
    assert!(!seen.changes);
    // Not indexed, never indexed, and by the name of an entry.
    for first in [&[0x04][..], &[0x14], &[0x0f, 48]] {
        let mut block = first.to_vec();
        write_string(&mut block, b"/c/D");
        let seen = table.read(&block, None).expect("a block");
        assert_eq!(seen.path.as_deref(), Some(&b"/c/D"[..]), "{first:?}");
        assert!(!seen.changes);
    }
}

#[test]
fn what_is_no_block_is_refused() {
    for (what, hex) in [
        ("index 0", "80"),
        ("an entry that is not there", "be"),
        ("a name that is not there", "7e 0161"),
        ("an integer without an end", "ff ff ff ff ff ff 00"),
        ("an integer that breaks off", "ff"),
        ("a string that breaks off", "00 05 6161"),
        ("a value that is missing", "44"),
        ("a table that is too large", "3f e2 1f"),
        ("no Huffman code", "00 84 ffff ffff 00"),
    ] {
        assert_eq!(Table::default().read(&bytes(hex), None).map(|_| ()), Err(Malformed), "{what}");
    }
    // 4,000 bytes from the table, as often as it takes.
    let mut block = vec![0x40];
    write_string(&mut block, b"x");
    write_string(&mut block, &[b'y'; 4000]);
    let mut table = Table::default();
    table.read(&block, None).expect("a large field");
    assert!(table.read(&[0xbe; 60], None).is_ok());
    assert_eq!(table.read(&[0xbe; 100], None).map(|_| ()), Err(Malformed));
}
