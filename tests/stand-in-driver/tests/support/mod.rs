//! Where libraries are looked for is settled when a process starts, so each test runs itself again in a process of its own.

use std::process::Command;

const CHILD: &str = "BDL_STAND_IN_CHILD";

/// In a process where the stand-in is the driver: `body`. Elsewhere: starts such a process with these settings, which must succeed.
pub fn with_driver(test: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    assert!(folder.join("libcuda.so").exists(), "no libcuda.so in {}", folder.display());
    let mut child = Command::new(&own);
    child.args([test, "--exact", "--nocapture"]).env(CHILD, "1").env("LD_LIBRARY_PATH", folder);
    child.envs(settings.iter().copied());
    let done = child.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}
