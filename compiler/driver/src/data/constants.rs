//! Files that a `const` stands for: matrices of numbers, read whole before the program is checked.
//!
//! | source | gives | names |
//! |---|---|---|
//! | `csv` `tsv` | `[rows, columns]` of numbers; a first column of text names the rows | the header, and that column |
//! | `npy` | an array of any rank, as NumPy wrote it | none |
//! | `gmt` | truth values `[genes, sets]`: is the gene in the set? Genes in the order in which they first appear | both axes |
//!
//! Deliberately absent: quoted cells that hold separators (a fault says so by the number of cells).

use crate::load::Source;
use crate::npz;
use bdl_check::fixed::{FileTable, WrittenFile, file_of};
use bdl_grammar::ast::{ArgKind, Const, ExprKind, File, ItemKind, StmtKind};
use bdl_grammar::{Diagnostic, FileId, Span};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tables of all constants of a program, and what is wrong with their files.
pub fn tables(source: &Source) -> (Vec<FileTable>, Vec<Diagnostic>) {
    let (mut tables, mut wrong): (Vec<FileTable>, _) = (Vec::new(), Vec::new());
    for file in std::iter::once(&source.modules.main).chain(&source.modules.used) {
        of(file).into_iter().for_each(|constant| take(constant, source, &mut tables, &mut wrong));
    }
    (tables, wrong)
}

/// The constants of a file, of its layers and functions too.
pub fn of(file: &File) -> Vec<&Const> {
    let mut found = Vec::new();
    for item in &file.items {
        let body = match &item.kind {
            ItemKind::Const(constant) => {
                found.push(constant);
                continue;
            }
            ItemKind::Fn(def) => &def.body,
            ItemKind::Layer(def) | ItemKind::Model(def) => &def.body,
            ItemKind::Optimizer(_)
            | ItemKind::Use(_)
            | ItemKind::Data(_)
            | ItemKind::Train(_)
            | ItemKind::Tune(_)
            | ItemKind::Expect(_)
            | ItemKind::Type(_)
            | ItemKind::Alphabet(_)
            | ItemKind::Let(_)
            | ItemKind::Error => continue,
        };
        let consts = body.stmts.iter().filter_map(|stmt| match &stmt.kind {
            StmtKind::Const(constant) => Some(constant),
            StmtKind::Fn(_)
            | StmtKind::Let(_)
            | StmtKind::Param(_)
            | StmtKind::State(_)
            | StmtKind::Update { .. }
            | StmtKind::Next { .. }
            | StmtKind::Emit(_)
            | StmtKind::Expr(_)
            | StmtKind::Error => None,
        });
        found.extend(consts);
    }
    found
}

fn take(constant: &Const, source: &Source, tables: &mut Vec<FileTable>, wrong: &mut Vec<Diagnostic>) {
    let Some((kind, WrittenFile { text: written, .. })) = file_of(constant) else { return };
    let span = constant.value.span;
    if tables.iter().any(|table| table.from == span.file && table.path == written) {
        return;
    }
    let path = folder_of(source, span.file).join(written);
    let header = !has_option(constant, "header", false);
    match read(kind, &path, header) {
        Ok((shape, values, names)) => {
            tables.push(FileTable { from: span.file, path: written.to_string(), shape, values, names });
        }
        Err(what) => wrong.push(fault(&path, &what, span)),
    }
}

fn fault(path: &Path, what: &str, span: Span) -> Diagnostic {
    let code = if path.exists() { "data-source" } else { "missing-file" };
    let what = if code == "missing-file" { "there is no such file" } else { what };
    Diagnostic::error(code, format!("`{}`: {what}", path.display()))
        .primary(span, "read here")
        .help("paths are relative to the file that uses them")
}

/// Is the named option written with this value?
fn has_option(constant: &Const, option: &str, value: bool) -> bool {
    let ExprKind::Call { args, .. } = &constant.value.kind else { return false };
    args.iter().any(|arg| {
        matches!(&arg.kind, ArgKind::Named { name, value: given } if name.text == option && matches!(given.kind, ExprKind::Bool(truth) if truth == value))
    })
}

fn folder_of(source: &Source, file: FileId) -> PathBuf {
    if file == source.modules.main.span.file {
        return source.folder.clone();
    }
    Path::new(source.sources.name(file)).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

type Names = Vec<Option<Arc<Vec<String>>>>;
type Table = (Vec<usize>, Vec<f64>, Names);

fn read(kind: &str, path: &Path, header: bool) -> Result<Table, String> {
    if kind == "npy" {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let array = npz::parse("array", &bytes)?;
        let names = vec![None; array.shape.len()];
        return Ok((array.shape.clone(), array.values.to_f64(), names));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    match kind {
        "gmt" => gene_sets(&text),
        "tsv" => matrix(&text, '\t', header),
        _ => matrix(&text, ',', header),
    }
}

fn matrix(text: &str, separator: char, header: bool) -> Result<Table, String> {
    let cells = |line: &str| -> Vec<String> {
        line.split(separator).map(|cell| cell.trim().trim_matches('"').to_string()).collect()
    };
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let columns = if header { lines.next().map(|(_, line)| cells(line)) } else { None };
    let rows: Vec<(usize, Vec<String>)> = lines.map(|(at, line)| (at + 1, cells(line))).collect();
    let Some((_, first)) = rows.first() else { return Err("it holds no numbers".into()) };
    let named = first.len() > 1 && first[0].parse::<f64>().is_err();
    let skipped = usize::from(named);
    let width = first.len() - skipped;
    let mut values = Vec::with_capacity(rows.len() * width);
    for (line, row) in &rows {
        if row.len() != width + skipped {
            return Err(format!("line {line} has {} cells where the first has {}", row.len(), width + skipped));
        }
        for cell in &row[skipped..] {
            let value = cell.parse::<f64>().ok().filter(|value| value.is_finite());
            values.push(value.ok_or_else(|| format!("line {line}: `{cell}` is not a number"))?);
        }
    }
    let row_names = named.then(|| Arc::new(rows.iter().map(|(_, row)| row[0].clone()).collect::<Vec<_>>()));
    // A header may or may not stand above the column of row names.
    let column_names = columns.and_then(|mut columns| {
        if columns.len() == width + 1 && named {
            columns.remove(0);
        }
        (columns.len() == width).then(|| Arc::new(columns))
    });
    Ok((vec![rows.len(), width], values, vec![row_names, column_names]))
}

/// `NAME<tab>description<tab>gene<tab>gene ..`, one set a line. Source: the GMT format of the Broad Institute.
fn gene_sets(text: &str) -> Result<Table, String> {
    let (mut genes, mut sets): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut place: HashMap<String, usize> = HashMap::new();
    let mut members: Vec<(usize, usize)> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut cells = line.split('\t');
        let (Some(name), Some(_)) = (cells.next(), cells.next()) else {
            return Err(format!("line {} is not `NAME<tab>description<tab>genes`", at + 1));
        };
        for gene in cells.map(str::trim).filter(|gene| !gene.is_empty()) {
            let next = genes.len();
            let gene_at = *place.entry(gene.to_string()).or_insert(next);
            if gene_at == next {
                genes.push(gene.to_string());
            }
            members.push((gene_at, sets.len()));
        }
        sets.push(name.to_string());
    }
    if genes.is_empty() {
        return Err("it holds no gene sets".into());
    }
    let mut values = vec![0.0; genes.len() * sets.len()];
    members.into_iter().for_each(|(gene, set)| values[gene * sets.len() + set] = 1.0);
    Ok((vec![genes.len(), sets.len()], values, vec![Some(Arc::new(genes)), Some(Arc::new(sets))]))
}
