use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::fault::Class;

struct Fixture {
    dir: tempfile::TempDir,
    folder: DropFolder,
    arrivals: Arrivals,
    monotonic: Duration,
}

impl Fixture {
    fn new(completeness: Completeness) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = DropFolder::new(dir.path(), "in", "*.csv", completeness);
        folder.prepare().unwrap();
        Self {
            dir,
            folder,
            arrivals: Arrivals::default(),
            monotonic: Duration::ZERO,
        }
    }

    fn stable() -> Self {
        Self::new(Completeness::Stable {
            looks: 3,
            apart: Duration::from_secs(2),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.path("in").join(name), content).unwrap();
    }

    /// Looks, with the clock two seconds on.
    fn look(&mut self) -> Vec<String> {
        self.look_after(2).iter().map(Ready::display).collect()
    }

    fn look_after(&mut self, secs: u64) -> Vec<Ready> {
        self.monotonic += Duration::from_secs(secs);
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        self.folder
            .scan(&mut self.arrivals, self.monotonic, now)
            .unwrap()
    }

    fn claim_all(&mut self) -> Vec<SpoolName> {
        let ready = self.look_after(2);
        ready
            .iter()
            .filter_map(|file| self.folder.claim(file, None).unwrap())
            .collect()
    }
}

#[test]
fn story_43_a_file_is_taken_when_it_no_longer_changes() {
    let mut folder = Fixture::stable();
    folder.put("stock.csv", b"sku,qty\n1");
    assert!(folder.look().is_empty());
    assert!(folder.look().is_empty());
    folder.put("stock.csv", b"sku,qty\n1,5\n");
    assert!(folder.look().is_empty());
    assert!(folder.look().is_empty());
    assert_eq!(folder.look(), ["stock.csv"]);
}

#[test]
fn story_43_looks_in_quick_succession_count_once() {
    let mut folder = Fixture::stable();
    folder.put("stock.csv", b"x");
    for _ in 0..20 {
        assert!(folder.look_after(0).is_empty());
    }
}

#[test]
fn story_43_a_reserved_file_with_its_final_size_and_time_is_not_complete() {
    let mut folder = Fixture::stable();
    let mut content = b"sku,qty\n1,5\n".to_vec();
    content.resize(10_000, 0);
    folder.put("stock.csv", &content);
    for _ in 0..10 {
        assert!(folder.look().is_empty());
    }
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen_in_the_tail() {
    let mut folder = Fixture::stable();
    folder.put("stock.csv", b"sku,qty\n1,5\n");
    let path = folder.path("in/stock.csv");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    folder.look();
    folder.look();
    fs::write(&path, b"sku,qty\n1,7\n").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert!(folder.look().is_empty());
}

#[test]
fn only_finished_plain_files_of_the_pattern_are_taken() {
    let mut folder = Fixture::new(Completeness::Renamed);
    for name in [
        ".a.csv",
        "a.csv.part",
        "a.csv.tmp",
        "a.txt",
        "a.csv.done",
        "good.csv",
    ] {
        folder.put(name, b"x");
    }
    fs::create_dir(folder.path("in/folder.csv")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path("in/link.csv")).unwrap();
    rustix::fs::mknodat(
        CWD,
        folder.path("in/pipe.csv"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    assert_eq!(folder.look(), ["good.csv"]);
}

#[test]
fn a_link_that_takes_a_files_place_is_not_followed() {
    let mut folder = Fixture::new(Completeness::Renamed);
    folder.put("stock.csv", b"x");
    let ready = folder.look_after(2);
    fs::remove_file(folder.path("in/stock.csv")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path("in/stock.csv")).unwrap();
    assert_eq!(folder.folder.claim(&ready[0], None).unwrap(), None);
    assert!(folder.folder.spooled().unwrap().is_empty());
    assert!(open_plain(&folder.path("in/stock.csv")).is_err());
}

#[test]
fn a_marker_older_than_its_file_belongs_to_an_earlier_one() {
    let mut folder = Fixture::new(Completeness::Marker);
    folder.put("stock.csv.done", b"");
    let marker = File::options()
        .write(true)
        .open(folder.path("in/stock.csv.done"))
        .unwrap();
    marker
        .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1000))
        .unwrap();
    folder.put("stock.csv", b"x");
    assert!(folder.look().is_empty());
    folder.put("stock.csv.done", b"");
    assert_eq!(folder.claim_all().len(), 1);
    assert!(!folder.path("in/stock.csv.done").exists());
}

#[test]
fn a_file_that_changed_after_the_look_goes_back() {
    let mut folder = Fixture::new(Completeness::Renamed);
    folder.put("stock.csv", b"x");
    let ready = folder.look_after(2);
    folder.put("stock.csv", b"more");
    assert_eq!(folder.folder.claim(&ready[0], None).unwrap(), None);
    assert_eq!(fs::read(folder.path("in/stock.csv")).unwrap(), b"more");
    fs::remove_file(folder.path("in/stock.csv")).unwrap();
    assert_eq!(folder.folder.claim(&ready[0], None).unwrap(), None);
}

#[test]
fn the_supplier_may_drop_the_same_name_again_at_once() {
    let mut folder = Fixture::new(Completeness::Renamed);
    folder.put("stock.csv", b"one");
    let first = folder.claim_all();
    folder.put("stock.csv", b"two");
    let second = folder.claim_all();
    assert_ne!(first, second);
    let spooled = folder.folder.spooled().unwrap();
    assert_eq!(spooled.len(), 2);
    let mut contents = Vec::new();
    for name in spooled {
        let mut text = Vec::new();
        let named = folder
            .folder
            .identify(&name, 1000, |part| text.extend_from_slice(part))
            .unwrap();
        assert_eq!(
            named.hash.as_deref().unwrap(),
            &blake3::hash(&text).to_hex()[..32]
        );
        contents.push(text);
    }
    assert_eq!(contents, [b"one", b"two"]);
}

#[test]
fn names_that_are_no_names_are_taken_safely() {
    let mut folder = Fixture::new(Completeness::Renamed);
    let names: [&[u8]; 4] = [b"\xff\xfe.csv", b"-rf .csv", b"a;$(reboot).csv", b"..x.CSV"];
    for name in names {
        fs::write(folder.path("in").join(OsStr::from_bytes(name)), name).unwrap();
    }
    let long = format!("{}.csv", "x".repeat(250));
    folder.put(&long, b"long");
    // `..x.CSV` is hidden.
    assert_eq!(folder.claim_all().len(), 4);
    assert_eq!(folder.folder.spooled().unwrap().len(), 4);
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing() {
    let mut folder = Fixture::new(Completeness::Renamed);
    folder.put("stock.csv", b"x");
    // Found, then crash: it is still there, and found again.
    assert_eq!(folder.look(), ["stock.csv"]);
    folder.arrivals = Arrivals::default();
    // Claimed, then crash: it is in processing, not yet read.
    let claimed = folder.claim_all().remove(0);
    assert_eq!(
        folder.folder.spooled().unwrap(),
        std::slice::from_ref(&claimed)
    );
    // Read, then crash: reading again gives the same name.
    let read = folder.folder.identify(&claimed, 10, |_| ()).unwrap();
    assert_eq!(
        folder.folder.spooled().unwrap(),
        std::slice::from_ref(&read)
    );
    assert_eq!(folder.folder.identify(&read, 10, |_| ()).unwrap(), read);
    // Archived, then crash before anybody knew: archiving again is no fault.
    folder.folder.shelve(&read, Shelf::Archive).unwrap();
    folder.folder.shelve(&read, Shelf::Archive).unwrap();
    assert!(folder.folder.spooled().unwrap().is_empty());
    assert_eq!(
        fs::read(folder.path("archive").join(read.to_string())).unwrap(),
        b"x"
    );
}

#[test]
fn a_held_file_is_released_by_name_once() {
    let mut folder = Fixture::new(Completeness::Renamed);
    folder.put("stock.csv", b"x");
    let claimed = folder.claim_all().remove(0);
    let name = folder.folder.identify(&claimed, 10, |_| ()).unwrap();
    folder.folder.shelve(&name, Shelf::Held).unwrap();
    for wrong in ["other.csv", "../processing/stock.csv", ""] {
        assert_eq!(folder.folder.release(wrong).unwrap_err().code, "not_held");
    }
    let released = folder.folder.release("stock.csv").unwrap();
    assert!(released.released);
    assert_eq!(folder.folder.spooled().unwrap(), [released]);
    assert!(folder.folder.held().unwrap().is_empty());
}

#[test]
fn an_answer_is_whole_and_readable_and_stays_in_its_folder() {
    let folder = Fixture::new(Completeness::Renamed);
    folder.folder.reply("../../stock.reply.csv", b"ok").unwrap();
    let path = folder.path("reply/_._stock.reply.csv");
    assert_eq!(fs::read(&path).unwrap(), b"ok");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(fs::read_dir(folder.path("reply")).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let mut folder = Fixture::new(Completeness::Renamed);
    folder.put("stock.csv", b"0123456789");
    let claimed = folder.claim_all().remove(0);
    let fault = folder
        .folder
        .identify(&claimed, 9, |_| panic!("read"))
        .unwrap_err();
    assert_eq!(
        (fault.class, &*fault.code),
        (Class::Reject, "file_too_large")
    );
}

#[test]
fn a_missing_root_is_not_created() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not-mounted");
    let folder = DropFolder::new(&root, "in", "*", Completeness::Renamed);
    let fault = folder.prepare().unwrap_err();
    assert_eq!(
        (fault.class, &*fault.code),
        (Class::Retry, "folder_missing")
    );
    assert!(!root.exists());
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let folder = DropFolder::new(&file, "in", "*", Completeness::Renamed);
    assert_eq!(folder.prepare().unwrap_err().class, Class::Config);
}

#[test]
fn no_permission_is_a_clear_fault() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    let fault = folder_fault(Path::new("/srv/feeds/in"), &error);
    assert_eq!(fault.class, Class::Config);
    assert!(fault.message.contains("/srv/feeds/in"), "{fault}");
    assert!(
        fault.message.contains("give this program's user"),
        "{fault}"
    );
}

#[test]
fn the_root_itself_may_be_the_arrivals_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DropFolder::new(dir.path(), ".", "*.csv", Completeness::Renamed);
    folder.prepare().unwrap();
    fs::write(dir.path().join("stock.csv"), b"x").unwrap();
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    let ready = folder
        .scan(&mut Arrivals::default(), Duration::ZERO, now)
        .unwrap();
    assert_eq!(ready.len(), 1);
    assert!(folder.claim(&ready[0], None).unwrap().is_some());
}
