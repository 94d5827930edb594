//! The planted bugs fit the code as it is; `tests/planted/run` builds and sweeps each.

use std::path::Path;
use std::process::Command;

/// A patch that no longer applies plants nothing: write it again.
#[test]
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
fn each_planted_bug_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inside = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["rev-parse", "--git-dir"])
        .output();
    if !inside.is_ok_and(|it| it.status.success()) {
        eprintln!("SKIPPED: no git here, the planted bugs were not looked at");
        return;
    }
    let mut patches = 0;
    for entry in std::fs::read_dir(root.join("tests/planted")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "patch") {
            continue;
        }
        patches += 1;
        let checked = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(["apply", "--check"])
            .arg(&path)
            .output();
        let said = checked.unwrap();
        let why = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success(), "{}: {why}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.starts_with("---"),
            "{} names no story",
            path.display()
        );
    }
    assert!(patches >= 25, "only {patches} bugs are planted");
}
