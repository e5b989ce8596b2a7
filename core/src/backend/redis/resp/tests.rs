use super::*;

/// All frames of some bytes, which come in pieces of this size.
fn frames(bytes: &[u8], size: usize) -> Result<Vec<Frame>, String> {
    let (mut decoder, mut unread, mut frames) = (Decoder::default(), BytesMut::new(), vec![]);
    for piece in bytes.chunks(size) {
        unread.extend_from_slice(piece);
        while let Some(frame) = decoder.next(&mut unread)? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

#[track_caller]
fn frame(bytes: &[u8]) -> Frame {
    let whole = frames(bytes, bytes.len()).unwrap();
    for size in 1..bytes.len() {
        assert_eq!(frames(bytes, size).unwrap(), whole, "in pieces of {size}");
    }
    let [frame] = <[Frame; 1]>::try_from(whole).unwrap();
    frame
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[test]
fn every_kind_of_answer_is_read() {
    for (bytes, value) in [
        ("+OK\r\n", Value::Okay),
        ("+PONG\r\n", Value::SimpleString("PONG".to_owned())),
        (":-7\r\n", Value::Int(-7)),
        ("$-1\r\n", Value::Nil),
        ("*-1\r\n", Value::Nil),
        ("_\r\n", Value::Nil),
        ("#t\r\n", Value::Boolean(true)),
        (",1.5\r\n", Value::Double(1.5)),
        ("$0\r\n\r\n", bulk("")),
        ("$4\r\na\r\nb\r\n", bulk("a\r\nb")),
        ("=7\r\ntxt:abc\r\n", bulk("abc")),
        ("*0\r\n", Value::Array(vec![])),
        (
            "*2\r\n:1\r\n*1\r\n_\r\n",
            Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Nil])]),
        ),
        ("~1\r\n:1\r\n", Value::Set(vec![Value::Int(1)])),
        (
            "%1\r\n+a\r\n%0\r\n",
            Value::Map(vec![(Value::SimpleString("a".into()), Value::Map(vec![]))]),
        ),
    ] {
        assert_eq!(frame(bytes.as_bytes()), Frame::Answer(value), "{bytes:?}");
    }
    for bytes in ["-ERR no\r\n", "!6\r\nERR no\r\n"] {
        assert_eq!(frame(bytes.as_bytes()), Frame::Refusal("ERR no".to_owned()));
    }
}

#[test]
fn only_the_pushes_that_are_listened_to_are_kept() {
    let message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    assert_eq!(frame(message), Frame::Push(vec![bulk("message"), bulk("c"), bulk("hi")]));
    for foreign in [
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n",
        ">2\r\n$10\r\ninvalidate\r\n_\r\n",
        ">3\r\n$8\r\npmessage\r\n%1\r\n-a\r\n#f\r\n*0\r\n",
        ">1\r\n:1\r\n",
    ] {
        assert_eq!(frame(foreign.as_bytes()), Frame::Foreign, "{foreign:?}");
    }
}

#[test]
fn what_is_no_frame_is_an_error_and_costs_nothing() {
    let deep = "*1\r\n".repeat(1_000_000);
    let line = format!("+{}", "x".repeat(1_000_000));
    for bytes in [
        "x\r\n",
        "\r\n",
        "|1\r\n+a\r\n+b\r\n",
        "$999999999999\r\n",
        "$9223372036854775807\r\n",
        "$-2\r\n",
        "*-2\r\n",
        "%-1\r\n",
        ">0\r\n",
        ">-1\r\n",
        "*1\r\n>1\r\n+a\r\n",
        "*1\r\n-ERR\r\n",
        "$1\r\nabc",
        "=2\r\nab\r\n",
        "=-1\r\n",
        ":+1\r\n",
        ": 1\r\n",
        "*x\r\n",
        "#x\r\n",
        "$?\r\n",
        &deep,
        &line,
    ] {
        let read = frames(bytes.as_bytes(), bytes.len());
        assert!(read.is_err(), "{:?} is {read:?}", &bytes[..bytes.len().min(40)]);
    }
    // Announced is not sent.
    let mut decoder = Decoder::default();
    let mut many = BytesMut::from("*2147483647\r\n*2147483647\r\n:1\r\n");
    assert_eq!(decoder.next(&mut many), Ok(None));
    assert!(decoder.open.iter().all(|list| list.elements.capacity() < 16));
}

#[test]
fn an_answer_has_a_largest_size_and_what_nobody_listens_to_takes_no_memory() {
    const MOST: usize = 1024 * 1024;
    let elements = MOST / ELEMENT + 2000;
    let read = |begin: &str, element: &str| {
        let mut decoder = Decoder { most: MOST, ..Decoder::default() };
        let mut unread = BytesMut::from(begin);
        for _ in 0..elements / 1000 {
            unread.extend_from_slice(element.repeat(1000).as_bytes());
            decoder.next(&mut unread)?;
        }
        Ok::<_, String>(decoder.open.iter().map(|list| list.elements.len()).sum::<usize>())
    };
    assert_eq!(read(">2\r\n$10\r\ninvalidate\r\n*2000000000\r\n", "$1\r\nk\r\n"), Ok(0));
    for element in [":1\r\n", "$1\r\nk\r\n"] {
        let error = read("*2000000000\r\n", element).unwrap_err();
        assert!(error.contains("more than"), "{error}");
    }
    let text = format!("${}\r\n", MOST + 1);
    assert!(read(&text, "x").unwrap_err().contains("more than"));
}
