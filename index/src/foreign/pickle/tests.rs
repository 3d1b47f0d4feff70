//! Pickles by hand, as numpy writes them in protocol 2.

use super::*;

/// A short text of Python 2.
fn text(text: &[u8]) -> Vec<u8> {
    [&[b'U', text.len() as u8], text].concat()
}

/// A type of numpy, such as `i2`, in the byte order `<` or `>`.
fn dtype(name: &str, order: &str) -> Vec<u8> {
    let state = [&b"(K\x03"[..], &text(order.as_bytes()), b"NNNJ\xff\xff\xff\xffK\x00K\x00tb"];
    [&b"cnumpy\ndtype\n("[..], &text(name.as_bytes()), b"K\x00K\x01tR", &state.concat()].concat()
}

/// An array of numpy of at most 255 along each axis; `content` is an operation that pushes its
/// bytes, or its list of objects.
fn array(dtype: &[u8], shape: &[u8], fortran: bool, content: &[u8]) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|&n| [b'K', n]).collect();
    let order: &[u8] = if fortran { b"\x88" } else { b"\x89" };
    let empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR";
    [&empty[..], b"(K\x01(", &shape, b"t", dtype, order, content, b"tb"].concat()
}

fn read(object: &[u8]) -> Result<Pickle> {
    Pickle::read(&[b"\x80\x02", object, b"."].concat()).map(|(pickle, _)| pickle)
}

fn whole(object: &[u8]) -> Pickle {
    read(object).unwrap_or_else(|error| panic!("{error}"))
}

fn bad(object: &[u8]) -> String {
    read(object).unwrap_err().to_string()
}

#[test]
fn numbers_of_every_type_and_order() {
    for (name, order, bytes, expected) in [
        ("i1", "|", &[1, 0xfe][..], [1, -2]),
        ("u1", "|", &[1, 0xfe], [1, 254]),
        ("b1", "|", &[1, 0], [1, 0]),
        ("i2", "<", &[1, 0, 0xfe, 0xff], [1, -2]),
        ("u2", "<", &[1, 0, 0xfe, 0xff], [1, 0xfffe]),
        ("u2", ">", &[0, 1, 0xff, 0xfe], [1, 0xfffe]),
        ("i4", ">", &[0, 0, 1, 0, 0xff, 0xff, 0xff, 0xfe], [256, -2]),
        ("u4", "<", &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [1, 0xffff_ffff]),
        ("i8", "<", &[5, 0, 0, 0, 0, 0, 0, 0, 0xfe, 255, 255, 255, 255, 255, 255, 255], [5, -2]),
        ("u8", "<", &[5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], [5, 7]),
    ] {
        let pickle = whole(&array(&dtype(name, order), &[2], false, &text(bytes)));
        let (root, floats) = (pickle.root(), expected.map(|n| n as f64));
        assert_eq!(pickle.ints(root).as_deref(), Some(&expected[..]), "{order}{name}");
        assert_eq!(pickle.numbers(root).as_deref(), Some(&floats[..]), "{order}{name}");
    }
    // 2⁶³ is beyond int64; 1.5 is 0x3fc00000 in float32.
    let large = whole(&array(&dtype("u8", "<"), &[1], false, &text(&[0, 0, 0, 0, 0, 0, 0, 0x80])));
    assert_eq!(large.ints(large.root()), None);
    assert_eq!(large.numbers(large.root()), Some(vec![2f64.powi(63)]));
    let float = whole(&array(&dtype("f4", ">"), &[1], false, &text(&[0x3f, 0xc0, 0, 0])));
    assert_eq!(float.ints(float.root()), None);
    assert_eq!(float.numbers(float.root()), Some(vec![1.5]));
    // Columns first: 1 2 3 / 4 5 6.
    let turned = whole(&array(&dtype("i1", "|"), &[2, 3], true, &text(&[1, 4, 2, 5, 3, 6])));
    assert_eq!(turned.ints(turned.root()), Some(vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(turned.array(turned.root()).unwrap().shape, [2, 3]);
}

#[test]
fn texts_and_objects_are_lists() {
    let bytes = whole(&array(&dtype("S3", "|"), &[3], false, &text(b"ab\0abc\0\0\0")));
    assert_eq!(bytes.texts(bytes.root()), Some(vec!["ab", "abc", ""]));
    for (order, letters) in [
        ("<", *b"\xe9\0\0\0b\0\0\0c\0\0\0\0\0\0\0"),
        (">", { *b"\0\0\0\xe9\0\0\0b\0\0\0c\0\0\0\0" }),
    ] {
        let unicode = whole(&array(&dtype("U2", order), &[2], false, &text(&letters)));
        assert_eq!(unicode.texts(unicode.root()), Some(vec!["éb", "c"]), "{order}");
    }
    // [7, "x"] as objects; as numbers they are none.
    let objects = whole(&array(&dtype("O8", "|"), &[2], false, b"(K\x07U\x01xl"));
    let items = objects.items(objects.root()).unwrap();
    assert_eq!((objects.int(items[0]), objects.text(items[1])), (Some(7), Some("x")));
    assert_eq!(objects.ints(objects.root()), None);
    // What protocol 2 of Python 3 writes for no bytes.
    let none = b"c__builtin__\nbytes\n)R";
    let empty = whole(&array(&dtype("i8", "<"), &[0], false, none));
    assert_eq!(empty.ints(empty.root()), Some(vec![]));
    // Names and numbers one by one.
    let scalar = |name: &str, bytes: &[u8]| {
        let dtype = dtype(name, "<");
        whole(&[&b"cnumpy._core.multiarray\nscalar\n("[..], &dtype, &text(bytes), b"tR"].concat())
    };
    let number = scalar("i4", &[0xfd, 0xff, 0xff, 0xff]);
    assert_eq!(number.int(number.root()), Some(-3));
    let name = scalar("U2", b"h\0\0\0i\0\0\0");
    assert_eq!(name.text(name.root()), Some("hi"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let of = |name: &str, shape: &[u8], fortran, content: &[u8]| {
        bad(&array(&dtype(name, "<"), shape, fortran, content))
    };
    let expected = "numpy array [3] of Number(I2): found 4 bytes or items";
    let expected = expected.replace("I2", "I16");
    assert!(of("i2", &[3], false, &text(&[1, 2, 3, 4])).contains(&expected));
    assert!(of("O8", &[3], false, b"(K\x07l").contains("found 1 bytes or items"));
    assert!(of("S0", &[200, 200], false, &text(b"")).contains("numpy type \"S0\" is not one of"));
    assert!(of("V8", &[1], false, &text(&[0; 8])).contains("numpy type \"V8\" is not one of"));
    assert!(of("i1", &[1, 1, 1], true, &text(&[0])).contains("more than two axes"));
    assert!(bad(b"c__builtin__\nbytes\n(K\x09tR").contains("bytes made of something"));
    assert_eq!(
        read(b"cbuiltins\neval\n").unwrap_err(),
        PickleError::Refused("builtins.eval".to_owned())
    );
}

/// One text of bytes in array after array must not become a multiple of the pickle.
#[test]
fn shared_bytes_are_bounded() {
    // Memo 0: 250 bytes; memo 1: the type of one byte each.
    let mut bytes =
        [&b"("[..], &text(&[b'x'; 250]), b"q\x00", &dtype("S1", "|"), b"q\x01"].concat();
    let array = array(b"h\x01", &[250], false, b"h\x00");
    for _ in 0..200 {
        bytes.extend_from_slice(&array);
    }
    bytes.push(b't');
    let error = bad(&bytes);
    assert!(error.contains("copies more than its length accounts for"), "{error}");
}
