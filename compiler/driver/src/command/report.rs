//! `bdl report RUN`: the run as one page.

use super::{Context, print};
use crate::error::Failure;
use crate::report;
use crate::run::reopened;
use serde_json::json;
use std::path::Path;

pub fn run(context: &Context, run: &Path, out: Option<&Path>) -> Result<u8, Failure> {
    let reopened = reopened::open(context, run)?;
    let page = report::html(&reopened, run)?;
    let path = out.map_or_else(|| reopened.stored.folder.file("report.html"), Path::to_path_buf);
    bdl_train::folder::write_whole(&path, page.as_bytes())?;
    if context.global.json {
        return print(&format!(
            "{}\n",
            json!({"run": run.display().to_string(), "report": path.display().to_string()})
        ));
    }
    print(&if context.global.quiet { String::new() } else { format!("wrote {}\n", path.display()) })
}
