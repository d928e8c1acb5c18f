//! Files into syntax trees: the program, what it uses, and the standard library that is part of the binary.

use crate::error::Failure;
use bdl_check::{Link, Modules, StdFile};
use bdl_grammar::{Diagnostic, FileId, SourceMap, ast};
use std::path::{Path, PathBuf};

/// The standard library: module name and text.
pub const STDLIB: &[(&str, &str)] = &[
    ("init", include_str!("../../../stdlib/init.bdl")),
    ("nn", include_str!("../../../stdlib/nn.bdl")),
    ("loss", include_str!("../../../stdlib/loss.bdl")),
    ("optim", include_str!("../../../stdlib/optim.bdl")),
    ("recurrent", include_str!("../../../stdlib/recurrent.bdl")),
    ("attention", include_str!("../../../stdlib/attention.bdl")),
    ("vision", include_str!("../../../stdlib/vision.bdl")),
    ("graph", include_str!("../../../stdlib/graph.bdl")),
    ("protein", include_str!("../../../stdlib/protein.bdl")),
    ("vae", include_str!("../../../stdlib/vae.bdl")),
    ("ode", include_str!("../../../stdlib/ode.bdl")),
    ("tensor_network", include_str!("../../../stdlib/tensor_network.bdl")),
    ("survival", include_str!("../../../stdlib/survival.bdl")),
    ("gan", include_str!("../../../stdlib/gan.bdl")),
    ("contrastive", include_str!("../../../stdlib/contrastive.bdl")),
    ("bio", include_str!("../../../stdlib/bio.bdl")),
];

/// A program and everything it is made of, parsed.
#[derive(Debug)]
pub struct Source {
    pub sources: SourceMap,
    pub modules: Modules,
    /// Where relative paths of the program begin.
    pub folder: PathBuf,
    /// The program's own text, as it was read.
    pub text: String,
    pub diagnostics: Vec<Diagnostic>,
}

/// The text of a program file.
pub fn text_of(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| no_file(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::user("not-text", format!("`{}` is not UTF-8 text (byte {at})", path.display()))
    })
}

/// Reads and parses a file and what it uses.
pub fn file(path: &Path) -> Result<Source, Failure> {
    let text = text_of(path)?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    text_in(&path.display().to_string(), &text, &folder)
}

/// Parses a program given as text; `folder` is where its relative paths begin.
pub fn text_in(name: &str, text: &str, folder: &Path) -> Result<Source, Failure> {
    let mut sources = SourceMap::new();
    let mut diagnostics = Vec::new();
    let id = sources.add(name, text);
    let (main, errors) = bdl_grammar::parse(&sources, id);
    diagnostics.extend(errors);

    let (used, links, messages) = used_by(&mut sources, &main, name, folder);
    diagnostics.extend(messages);
    let (stdlib, messages) = stdlib(&mut sources);
    diagnostics.extend(messages);
    let modules = Modules { main, used, links, stdlib };
    Ok(Source { sources, modules, folder: folder.to_path_buf(), text: text.to_string(), diagnostics })
}

/// The files that a program named `name` uses, directly or through others, each once, and which `use` means which.
pub fn used_by(
    sources: &mut SourceMap,
    main: &ast::File,
    name: &str,
    folder: &Path,
) -> (Vec<ast::File>, Vec<Link>, Vec<Diagnostic>) {
    let id = main.span.file;
    let mut diagnostics = Vec::new();
    let mut used: Vec<(PathBuf, FileId, ast::File)> = Vec::new();
    let mut links = Vec::new();
    let mut waiting = vec![(id, folder.to_path_buf(), bdl_check::uses(main))];
    while let Some((from, folder, uses)) = waiting.pop() {
        for wanted in uses {
            let path = folder.join(wanted.path.trim_start_matches("./"));
            // Two spellings of one path are one file.
            let place = path.canonicalize().unwrap_or_else(|_| path.clone());
            let own = Path::new(name).canonicalize().is_ok_and(|own| own == place);
            let known = used.iter().find(|(known, _, _)| *known == place).map(|(_, id, _)| *id).or(own.then_some(id));
            let to = match known {
                Some(to) => to,
                None => {
                    let text = match std::fs::read_to_string(&path) {
                        Ok(text) => text,
                        Err(error) => {
                            let message = format!("could not read `{}`: {error}", path.display());
                            diagnostics.push(
                                Diagnostic::error("missing-file", message)
                                    .primary(wanted.span, "used here")
                                    .help("paths are relative to the file that uses them"),
                            );
                            continue;
                        }
                    };
                    let to = sources.add(path.display().to_string(), text);
                    let (file, errors) = bdl_grammar::parse(sources, to);
                    diagnostics.extend(errors);
                    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
                    waiting.push((to, folder, bdl_check::uses(&file)));
                    used.push((place, to, file));
                    to
                }
            };
            links.push(Link { from, path: wanted.path, to });
        }
    }
    (used.into_iter().map(|(_, _, file)| file).collect(), links, diagnostics)
}

/// The standard library, parsed.
pub fn stdlib(sources: &mut SourceMap) -> (Vec<StdFile>, Vec<Diagnostic>) {
    let ids: Vec<FileId> = STDLIB.iter().map(|(name, text)| sources.add(format!("std.{name}"), *text)).collect();
    let sources = &*sources;
    let parse = |ids: &[FileId]| ids.iter().map(|id| bdl_grammar::parse(sources, *id)).collect::<Vec<_>>();
    // Two halves of about the same length, each on a thread of its own.
    let half = STDLIB.iter().map(|(_, text)| text.len()).sum::<usize>() / 2;
    let mut before = 0;
    let first = STDLIB.iter().take_while(|(_, text)| {
        before += text.len();
        before <= half
    });
    let (first, second) = ids.split_at(first.count());
    let parsed = std::thread::scope(|scope| {
        let second = std::thread::Builder::new().spawn_scoped(scope, || parse(second)).ok();
        let mut parsed = parse(first);
        parsed.extend(match second {
            Some(second) => second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => parse(&ids[first.len()..]),
        });
        parsed
    });
    let mut diagnostics = Vec::new();
    let mut stdlib = Vec::new();
    for ((name, _), (file, errors)) in STDLIB.iter().zip(parsed) {
        diagnostics.extend(errors);
        stdlib.push(StdFile { name: (*name).to_string(), file });
    }
    (stdlib, diagnostics)
}

fn no_file(path: &Path, error: &std::io::Error) -> Failure {
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_string(),
        _ => error.to_string(),
    };
    let failure = Failure::user("missing-file", format!("could not read `{}`: {reason}", path.display()));
    if path.extension().is_none() {
        return failure.help(format!("a program's name ends in .bdl: `{}.bdl`?", path.display()));
    }
    failure
}
