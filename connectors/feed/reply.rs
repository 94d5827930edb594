//! What the supplier is told about a file: one CSV in the folder `reply/`.

use super::convert::RowFault;
use super::judge::Judgement;
use crate::format::cell::shown;
use crate::format::csv::Header;
use crate::transport::dir::SpoolName;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken.
    Accepted,
    /// A guard stopped it; a person looks at it.
    Held,
    /// It cannot be read.
    Failed,
    /// It was here before.
    Duplicate,
    /// It is older than what was taken already.
    Older,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Duplicate => "duplicate",
            Self::Older => "older",
        }
    }
}

/// The name of the answer to a file. What is said of a repetition stands beside what was said of the
/// file itself.
pub(super) fn name(file: &SpoolName, verdict: Verdict) -> String {
    let again = if verdict == Verdict::Duplicate {
        ".again"
    } else {
        ""
    };
    format!("{}.{}{again}.reply.csv", file.display, file.short_hash())
}

/// The answer: facts about the file, an empty line, then a table of bad rows. The same for the same
/// file, however often it is written. Nothing in it runs in a spreadsheet.
pub(super) fn write(
    file: &SpoolName,
    verdict: Verdict,
    reasons: &[String],
    judged: Option<(&Judgement, &Header)>,
) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let mut fact = |name: &str, value: &str| writer.write_record([name, &shown(value)]);
    fact("file", &file.display)?;
    if let Some(hash) = &file.hash {
        // Quoted by its prefix, so that no spreadsheet takes digits for a number.
        fact("content", &format!("blake3:{hash}"))?;
    }
    fact("result", verdict.word())?;
    for reason in reasons {
        fact("reason", reason)?;
    }
    if let Some((judged, header)) = judged {
        let (rows, bad) = (judged.facts.rows, judged.bad);
        fact("rows", &rows.to_string())?;
        fact("bad_rows", &bad.to_string())?;
        let unlisted = bad.saturating_sub(judged.listed.len() as u64);
        if unlisted > 0 {
            fact("bad_rows_not_listed", &unlisted.to_string())?;
        }
        writer.write_record([""])?;
        writer.write_record(["line", "column", "value", "code", "reason"])?;
        for fault in &judged.listed {
            write_fault(&mut writer, fault, header)?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

fn write_fault(
    writer: &mut csv::Writer<Vec<u8>>,
    fault: &RowFault,
    header: &Header,
) -> Result<(), csv::Error> {
    let column = fault
        .column
        .map_or_else(String::new, |column| header.name_of(column));
    writer.write_record([
        &fault.line.to_string(),
        &*shown(&column),
        &shown(&fault.value),
        &fault.code,
        &shown(&fault.reason),
    ])
}
