//! The merchant's own tests of a mapping: `[[mapping.NAME.test]]`.

use serde_json::Value as Json;

use super::compile::Compiler;
use super::path::Path;
use super::settings::TestSettings;
use super::{Mapped, Mapping};
use crate::config::{Step as Place, codes};
use crate::diagnostic::Diagnostic;
use crate::expr::decimal;

/// One example.
#[derive(Debug)]
pub(super) struct TestCase {
    name: String,
    input: Json,
    expect: Expect,
    /// The finding of a failure, without its message.
    finding: Diagnostic,
}

/// What it should become.
#[derive(Debug)]
enum Expect {
    Kept { fields: Json, absent: Vec<Path> },
    Filtered(String),
    Rejected(String),
}

/// An example whose result is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The name of the test.
    pub name: String,
    /// Which field of the result; empty for the result as a whole.
    pub path: String,
    /// What the test says. Configuration, and so no personal data.
    pub expected: String,
    /// What the mapping makes of its input.
    pub got: String,
    /// As a finding that points at the test.
    pub finding: Diagnostic,
}

/// Checks that each test says one thing.
pub(super) fn compile(compiler: &mut Compiler<'_>, tests: &[TestSettings]) -> Vec<TestCase> {
    let mut cases = Vec::new();
    for (n, test) in tests.iter().enumerate() {
        let at = [Place::from("test"), Place::Index(n)];
        let kept = test.expect.is_some() || !test.absent.is_empty();
        let given = [kept, test.filtered.is_some(), test.rejected.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let message = "a test says what the record becomes, or that it is filtered or rejected";
            let help = "write one of `expect` (perhaps with `absent`), `filtered` and `rejected`";
            compiler.error(&at, codes::BAD_TEST, message, Some(help.to_owned()));
            continue;
        }
        if !test.input.0.is_object() {
            let message = "a test needs the record that goes in";
            let help = "as in input = { number = \"17\" }";
            compiler.error(&at, codes::BAD_TEST, message, Some(help.to_owned()));
            continue;
        }
        let target = compiler.target.clone();
        let mut absent = Vec::new();
        for (m, text) in test.absent.iter().enumerate() {
            let inside = [
                at[0].clone(),
                at[1].clone(),
                "absent".into(),
                Place::Index(m),
            ];
            absent.extend(compiler.path(&inside, text, &target).map(|(path, _)| path));
        }
        let expect = match (&test.filtered, &test.rejected) {
            (Some(rule), _) => Expect::Filtered(rule.clone()),
            (None, Some(code)) => Expect::Rejected(code.clone()),
            (None, None) => {
                let fields = test
                    .expect
                    .as_ref()
                    .map_or(Json::Null, |expect| expect.0.clone());
                Expect::Kept { fields, absent }
            }
        };
        cases.push(TestCase {
            name: test.name.clone(),
            input: test.input.0.clone(),
            expect,
            finding: compiler.finding(&at, codes::TEST_FAILED, String::new(), None),
        });
    }
    cases
}

impl TestCase {
    /// Tries it; every field that differs is one failure.
    pub(super) fn run(&self, mapping: &Mapping) -> Vec<TestFailure> {
        let result = mapping.apply(&self.input);
        let got = match &result {
            Ok(Mapped::Kept(_)) => "a record".to_owned(),
            Ok(Mapped::Filtered { rule }) => format!("filtered by `{rule}`"),
            Err(fault) => format!("rejected: {fault}"),
        };
        let whole = |expected: String| vec![self.failure("", expected, got.clone())];
        match (&self.expect, &result) {
            (Expect::Kept { fields, absent }, Ok(Mapped::Kept(made))) => {
                let mut failures = Vec::new();
                self.compare("", fields, made, &mut failures);
                for path in absent {
                    if let Some(found) = path.get(made) {
                        let path = path.to_string();
                        failures.push(self.failure(
                            &path,
                            "no such field".into(),
                            found.to_string(),
                        ));
                    }
                }
                failures
            }
            (Expect::Filtered(rule), Ok(Mapped::Filtered { rule: found })) if rule == found => {
                Vec::new()
            }
            (Expect::Rejected(code), Err(fault)) if *code == fault.code => Vec::new(),
            (Expect::Kept { .. }, _) => whole("a record".into()),
            (Expect::Filtered(rule), _) => whole(format!("filtered by `{rule}`")),
            (Expect::Rejected(code), _) => whole(format!("rejected with `{code}`")),
        }
    }

    /// Compares the fields that the test names; numbers by value, however they are written.
    fn compare(&self, path: &str, expected: &Json, got: &Json, failures: &mut Vec<TestFailure>) {
        match (expected, got) {
            (Json::Null, _) if path.is_empty() => {}
            (Json::Object(wanted), Json::Object(found)) => {
                for (key, wanted) in wanted {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    match found.get(key) {
                        Some(found) => self.compare(&path, wanted, found, failures),
                        None => failures.push(self.failure(
                            &path,
                            wanted.to_string(),
                            "no such field".into(),
                        )),
                    }
                }
            }
            (Json::Array(wanted), Json::Array(found)) if wanted.len() == found.len() => {
                for (n, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                    self.compare(&format!("{path}[{n}]"), wanted, found, failures);
                }
            }
            (wanted, found) if same(wanted, found) => {}
            (wanted, found) => {
                failures.push(self.failure(path, wanted.to_string(), found.to_string()));
            }
        }
    }

    fn failure(&self, path: &str, expected: String, got: String) -> TestFailure {
        let about = if path.is_empty() {
            String::new()
        } else {
            format!("`{path}` ")
        };
        let message = format!(
            "test `{}`: {about}should be {expected}, and is {got}",
            self.name
        );
        TestFailure {
            name: self.name.clone(),
            path: path.to_owned(),
            expected,
            got,
            finding: Diagnostic {
                message,
                ..self.finding.clone()
            },
        }
    }
}

/// Records hold decimals as text, tests write them as numbers.
fn same(wanted: &Json, found: &Json) -> bool {
    let number = |value: &Json| match value {
        Json::Number(number) => decimal(number.as_str()),
        Json::String(text) => decimal(text),
        _ => None,
    };
    match (wanted, found) {
        (Json::Number(_), _) | (_, Json::Number(_)) => {
            number(wanted).is_some() && number(wanted) == number(found)
        }
        _ => wanted == found,
    }
}
