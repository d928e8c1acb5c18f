//! How long a table takes to read: 10⁶ rows of 8 numeric columns, one category and one short sequence (about 90 MB of text).
//!
//! `cargo run --release -p bdl-data --example read_speed [FILE]` writes the table to FILE unless it is there, and reads it; without FILE it
//! uses the folder of temporary files. The peers read the same file: `pandas.read_csv(FILE)`, `polars.read_csv(FILE)`.

use bdl_data::{Alphabet, Column, DataSpec, Dataset, FieldSpec, Origin, Precision, Source, Step, TableSource};
use bdl_kernels::philox::{DrawKey, fill_below, fill_normal_f64};
use std::fmt::Write as _;
use std::time::Instant;

const ROWS: u64 = 1_000_000;
const NUMBERS: usize = 8;
const LETTERS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("bdl_read_speed.csv"), Into::into);
    if !path.exists() {
        let mut text = String::from("a1,a2,a3,a4,a5,a6,a7,a8,kind,dna\n");
        let (mut numbers, mut letters) = ([0.0; NUMBERS], [0i64; LETTERS]);
        for row in 0..ROWS {
            fill_normal_f64(DrawKey { seed: 1, step: 0, site: 0 }, row, 0, &mut numbers);
            fill_below(DrawKey { seed: 1, step: 0, site: 1 }, row, 0, 4, &mut letters);
            numbers.iter().try_for_each(|x| write!(text, "{x:.6},"))?;
            let dna: String = letters.iter().map(|at| ['A', 'C', 'G', 'T'][*at as usize]).collect();
            writeln!(text, "k{},{dna}", row % 5)?;
        }
        std::fs::write(&path, text)?;
    }
    let origin = Origin::Columns { of: None, include: vec!["a*".into()], except: vec![] };
    let column = |name: &str| Origin::Column(Column::name(name));
    let category = Step::Category { classes: None, unknown: None };
    let spec = DataSpec::new("Speed", Source::Table(TableSource::csv(&path)))
        .field(FieldSpec::new("x", origin).step(Step::Standardize))
        .field(FieldSpec::new("kind", column("kind")).step(category))
        .field(FieldSpec::new("dna", column("dna")).step(Step::OneHotText(Alphabet::dna())));
    let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let begun = Instant::now();
    let data = Dataset::open(&spec, Precision::F32)?;
    let read = begun.elapsed().as_secs_f64();
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let encoded = data.encode(&data.fit(&rows)?)?;
    println!(
        "{} rows, {megabytes:.0} MB: read and typed in {read:.2} s ({:.0} MB/s), fitted and encoded in {:.2} s more",
        encoded.rows(),
        megabytes / read,
        begun.elapsed().as_secs_f64() - read
    );
    Ok(())
}
