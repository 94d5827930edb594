use proptest::prelude::*;

use super::*;

fn small() -> Limits {
    Limits {
        bytes: 1 << 20,
        rows: 10_000,
        columns: 20,
        cell_bytes: 64,
        row_bytes: 200,
        broken_quotes: 50,
    }
}

fn show(next: &Next<'_>) -> String {
    match next {
        Next::Row(row) => {
            let cells: Vec<_> = row.iter().collect();
            format!("{} {}", row.line(), cells.join("|"))
        }
        Next::Bad(bad) => {
            let column = bad
                .column
                .map_or_else(String::new, |n| format!(":{}", n + 1));
            format!("{}{column} !{}", bad.line, bad.problem.code())
        }
    }
}

fn read(bytes: &[u8], step: usize, dialect: Dialect) -> Result<Vec<String>, CsvError> {
    let mut reader = CsvReader::with_chunk(bytes, dialect, small(), step);
    let mut out = Vec::new();
    while let Some(next) = reader.next_row()? {
        out.push(show(&next));
    }
    Ok(out)
}

#[track_caller]
fn check_with(dialect: Dialect, text: &str, expect: &[&str]) {
    for step in [1, 2, 3, 1000] {
        let found = read(text.as_bytes(), step, dialect).unwrap();
        assert_eq!(found, expect, "{text:?} by {step}");
    }
}

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    check_with(Dialect::default(), text, expect);
}

#[test]
fn rows_of_every_kind() {
    check("a,b\n1,2\n", &["2 1|2"]);
    check("a,b\r\n1,2\r\n3,4", &["2 1|2", "3 3|4"]);
    check("a,b\r1,2\r3,4\r", &["2 1|2", "3 3|4"]);
    check("a,b\n\n1,2\n\n\n3,4\n", &["3 1|2", "6 3|4"]);
    check("a,b\n,\n", &["2 |"]);
    check("a,b\n\"1\",\"x \"\"y\"\" z\"\n", &["2 1|x \"y\" z"]);
    check("a,b\n1,12\" pipe\n2,\"\"\n", &["2 1|12\" pipe", "3 2|"]);
    check("a,b\n1,\"x\r\ny\"\n2,z\n", &["2 1|x\r\ny", "4 2|z"]);
    check("a\n1", &["2 1"]);
    check("\u{feff}a,b\n1,2", &["2 1|2"]);
}

#[test]
fn a_row_with_the_wrong_number_of_cells_is_one_bad_row() {
    check(
        "a,b\n1,2\n3\n4,5\n6,7,8\n9,0\n",
        &[
            "2 1|2",
            "3 !wrong_width",
            "4 4|5",
            "5 !wrong_width",
            "6 9|0",
        ],
    );
}

#[test]
fn a_trailing_delimiter_is_fine_when_every_row_has_it() {
    check("a,b\n1,2,\n3,4,\n", &["2 1|2|", "3 3|4|"]);
    check("a,b,\n1,2\n3,4\n", &["2 1|2", "3 3|4"]);
    check("a,b,\n1,2,\n", &["2 1|2|"]);
    check("a,b\n1,2\n3,4,\n", &["2 1|2", "3 !wrong_width"]);
    check("a,b\n1,2,\n3,4,5\n", &["2 1|2|", "3 !wrong_width"]);
}

#[test]
fn a_quote_that_is_never_closed_costs_its_row_only() {
    check(
        "a,b\n1,\"oops\n2,x\n3,y\n",
        &["2:2 !quote_never_closed", "3 2|x", "4 3|y"],
    );
    // The next quote would close it and make a row of the right width: the text behind it tells.
    check(
        "a,b,c\n1,\"oops,7\n2,\"x\",8\n3,y,9\n",
        &["2:2 !text_after_quote", "3 2|x|8", "4 3|y|9"],
    );
    let long = format!("a,b\n1,\"oops\n{}9,z\n", "2,some more text\n".repeat(40));
    let found = read(long.as_bytes(), 7, Dialect::default()).unwrap();
    assert_eq!(found.first().unwrap(), "2:2 !quote_never_closed");
    assert_eq!(found.len(), 42);
    assert_eq!(found.last().unwrap(), "43 9|z");
}

#[test]
fn what_is_too_large_is_one_bad_row() {
    let cell = "x".repeat(65);
    check(
        &format!("a,b\n1,{cell}\n2,y\n"),
        &["2:2 !cell_too_large", "3 2|y"],
    );
    check(
        &format!("a,b\n1,\"{cell}\"\n2,y\n"),
        &["2:2 !cell_too_large", "3 2|y"],
    );
    let row = "x".repeat(70_000);
    check(
        &format!("a,b\n1,{row}\n2,y\n"),
        &["2 !row_too_large", "3 2|y"],
    );
    check(&format!("a,b\n1,{row}"), &["2 !row_too_large"]);
    let columns = ",".repeat(30);
    check(
        &format!("a,b\n{columns}\n2,y\n"),
        &["2 !too_many_columns", "3 2|y"],
    );
    // 50 quotes are within the limit of a cell, written doubled they are within that of a row.
    let row = format!("2 {}", "\"".repeat(50));
    check(&format!("a\n\"{}\"\n", "\"\"".repeat(50)), &[&row]);
}

#[test]
fn a_file_has_limits() {
    let many = format!("a\n{}", "1\n".repeat(10_001));
    let error = read(many.as_bytes(), 4096, Dialect::default()).unwrap_err();
    assert_eq!(error.code(), "too_many_rows");
    let broken = format!("a\n{}", "\"x\"y\n".repeat(60));
    let error = read(broken.as_bytes(), 4096, Dialect::default()).unwrap_err();
    assert_eq!(error.code(), "too_many_broken_quotes");
    let huge = vec![b'x'; (1 << 20) + 70_000];
    let error = read(&huge, 4096, Dialect::default()).unwrap_err();
    assert_eq!(error.code(), "file_too_large");
    assert_eq!(
        read(b"", 1, Dialect::default()).unwrap_err().code(),
        "file_empty"
    );
    assert_eq!(
        read(b"\n\r\n", 1, Dialect::default()).unwrap_err().code(),
        "file_empty"
    );
    assert_eq!(
        read(b"a,\"b\n", 1, Dialect::default()).unwrap_err().code(),
        "bad_header"
    );
}

#[test]
fn bytes_that_are_no_text_cost_their_row() {
    let found = read(b"a,b\n1,\xE4\n2,\0\n3,z\n", 2, Dialect::default()).unwrap();
    assert_eq!(found, ["2 !bad_encoding", "3 !nul_byte", "4 3|z"]);
    let dialect = Dialect {
        charset: Charset::from_label("cp932").unwrap(),
        ..Dialect::default()
    };
    let found = read(b"a,b\n1,\x8D\xDD\n2,\x81\n3,z\n", 2, dialect).unwrap();
    // 0x81 begins a character and takes nothing of the line ending with it.
    assert_eq!(found, ["2 1|\u{5728}", "3 !bad_encoding", "4 3|z"]);
}

#[test]
fn dialects() {
    let base = Dialect::default();
    let single = Dialect {
        quote: Some(b'\''),
        ..base
    };
    check_with(single, "a,b\n'1,2',3\n", &["2 1,2|3"]);
    let none = Dialect {
        quote: None,
        delimiter: b'\t',
        ..base
    };
    check_with(none, "a\tb\n\"1\t2\n", &["2 \"1|2"]);
    let spaces = Dialect {
        spaces_before_quote: true,
        ..base
    };
    check_with(spaces, "a, b\n1, \"2, 3\" \n", &["2 1|2, 3"]);
    let preamble = Dialect {
        skip_lines: 2,
        ..base
    };
    check_with(preamble, "list \"of\r\nstock\"\r\na,b\n1,2\n", &["4 1|2"]);
    let headless = Dialect {
        header: false,
        ..base
    };
    check_with(headless, "1,2\n3\n", &["1 1|2", "2 !wrong_width"]);
}

#[test]
fn reading_resumes_behind_a_line() {
    let text = b"a,b\n1,\"x\ny\"\n2,z\nbad\n3,w\n";
    for (line, expect) in [
        (0, "2 1|x\ny"),
        (1, "2 1|x\ny"),
        (2, "4 2|z"),
        (4, "5 !wrong_width"),
        (5, "6 3|w"),
    ] {
        let mut reader = CsvReader::new(&text[..], Dialect::default(), small());
        reader.skip_past(line).unwrap();
        let next = reader.next_row().unwrap().unwrap();
        assert_eq!(show(&next), expect, "behind line {line}");
    }
}

#[test]
fn columns_are_found_in_any_language() {
    let text = "\u{feff}Artikel\u{a0}Nr, \u{ff31}\u{ff34}\u{ff39} ,\u{5728}\u{5eab},,,x,X\n";
    let mut reader = CsvReader::new(text.as_bytes(), Dialect::default(), small());
    let header = reader.header().unwrap().clone();
    let named = |name: &str| header.find(&Column::Named(name.into()));
    assert_eq!(named("artikel nr"), Ok(0));
    assert_eq!(named("qty"), Ok(1));
    assert_eq!(named("\u{5728}\u{5eab}"), Ok(2));
    assert_eq!(header.find(&Column::Place(3)), Ok(2));
    assert!(header.find(&Column::Place(8)).is_err());
    assert!(header.find(&Column::Place(0)).is_err());
    let twice = named("x").unwrap_err().to_string();
    assert!(twice.contains("[6, 7]"), "{twice}");
    let missing = named("Artikel-Nr").unwrap_err().to_string();
    assert!(
        missing.contains("did you mean `Artikel\u{a0}Nr`"),
        "{missing}"
    );
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 ]{0,6}",
        "[a\"',;\r\n]{0,6}",
        "[\u{e4}\u{5728}\u{1f600}]{0,3}",
    ]
}

fn table() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1usize..5)
        .prop_flat_map(|width| prop::collection::vec(prop::collection::vec(cell(), width), 1..12))
}

proptest! {
    /// What the `csv` crate writes and reads back, we read alike, however the bytes arrive.
    #[test]
    fn well_formed_rows_come_out_as_from_the_csv_crate(
        rows in table(),
        crlf in any::<bool>(),
        always in any::<bool>(),
        step in 1usize..40,
    ) {
        let mut writer = csv::WriterBuilder::new();
        if crlf {
            writer.terminator(csv::Terminator::CRLF);
        }
        if always {
            writer.quote_style(csv::QuoteStyle::Always);
        }
        let mut writer = writer.from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let mut theirs = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(&bytes[..]);
        let theirs: Vec<Vec<String>> = theirs
            .records()
            .map(|row| row.unwrap().iter().map(str::to_owned).collect())
            .collect();
        let dialect = Dialect { header: false, ..Dialect::default() };
        let mut reader = CsvReader::with_chunk(&bytes[..], dialect, Limits::default(), step);
        let mut ours: Vec<Vec<String>> = Vec::new();
        while let Some(next) = reader.next_row().unwrap() {
            match next {
                Next::Row(row) => ours.push(row.iter().map(str::to_owned).collect()),
                // An empty cell alone may look like a trailing delimiter's; nothing else is bad.
                Next::Bad(bad) => prop_assert!(false, "{bad}"),
            }
        }
        prop_assert_eq!(ours, theirs);
    }

    /// Any bytes: it ends, it does not panic, lines only go forward, portions make no difference.
    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(
            prop_oneof![
                Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b' '),
                Just(0xE4u8), Just(0u8),
            ],
            0..200,
        ),
        step in 1usize..30,
        spaces in any::<bool>(),
    ) {
        let dialect = Dialect { spaces_before_quote: spaces, ..Dialect::default() };
        let whole = read(&bytes, 1000, dialect).map_err(|error| error.to_string());
        let parts = read(&bytes, step, dialect).map_err(|error| error.to_string());
        prop_assert_eq!(&whole, &parts);
        if let Ok(rows) = whole {
            let lines: Vec<u64> = rows
                .iter()
                .map(|row| row.split([' ', ':']).next().unwrap().parse().unwrap())
                .collect();
            prop_assert!(lines.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
