//! An epilogue inside of its contraction: one launch, and a result that is not read back.
//!
//! ```text
//! results in registers  ->  tile in shared memory  ->  four neighbours a thread, row by row: the epilogue's body, its stores
//! ```
//!
//! Through shared memory, so that the body stands in the text once and meets memory as an element-wise kernel does: neighbouring threads at
//! neighbouring places, sixteen bytes each. Where blocks share a sum, the last one of a tile does it. Bits are those of two launches: the same
//! operations on the same numbers.
//!
//! The result itself is stored only if the epilogue does not overwrite it and somebody else reads it (`bdl_plan::passing`).
//!
//! An epilogue of another form (reductions over a row, a result that is no plain matrix), or one that moves much more than the result, stays a
//! kernel of its own.

use super::Contract;
use super::store::InTile;
use crate::emit::element::{Element, Place};
use crate::emit::mapping::{loads, stores};
use crate::text::Class;
use bdl_dims::Dim;
use bdl_plan::{
    Access, Address, AddressTerm, AxisRole, Buffer, Contraction, KernelUse, LoopIndex, Name, Place as Home, Plan,
    passing,
};

/// Elements between the rows of a tile in shared memory.
const PADDING: u32 = 4;
/// Registers that an epilogue's values may take: what sums on ordinary cores leave to three blocks of a processor, and those on tensor cores, which
/// have more of them, give back.
const ON_ORDINARY: usize = 48;
const ON_TENSOR_CORES: usize = 128;

/// Elements that an epilogue may move for each result. An optimiser's step moves six: in the few blocks of a contraction it took two to three times
/// as long as both launches (H200).
const MOST_MOVED: usize = 4;

pub struct Epilogue<'p> {
    element: Element<'p>,
    pub used: &'p KernelUse,
    /// Is the result itself stored?
    is_stored: bool,
    columns: Dim,
    sizes: &'p [Name],
}

impl<'p> Epilogue<'p> {
    /// `None`: there is none, or it must be a launch of its own.
    pub fn of(plan: &'p Plan, c: &'p Contraction) -> Option<Epilogue<'p>> {
        let used = c.epilogue.as_ref()?;
        let kernel = plan.kernels.get(used.kernel.0 as usize)?;
        let (rows, columns) = plain_rows(c)?;
        let is_fourfold = |dim: &Dim| dim.terms().all(|(_, coefficient)| coefficient % 4 == 0);
        if !is_fourfold(&c.out.offset) {
            return None;
        }
        let mut is_result = Vec::new();
        let mut is_aligned = Vec::new();
        for (slice, buffer) in used.buffers.iter().zip(&kernel.buffers) {
            let is_own = slice.buffer == c.out.buffer;
            if is_own && slice.offset != c.out.offset {
                return None;
            }
            // Other blocks may still read their operands.
            let touches = |other: &bdl_plan::Slice| share(plan, slice, other);
            if buffer.access != Access::Read && (touches(&c.a) || touches(&c.b) || !is_own && touches(&c.out)) {
                return None;
            }
            is_result.push(is_own);
            is_aligned.push(is_fourfold(&slice.offset));
        }
        let accesses = loads(&kernel.body).into_iter().chain(stores(&kernel.body));
        let is_each = |(buffer, at): &(u32, &Address)| {
            !is_result[*buffer as usize] && at.terms.iter().any(|(term, _)| *term == AddressTerm::Index(LoopIndex(0)))
        };
        if accesses.filter(is_each).count() > MOST_MOVED {
            return None;
        }
        let element = Element::of(kernel, is_result, &is_aligned)?;
        if element.extents()? != (rows, columns.clone()) {
            return None;
        }
        let passes = passing(plan).get(c.out.buffer.0 as usize).copied().unwrap_or(false);
        let is_stored = !passes && !element.overwrites();
        Some(Epilogue { element, used, is_stored, columns, sizes: &kernel.sizes })
    }

    /// Names of sizes that the kernel mentions.
    pub fn sizes(&self) -> &'p [Name] {
        self.sizes
    }
}

/// Do two slices lie in the same memory?
fn share(plan: &Plan, one: &bdl_plan::Slice, other: &bdl_plan::Slice) -> bool {
    let slot = |buffer: &Buffer| match &buffer.place {
        Home::Slot(slot) => Some(*slot),
        Home::Param | Home::State | Home::Input { .. } | Home::Blocks | Home::Literal(_) | Home::Table(_) => None,
    };
    let [first, second] = [one, other].map(|slice| plan.buffers.get(slice.buffer.0 as usize).and_then(slot));
    one.buffer == other.buffer || first.is_some() && first == second
}

/// Rows and columns of a result that is a plain matrix: its batch, then its rows, then its columns, one after the other.
fn plain_rows(c: &Contraction) -> Option<(Dim, Dim)> {
    let is_over_result = |clip: &bdl_plan::Clip| {
        let has = |role| clip.terms.iter().any(|(axis, k)| *k != 0 && c.axes[*axis as usize].role == role);
        has(AxisRole::M) && has(AxisRole::N)
    };
    if c.accumulate || c.axes.iter().any(|axis| axis.offsets.is_some()) || c.clips.iter().any(is_over_result) {
        return None;
    }
    let mut stride = Dim::one();
    let mut extents = Vec::new();
    for role in [AxisRole::N, AxisRole::M, AxisRole::Batch] {
        let mut own = Dim::one();
        for axis in c.axes.iter().rev().filter(|axis| axis.role == role) {
            if axis.out != stride {
                return None;
            }
            stride = stride * axis.extent.clone();
            own = own * axis.extent.clone();
        }
        extents.push(own);
    }
    let [columns, rows, batch] = extents.try_into().ok()?;
    Some((batch * rows, columns))
}

impl Contract<'_> {
    /// The tile's elements through the epilogue. `first`: the block's first row and column (64 bits).
    pub fn run_epilogue(
        &mut self,
        epilogue: &Epilogue<'_>,
        results: &[String],
        of_thread: &InTile,
        (first_row, first_column): (&str, &str),
        tile: &str,
    ) -> Result<(), String> {
        let (word, bytes) = (self.word, self.bytes);
        let pitch = self.columns + PADDING;
        self.w.comment("the tile to shared memory");
        let columns: Vec<String> = of_thread
            .columns
            .iter()
            .map(|run| self.w.set(Class::B32, "mad.lo.u32", &[&run.first, &bytes.to_string(), tile]))
            .collect();
        let mut results = results;
        for row in &of_thread.rows {
            for (run, column) in of_thread.columns.iter().zip(&columns) {
                let at = self.w.set(Class::B32, "mad.lo.u32", &[row, &(pitch * bytes).to_string(), column]);
                let (own, rest) = results.split_at(run.offsets.len());
                results = rest;
                let most = run.together.min((16 / bytes) as usize);
                for (offsets, results) in run.offsets.chunks(most).zip(own.chunks(most)) {
                    let place = format!("[{at}+{}]", offsets[0] * bytes);
                    match results {
                        [one] => self.w.line(format!("st.shared.{word} {place}, {one};")),
                        [..] => {
                            let list = results.join(", ");
                            self.w.line(format!("st.shared.v{}.{word} {place}, {{{list}}};", results.len()));
                        }
                    }
                }
            }
        }
        self.w.line("bar.sync 0;");

        let firsts = (first_row, first_column);
        let elements = self.rows * self.columns / epilogue.element.count();
        let places = match elements % self.threads {
            0 => epilogue
                .element
                .together(elements / self.threads, if self.shared > 0 { ON_TENSOR_CORES } else { ON_ORDINARY }),
            _ => 1,
        };
        let (some, end) = (self.w.label("some_elements"), self.w.label("end_of_tile"));
        if places > 1 {
            self.w.comment("where the whole tile is there");
            let last_row = self.w.set(Class::B64, "add.s64", &[first_row, &self.rows.to_string()]);
            let last_column = self.w.set(Class::B64, "add.s64", &[first_column, &self.columns.to_string()]);
            let is_part = self.w.set(Class::Pred, "setp.gt.s64", &[&last_row, "%m"]);
            let is_part = self.w.set(Class::Pred, "setp.gt.or.s64", &[&last_column, "%n", &is_part]);
            self.w.line(format!("@{is_part} bra {some};"));
            self.elements(epilogue, elements, places, firsts, tile)?;
            self.w.line(format!("bra {end};"));
            self.w.place(&some);
        }
        self.elements(epilogue, elements, 1, firsts, tile)?;
        self.w.place(&end);
        Ok(())
    }

    /// The epilogue for the elements of a tile, so many places at a time; of one place it is asked whether it is there.
    fn elements(
        &mut self,
        epilogue: &Epilogue<'_>,
        elements: u32,
        places: u32,
        firsts: (&str, &str),
        tile: &str,
    ) -> Result<(), String> {
        self.w.comment(&format!("{places} times {} elements a thread", epilogue.element.count()));
        let (next, skip, end) =
            (self.w.label("next_elements"), self.w.label("no_elements"), self.w.label("end_elements"));
        let number = self.w.named(Class::B32, "elements");
        self.w.line(format!("mov.u32 {number}, %thread;"));
        self.w.place(&next);
        let done = self.w.set(Class::Pred, "setp.ge.u32", &[&number, &elements.to_string()]);
        self.w.line(format!("@{done} bra {end};"));
        self.w.deeper();
        let mut all = Vec::new();
        for i in 0..places {
            let own = match i {
                0 => number.clone(),
                _ => self.w.set(Class::B32, "add.u32", &[&number, &(i * self.threads).to_string()]),
            };
            all.push(self.place(epilogue, &own, firsts, tile, (places == 1).then_some(&*skip))?);
        }
        let buffers: Vec<String> = (0..epilogue.used.buffers.len()).map(|i| format!("%then_{i}")).collect();
        epilogue.element.code(&mut self.w, &mut self.sizes, &buffers, all)?;
        if places == 1 {
            self.w.place(&skip);
        }
        self.w.line(format!("add.u32 {number}, {number}, {};", places * self.threads));
        self.w.line(format!("bra {next};"));
        self.w.shallower();
        self.w.place(&end);
        Ok(())
    }

    /// The elements of this number, and what the tile has of them. `skip`: where it goes on if they are not there.
    fn place(
        &mut self,
        epilogue: &Epilogue<'_>,
        number: &str,
        (first_row, first_column): (&str, &str),
        tile: &str,
        skip: Option<&str>,
    ) -> Result<Place, String> {
        let (word, bytes, class, count) = (self.word, self.bytes, self.class, epilogue.element.count());
        let across = (self.columns / count).to_string();
        let row = self.w.set(Class::B32, "div.u32", &[number, &across]);
        let column = self.w.set(Class::B32, "rem.u32", &[number, &across]);
        let column = self.w.set(Class::B32, "mul.lo.u32", &[&column, &count.to_string()]);
        let place = self.w.set(Class::B32, "mad.lo.u32", &[&row, &(self.columns + PADDING).to_string(), &column]);
        let place = self.w.set(Class::B32, "mad.lo.u32", &[&place, &bytes.to_string(), tile]);
        let mut wide = |own: &str, first: &str| {
            let own = self.w.set(Class::B64, "cvt.u64.u32", &[own]);
            self.w.set(Class::B64, "add.s64", &[&own, first])
        };
        let (row, column) = (wide(&row, first_row), wide(&column, first_column));
        if let Some(skip) = skip {
            let there = self.w.set(Class::Pred, "setp.lt.s64", &[&row, "%m"]);
            let there = self.w.set(Class::Pred, "setp.lt.and.s64", &[&column, "%n", &there]);
            self.w.line(format!("@!{there} bra {skip};"));
        }
        let element = self.w.set(Class::B64, "cvt.u64.u32", &["%element"]);
        let row = self.w.set(Class::B64, "mad.lo.s64", &[&element, "%m", &row]);
        let columns = self.size(&epilogue.columns)?.text();
        let flat = self.w.set(Class::B64, "mad.lo.s64", &[&row, &columns, &column]);
        let result: Vec<String> = (0..count).map(|_| self.w.temp(class)).collect();
        let to = epilogue.is_stored.then(|| self.address("%out", &flat));
        for (i, values) in result.chunks((16 / bytes).min(count) as usize).enumerate() {
            let (by, list) = match values {
                [one] => (String::new(), one.clone()),
                [..] => (format!(".v{}", values.len()), format!("{{{}}}", values.join(", "))),
            };
            self.w.line(format!("ld.shared{by}.{word} {list}, [{place}+{}];", 16 * i));
            if let Some(to) = &to {
                self.w.line(format!("st.global{by}.{word} [{to}+{}], {list};", 16 * i));
            }
        }
        Ok(Place { row, column, flat, result })
    }

    /// Bytes of a tile in shared memory.
    pub fn tile_bytes(&self) -> u32 {
        self.rows * (self.columns + PADDING) * self.bytes
    }
}
