//! The run folder: `runs/NAME/HASH/`, or the folder given with `--out`.
//!
//! Every file is written beside its final name, synced, and renamed, so that a reader (or a crash) sees the old or the new
//! content and never half of one. `runs/NAME/latest` is a link to the newest run.

use crate::error::{RunError, RunResult};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A folder that a run writes to and later commands read.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes (or opens again) the folder of a run. `out` wins over `base/NAME/HASH`; the link `latest` is only made below `base`.
    pub fn create(base: &Path, name: &str, hash: &str, out: Option<&Path>) -> RunResult<RunFolder> {
        let path = match out {
            Some(out) => out.to_path_buf(),
            None => base.join(name).join(hash),
        };
        fs::create_dir_all(&path).map_err(|e| RunError::io("make the run folder", &path, &e))?;
        if out.is_none() {
            link_latest(&base.join(name), hash)?;
        }
        Ok(RunFolder { path })
    }

    /// The folder of an earlier run.
    pub fn open(path: &Path) -> RunResult<RunFolder> {
        if !path.join("program.bdl").is_file() || !path.join("run.json").is_file() {
            return Err(RunError::new("not-a-run", format!("`{}` is not a run folder", path.display()))
                .help("name a folder that `bdl train` made, such as runs/NAME/latest"));
        }
        Ok(RunFolder { path: path.to_path_buf() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.file(name).is_file()
    }

    /// Replaces a file as a whole.
    pub fn write(&self, name: &str, content: &[u8]) -> RunResult<()> {
        write_whole(&self.file(name), content)
    }

    pub fn read_text(&self, name: &str) -> RunResult<String> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(|e| RunError::io("read", &path, &e))
    }

    /// Leaves those lines of a log that are `kept`: what an earlier run wrote into this folder, or this one after its last checkpoint, is written again.
    pub fn keep_lines(&self, name: &str, kept: &dyn Fn(&str) -> bool) -> RunResult<()> {
        if !self.has(name) {
            return Ok(());
        }
        let text = self.read_text(name)?;
        let lines: String = text.lines().filter(|line| kept(line)).map(|line| format!("{line}\n")).collect();
        if lines == text { Ok(()) } else { self.write(name, lines.as_bytes()) }
    }

    /// Adds one line to a log. A torn last line of a killed run is completed by a newline first.
    pub fn append_line(&self, name: &str, line: &str) -> RunResult<()> {
        let path = self.file(name);
        let torn = fs::read(&path).is_ok_and(|content| content.last().is_some_and(|byte| *byte != b'\n'));
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|e| RunError::io("write", &path, &e))?;
        let text = if torn { format!("\n{line}\n") } else { format!("{line}\n") };
        file.write_all(text.as_bytes()).map_err(|e| RunError::io("write", &path, &e))
    }
}

/// Writes `content` beside `path`, syncs it to disk and renames it into place.
pub fn write_whole(path: &Path, content: &[u8]) -> RunResult<()> {
    write_whole_by(path, |beside| fs::write(beside, content))
}

/// The same for what `write` makes of the file beside.
pub fn write_whole_by(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> RunResult<()> {
    let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy().into_owned());
    let beside = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = write(&beside).and_then(|()| sync(&beside)).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // The partial file is of no use to anybody; failing to remove it changes nothing.
        let _ = fs::remove_file(&beside);
        return Err(RunError::io("write", path, &error));
    }
    // The rename itself becomes durable with the folder. Not every file system can sync one; the content is safe either way.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Waits until the file is on the disk.
fn sync(path: &Path) -> std::io::Result<()> {
    // Some systems sync only what is open for writing.
    File::options().write(true).open(path)?.sync_all()
}

/// Points `folder/latest` at `hash`, atomically.
fn link_latest(folder: &Path, hash: &str) -> RunResult<()> {
    let latest = folder.join("latest");
    let beside = folder.join(format!(".latest.{}.partial", std::process::id()));
    let _ = fs::remove_file(&beside);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(hash, &beside).and_then(|()| fs::rename(&beside, &latest));
    #[cfg(not(unix))]
    let linked = fs::write(&beside, hash).and_then(|()| fs::rename(&beside, &latest));
    linked.map_err(|e| RunError::io("link", &latest, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_beside() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::create(base.path(), "net", "abc", None).unwrap();
        run.write("a.json", b"one").unwrap();
        run.write("a.json", b"three").unwrap();
        assert_eq!(run.read_text("a.json").unwrap(), "three");
        let names: Vec<_> = fs::read_dir(run.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names, ["a.json"]);
        assert_eq!(fs::read_link(base.path().join("net/latest")).unwrap(), Path::new("abc"));
    }

    #[test]
    fn latest_moves_to_the_newer_run() {
        let base = tempfile::tempdir().unwrap();
        RunFolder::create(base.path(), "net", "abc", None).unwrap();
        RunFolder::create(base.path(), "net", "def", None).unwrap();
        assert_eq!(fs::read_link(base.path().join("net/latest")).unwrap(), Path::new("def"));
    }

    #[test]
    fn a_torn_log_line_stays_alone() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::create(base.path(), "net", "abc", None).unwrap();
        fs::write(run.file("log.jsonl"), "{\"epoch\":1}\n{\"epo").unwrap();
        run.append_line("log.jsonl", "{\"epoch\":2}").unwrap();
        assert_eq!(run.read_text("log.jsonl").unwrap(), "{\"epoch\":1}\n{\"epo\n{\"epoch\":2}\n");
    }

    #[test]
    fn lines_of_an_earlier_run_are_left_out() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::create(base.path(), "net", "abc", None).unwrap();
        run.keep_lines("log.jsonl", &|_| false).unwrap();
        fs::write(run.file("log.jsonl"), "one\ntwo\nthr").unwrap();
        run.keep_lines("log.jsonl", &|line| line == "two").unwrap();
        assert_eq!(run.read_text("log.jsonl").unwrap(), "two\n");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_a_clear_error() {
        let base = tempfile::tempdir().unwrap();
        let blocked = base.path().join("file");
        fs::write(&blocked, "not a folder").unwrap();
        let error = RunFolder::create(&blocked, "net", "abc", None).unwrap_err();
        assert_eq!(error.code, "run-folder");
        assert!(error.to_string().contains("--out DIR"), "{error}");
    }

    #[test]
    fn a_folder_without_a_run_is_refused() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(RunFolder::open(base.path()).unwrap_err().code, "not-a-run");
    }

    /// `/dev/full` fails every write as a full disk does.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_leaves_the_old_file() {
        let error = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        let error = RunError::io("write", Path::new("last.safetensors"), &error);
        assert!(error.message.contains("the disk is full"), "{error}");
    }
}
