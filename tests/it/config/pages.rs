//! `src/docs/codes.md`: a page for each code, and each example is told what its page is about.

use std::path::Path;

use crossdock::config::codes::CODES;
use crossdock::config::{self, Credentials, render};
use crossdock::connector::Connector;
use crossdock::topology;

use super::World;

fn pages() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/codes.md");
    let text = std::fs::read_to_string(path).unwrap();
    let page = |section: &str| {
        let (heading, text) = section.split_once('\n').unwrap();
        (heading.to_owned(), text.to_owned())
    };
    text.split("\n## ").map(page).collect()
}

/// The TOML of a page that has some.
fn example(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("```toml")?;
    let (_, rest) = rest.split_once('\n')?;
    rest.split_once("```").map(|(example, _)| example)
}

fn told(text: &str) -> String {
    let world = World::of(text).var("NORTH_PASSWORD", "t0ken");
    let connectors = crossdock::connectors::built_in();
    let registry: Vec<&dyn Connector> = connectors.iter().map(AsRef::as_ref).collect();
    let plan = config::read(Path::new("c.toml"), &world, Credentials::Needed)
        .and_then(|loaded| topology::plan(&loaded, &registry));
    let findings = match plan {
        Ok(plan) => plan.warnings,
        Err(findings) => findings,
    };
    render::text(&findings, render::Style::Plain)
}

#[test]
fn every_code_has_a_page_with_its_title() {
    let headings: Vec<String> = pages().into_iter().skip(1).map(|(it, _)| it).collect();
    let wanted: Vec<String> = CODES
        .iter()
        .map(|code| format!("{} {}", code.code, code.title))
        .collect();
    assert_eq!(headings, wanted);
    for (heading, text) in pages().iter().skip(1) {
        assert!(
            text.contains("\nMend it: "),
            "{heading} does not say what to do"
        );
    }
}

#[test]
fn every_example_is_told_what_its_page_is_about() {
    let pages = pages();
    let base = example(&pages[0].1).unwrap();
    assert_eq!(told(base), "", "the base is accepted");
    let mut examples = 0;
    let mut wrong = Vec::new();
    for (heading, text) in &pages[1..] {
        let (code, _) = heading.split_once(' ').unwrap();
        let Some(example) = example(text) else {
            continue;
        };
        examples += 1;
        // A part goes to the end of the base; what has a version, or is about having none, is whole.
        let whole = example.contains("version =") || code == "X0107";
        let text = if whole {
            example.to_owned()
        } else {
            format!("{base}\n{example}")
        };
        let told = told(&text);
        if !told.contains(code) {
            wrong.push(format!(
                "{code} is not told of its own example, but:\n{told}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(examples > 40, "{examples}");
}
