//! The tutorial of connectors/README.md, word for word: files as they stand there, commands in a shell, and what
//! they say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long one block of commands may take.
const SECONDS: &str = "180";

/// One fenced block.
#[derive(Debug)]
struct Block {
    /// `sh`, `text`, or a language and a file's name.
    info: String,
    text: String,
}

/// The blocks of one section of a page.
fn blocks(page: &str, section: &str) -> Vec<Block> {
    let begin = page.find(section).unwrap();
    let rest = &page[begin + section.len()..];
    let end = rest.find("\n## ").unwrap_or(rest.len());
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for line in rest[..end].lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(info), None) => {
                let info = info.to_owned();
                open = Some(Block {
                    info,
                    text: String::new(),
                });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// Whatever happens, the shop is ended.
struct Shop(PathBuf);

impl Drop for Shop {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(&self.0) {
            let _ = Command::new("kill").arg(pid.trim()).output();
        }
    }
}

fn run(script: &str, folder: &Path) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_crossdock")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binaries.display());
    let done = Command::new("timeout")
        .args(["-k", "5", SECONDS, "sh", "-euc", script])
        .current_dir(folder)
        .env("PATH", path)
        .env("PWD", folder)
        .env_remove("CROSSDOCK_CONFIG")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complained = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}\n{said}{complained}");
    said
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn the_tutorial_ends_with_an_order_moved() {
    if !Path::new("/usr/bin/python3").exists() && !Path::new("/usr/local/bin/python3").exists() {
        eprintln!("SKIPPED: no python3 in /usr/bin or /usr/local/bin: the tutorial is not run");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = fs::canonicalize(folder.path()).unwrap();
    let _shop = Shop(at.join("shop.pid"));
    let mut said = String::new();
    let (mut files, mut commands, mut promises) = (0, 0, 0);
    let page = include_str!("../../connectors/README.md");
    for block in blocks(page, "## A new connector in an hour") {
        match block.info.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["sh"] => {
                said = run(&block.text, &at);
                commands += 1;
            }
            ["text"] => {
                for line in block.text.lines() {
                    assert!(said.contains(line), "`{line}` is not in:\n{said}");
                    promises += 1;
                }
            }
            [_, ">>", file] => {
                let before = fs::read_to_string(at.join(file)).unwrap();
                fs::write(at.join(file), before + &block.text).unwrap();
                files += 1;
            }
            [_, file] => {
                fs::write(at.join(file), &block.text).unwrap();
                files += 1;
            }
            _ => panic!("a block that nobody runs: {}", block.info),
        }
    }
    assert_eq!((files, commands, promises), (4, 7, 13));
}
