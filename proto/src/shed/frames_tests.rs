use super::*;

const PATH: &[u8] = b"/s/M";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, kind, flags, stream, &[payload]);
    out
}

/// `:path` as a field that is kept in the table, or is not.
fn path(kept: bool) -> Vec<u8> {
    let mut block = vec![if kept { 0x44 } else { 0x04 }, PATH.len() as u8];
    block.extend(PATH);
    block
}

fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, block)
}

fn last_data(stream: u32, n: usize) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &vec![7; n])
}

/// What comes of some input in pieces of `step` bytes, where requests on the streams in `refused` are refused; streams
/// are counted from 1 on by those that are judged.
fn run(input: &[&[u8]], step: usize, refused: &[usize]) -> (Result<(), Malformed>, Flow) {
    let (mut inbound, mut flow, mut judged) = (Inbound::default(), Flow::default(), 0);
    let all = [&[PREFACE], input].concat().concat();
    for piece in all.chunks(step) {
        let taken = inbound.take(piece, &mut flow, |seen| {
            assert_eq!(seen.path.as_deref(), Some(PATH));
            judged += 1;
            match refused.contains(&judged) {
                true => Verdict::Refused(vec![0x88]),
                false => Verdict::Counted,
            }
        });
        if taken.is_err() {
            return (taken, flow);
        }
    }
    assert_eq!(flow.passed.get(..PREFACE.len()), Some(PREFACE));
    flow.passed.drain(..PREFACE.len());
    (Ok(()), flow)
}

fn answer_of(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88])
}

/// [`run`] by pieces of many sizes, with the same result.
fn always(input: &[&[u8]], refused: &[usize], passed: &[&[u8]], answers: &[&[u8]]) {
    let length: usize = input.iter().map(|part| part.len()).sum();
    for step in [1, 2, 3, 7, 9, 10, 64, 1000, length + 24] {
        let (taken, flow) = run(input, step, refused);
        assert_eq!(taken, Ok(()));
        assert_eq!(flow.passed, passed.concat(), "pieces of {step}");
        assert_eq!(flow.answers, answers.concat(), "pieces of {step}");
    }
}

#[test]
fn what_is_not_refused_passes_to_the_byte() {
    let mut padded = vec![3, 0, 0, 0, 0, 16];
    padded.extend(path(false));
    padded.extend([0; 3]);
    let input: Vec<Vec<u8>> = vec![
        frame(4, 0, 0, &[0; 12]),
        request(1, &path(true)),
        frame(DATA, 0, 1, &[1; 100]),
        frame(6, 0, 0, &[9; 8]),
        last_data(1, 20),
        frame(HEADERS, END_STREAM | END_HEADERS, 3, &[0xbe]),
        frame(HEADERS, PADDED | PRIORITY | END_HEADERS | END_STREAM, 5, &padded),
        frame(HEADERS, 0, 7, &path(true)[..2]),
        frame(CONTINUATION, 0, 7, &path(true)[2..3]),
        frame(CONTINUATION, END_HEADERS, 7, &path(true)[3..]),
        frame(WINDOW_UPDATE, 0, 7, &[0, 0, 1, 0]),
        frame(RST_STREAM, 0, 7, &[0, 0, 0, 8]),
        frame(0xee, 0xff, 9, &[0; 77]),
        frame(7, 0, 0, &[0; 8]),
    ];
    let input: Vec<&[u8]> = input.iter().map(Vec::as_slice).collect();
    always(&input, &[], &input, &[]);
}

#[test]
fn a_refused_request_is_answered_at_its_end_and_goes_nowhere() {
    let parts = [
        request(1, &path(true)),
        last_data(1, 500),
        request(3, &[0xbe]),
        request(5, &[0xbe]),
        frame(DATA, 0, 3, &[1; 500]),
        last_data(5, 500),
        last_data(3, 0),
        frame(HEADERS, END_STREAM | END_HEADERS, 7, &[0xbe]),
        request(9, &[0xbe]),
        last_data(9, 500),
    ];
    let [one, one_data, three, five, three_data, five_data, three_end, seven, nine, nine_data] =
        &parts;
    let input: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    // Nothing in the table changed but by what passed: blocks pass as they are.
    let answers = [answer_of(3), answer_of(7)];
    always(
        &input,
        &[2, 4],
        &[one, one_data, five, five_data, nine, nine_data],
        &[&answers[0], &answers[1]],
    );
    let _ = (three, three_data, three_end, seven);
}

#[test]
fn later_headers_need_no_table_once_a_change_of_it_was_kept() {
    let parts = [
        request(1, &path(true)),
        last_data(1, 5),
        request(3, &[0x83, 0xbe]),
        last_data(3, 5),
        // Trailers, of whatever they consist.
        request(5, &path(true)),
        frame(HEADERS, END_STREAM | END_HEADERS, 5, &[0xbf]),
    ];
    let input: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let plain = [request(3, &[&[0x83][..], &path(false)].concat()), request(5, &path(false))];
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 5, &path(false));
    always(&input, &[1], &[&plain[0], &parts[3], &plain[1], &trailers], &[&answer_of(1)]);
}

/// What a client still sends about a request that was refused is nobody's business.
#[test]
fn late_frames_of_refused_requests_go_nowhere() {
    let parts = [
        request(1, &path(true)),
        last_data(1, 5),
        request(3, &[0xbe]),
        last_data(3, 5),
        frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        frame(WINDOW_UPDATE, 0, 3, &[0, 0, 1, 0]),
        request(5, &[0xbe]),
        frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]),
        request(7, &[0xbe]),
        // To who answers requests, this one is closed: it has heard of a later one.
        frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        // Nobody has heard of this one: that is for HTTP/2 to say.
        frame(RST_STREAM, 0, 99, &[0, 0, 0, 8]),
    ];
    let input: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    // The fifth was given up before its end: there is no answer.
    always(
        &input,
        &[2, 3],
        &[&parts[0], &parts[1], &parts[8], &parts[9], &parts[10]],
        &[&answer_of(3)],
    );
}

/// A large request is answered before its end, and its client may send other requests as much as before.
#[test]
fn a_large_request_is_not_waited_for() {
    let mut input = vec![request(1, &path(true))];
    for _ in 0..6 {
        input.push(frame(DATA, 0, 1, &[0; 10_000]));
    }
    input.push(last_data(1, 0));
    let parts: Vec<&[u8]> = input.iter().map(Vec::as_slice).collect();
    for step in [100, 10_009, 100_000] {
        let (taken, flow) = run(&parts, step, &[1]);
        assert_eq!((taken, flow.passed.len()), (Ok(()), 0));
        let (mut left, mut credit, mut answered, mut reset) = (flow.answers.as_slice(), 0, 0, 0);
        while let Some(head) = Head::read(left) {
            let (frame, rest) = left.split_at(HEAD_BYTES + head.length);
            match (head.kind, head.stream) {
                (WINDOW_UPDATE, 0) => {
                    credit += u32::from_be_bytes(frame[HEAD_BYTES..].try_into().expect("4 bytes"));
                }
                (HEADERS, 1) => answered += 1,
                (RST_STREAM, 1) => {
                    assert_eq!((answered, &frame[HEAD_BYTES..]), (1, &[0; 4][..]));
                    reset += 1;
                }
                other => panic!("{other:?}"),
            }
            left = rest;
        }
        assert_eq!((answered, reset), (1, 1));
        assert!(credit > 60_000 - WINDOW_BYTES as u32 && credit <= 60_000, "{credit}");
    }
}

#[test]
fn what_makes_no_sense_passes_for_others_to_judge() {
    let good = request(1, &path(true));
    let after = [request(3, &[0xbe]), last_data(3, 9)].concat();
    for (what, bad) in [
        ("headers that cannot be read", request(1, &[0xbe])),
        ("more padding than there is", frame(HEADERS, PADDED | END_HEADERS, 1, &[9, 0x88])),
        ("no continuation", [frame(HEADERS, 0, 1, &path(true)), good.clone()].concat()),
    ] {
        let input = [&bad[..], &good, &after].concat();
        let (taken, flow) = run(&[&input], 1000, &[1, 2, 3]);
        assert_eq!(taken, Ok(()), "{what}");
        assert_eq!((flow.passed, flow.answers.len()), (input, 0), "{what}");
        // Once a change of the table was kept, nobody else can tell: the connection ends.
        let input = [&good[..], &last_data(1, 1), &request(3, &[0xff, 0xff, 0xff])].concat();
        assert_eq!(run(&[&input], 1000, &[1]).0, Err(Malformed));
    }
    let (mut inbound, mut flow) = (Inbound::default(), Flow::default());
    inbound
        .take(b"GET / HTTP/1.1\r\n\r\n", &mut flow, |_| panic!("no request"))
        .expect("it passes");
    assert_eq!(flow.passed, b"GET / HTTP/1.1\r\n\r\n");
    // Headers without end.
    let mut endless = frame(HEADERS, 0, 1, &path(true));
    for _ in 0..20 {
        endless.extend(frame(CONTINUATION, 0, 1, &[0; 16_000]));
    }
    let (taken, flow) = run(&[&endless], 5000, &[1]);
    assert_eq!((taken, flow.passed), (Ok(()), endless));
}

/// Requests that never end are refused as far as they can be remembered, and no further.
#[test]
fn endless_requests_fill_no_memory() {
    let (mut inbound, mut flow) = (Inbound::default(), Flow::default());
    inbound.take(PREFACE, &mut flow, |_| Verdict::Passed).expect("a preface");
    let mut refused = 0;
    for stream in (1..4001).step_by(2) {
        let request = request(stream, &path(false));
        let judge = |_: &Seen| {
            refused += 1;
            Verdict::Refused(vec![0x88])
        };
        inbound.take(&request, &mut flow, judge).expect("a request");
    }
    assert_eq!((refused, inbound.refused.len()), (MAX_OPEN, MAX_OPEN));
}

/// Random bytes and random frames: never a panic, and the same whatever pieces they come in.
#[test]
fn random_input_comes_to_the_same_in_any_pieces() {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..3000 {
        let mut input = PREFACE.to_vec();
        for _ in 0..random(12) {
            let kind = [0, 1, 1, 1, 3, 8, 9, 4, 200][random(9) as usize];
            let flags = [0, 1, 4, 5, 5, 5, 0x2d][random(7) as usize];
            let payload: Vec<u8> = match random(4) {
                0 => (0..random(40)).map(|_| random(256) as u8).collect(),
                1 => vec![0xbe],
                _ => path(random(2) == 0),
            };
            input.extend(frame(kind, flags, random(6) as u32 * 2 + 1, &payload));
        }
        for _ in 0..random(4) {
            let at = random(input.len() as u64) as usize;
            input[at] ^= 1 << random(8);
        }
        let outcome = |step: usize| {
            let (mut inbound, mut flow, mut judged) = (Inbound::default(), Flow::default(), 0);
            for piece in input.chunks(step) {
                let judge = |_: &Seen| {
                    judged += 1;
                    match judged % 3 != round % 3 {
                        true => Verdict::Refused(vec![0x88]),
                        false => Verdict::Passed,
                    }
                };
                if inbound.take(piece, &mut flow, judge).is_err() {
                    return (true, flow.answers);
                }
            }
            // What is held back is not lost.
            flow.passed.extend(&inbound.rest);
            (false, [flow.passed, flow.answers].concat())
        };
        let whole = outcome(input.len());
        for step in [1, 5, 11] {
            assert_eq!(outcome(step), whole, "round {round}, pieces of {step}: {input:?}");
        }
    }
}

/// Requests count until they are given up, answered, or reset.
#[test]
fn requests_count_until_their_end() {
    let (mut inbound, mut flow) = (Inbound::default(), Flow::default());
    let mut input = PREFACE.to_vec();
    for stream in [1, 3, 5, 7] {
        input.extend(request(stream, &path(false)));
    }
    input.extend(frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]));
    input.extend(frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]));
    inbound.take(&input, &mut flow, |_| Verdict::Counted).expect("requests");
    assert_eq!((inbound.counted(), flow.given_up), (3, 1));
    assert!(inbound.answered(5) && !inbound.answered(5) && !inbound.answered(3));
    assert_eq!(inbound.counted(), 2);
}

#[test]
fn ends_of_outgoing_frames_are_known() {
    let frames = [
        frame(4, 0, 0, &[0; 6]),
        frame(HEADERS, 0, 1, &[0; 20]),
        frame(CONTINUATION, END_HEADERS, 1, &[0; 20]),
        frame(DATA, 0, 1, &[0; 300]),
        frame(4, 1, 0, &[]),
        frame(DATA, END_STREAM, 1, &[]),
        frame(RST_STREAM, 0, 3, &[0; 4]),
    ];
    // After each frame but the first half of the headers.
    let mut ends = Vec::new();
    let mut at = 0;
    for (number, frame) in frames.iter().enumerate() {
        at += frame.len();
        if number != 1 {
            ends.push(at);
        }
    }
    let all = frames.concat();
    for step in [1, 2, 9, 50] {
        let (mut outbound, mut sent, mut ended) = (Outbound::default(), 0, vec![]);
        assert!(!outbound.between(), "settings come first");
        for piece in all.chunks(step) {
            let left = outbound.until_between();
            if left != usize::MAX && !outbound.between() {
                assert!(ends.contains(&(sent + left)), "{sent} + {left}");
            }
            outbound.sent(piece, |stream| ended.push(stream));
            sent += piece.len();
            assert_eq!(outbound.between(), ends.contains(&sent), "{sent}");
        }
        assert_eq!(ended, [1, 3], "streams that ended");
    }
}
