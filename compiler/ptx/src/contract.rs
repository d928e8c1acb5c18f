//! A contraction as PTX: 64 x 64 results a block, from pieces of 64 x 16 and 16 x 64 of the operands in shared memory.
//!
//! ```text
//!            columns                      thread (ty, tx) of 16 x 16
//!          ┌────────────┐                 ├ copies 4 elements of each piece
//!   rows   │ 64 x 64    │ += A   *  B     ├ has 4 x 4 results in registers
//!          └────────────┘   64x16  16x64  └ adds 16 products to each for every pair of pieces
//! ```
//!
//! **Addresses are affine.** A row of the result is the flat number of its (batch, m) axes, which is taken apart once a thread; the
//! sum's axes are taken apart for each piece. A convolution is read where it lies: rows overlap, nothing is copied.
//!
//! **Clips.** What a clip takes out is read as 0 by the operand whose axes it names.
//!
//! **Order of a sum.** One chain of fused multiply-adds for every 512 of k, the chains added in order: each result depends on its own row
//! and column alone, and is the CPU's to the bit where the CPU does not cut the sum.
//!
//! Deliberately absent: double buffering, tensor cores, the epilogue (a kernel of its own).

use crate::emit::dtype_word;
use crate::size::{Int, Sizes};
use crate::text::{Class, Needs, Writer, identifier};
use bdl_plan::{
    Argument, AxisRole, Clip, Contraction, ContractionAxis, DType, DeviceKernel, Name, Plan, Share, SizeKind,
};

const THREADS: u32 = 256;
/// Rows and columns of a block's result.
const TILE: u32 = 64;
/// Of the sum in one piece.
const DEPTH: u32 = 16;
/// A row of A's piece in shared memory is longer than the tile, so that its writes fall into different banks.
const A_ROW: u32 = TILE + 4;
/// After so many of k a chain of sums ends, as on the processor.
const CHAIN: u32 = bdl_kernels::contraction::CHUNK as u32;
/// The place in a chain is found by a mask.
const _: () = assert!(CHAIN.is_power_of_two());

/// An axis with the index that a thread is at.
struct At<'c> {
    axis: &'c ContractionAxis,
    number: usize,
    index: String,
}

struct Contract<'c> {
    w: Writer,
    sizes: Sizes,
    c: &'c Contraction,
    class: Class,
    word: &'static str,
    bytes: u32,
    /// Axes of the batch at this block's place.
    batch: Vec<At<'c>>,
}

/// Where a clip is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    A,
    B,
    Result,
}

/// The function of a contraction. Errors: what this form of a kernel cannot compute.
pub fn contraction(plan: &Plan, c: &Contraction, name: &str, comments: &[String]) -> Result<DeviceKernel, String> {
    let dtype = plan.buffers[c.out.buffer.0 as usize].dtype;
    let (class, bytes) = match dtype {
        DType::F32 => (Class::F32, 4),
        DType::F64 => (Class::F64, 8),
        DType::BF16 | DType::I32 | DType::I64 | DType::Bool => return Err(format!("a contraction of {dtype:?}")),
    };
    let mut k = Contract {
        w: Writer::default(),
        sizes: Sizes::default(),
        c,
        class,
        word: dtype_word(dtype),
        bytes,
        batch: Vec::new(),
    };
    let (parameters, arguments) = k.head(plan)?;
    k.body()?;
    let entry = format!("contract${}", identifier(name));
    let text = k.w.module(comments, &entry, &parameters, THREADS, Needs::LEAST);
    let share = Share::Tile { rows: TILE, columns: TILE };
    Ok(DeviceKernel { entry: entry.into(), text: text.into(), arguments, threads: THREADS, share })
}

fn is_batch(axis: &ContractionAxis) -> bool {
    axis.role == AxisRole::Batch || axis.offsets.is_some()
}

impl<'c> Contract<'c> {
    fn axes(&self, role: AxisRole) -> Vec<(usize, &'c ContractionAxis)> {
        let all = self.c.axes.iter().enumerate();
        all.filter(|(_, axis)| axis.role == role && !is_batch(axis)).collect()
    }

    /// All names of sizes that the form mentions, once.
    fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let axes = self.c.axes.iter().flat_map(|a| [&a.extent, &a.out, &a.a, &a.b]);
        let clips = self.c.clips.iter().flat_map(|clip| [&clip.offset, &clip.extent]);
        for dim in axes.chain(clips) {
            for name in dim.names() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Parameters, the place in the batch, sizes.
    fn head(&mut self, plan: &Plan) -> Result<(Vec<String>, Vec<Argument>), String> {
        let (mut parameters, mut arguments) = (Vec::new(), Vec::new());
        let mut parameter = |w: &mut Writer, name: &str, argument: Argument, comment: String| {
            parameters.push(format!(".param .u64 {name}{comment}"));
            arguments.push(argument);
            let register = w.named(Class::B64, name);
            w.head(format!("ld.param.u64 {register}, [{name}];"));
            register
        };
        let operands = [("out", &self.c.out), ("a", &self.c.a), ("b", &self.c.b)];
        for (i, (name, slice)) in operands.into_iter().enumerate() {
            let comment = format!(" /* {} */", plan.buffers[slice.buffer.0 as usize].name);
            let register = parameter(&mut self.w, name, Argument::Buffer(i as u32), comment);
            self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
        }
        let ragged: Vec<&ContractionAxis> = self.c.axes.iter().filter(|axis| axis.offsets.is_some()).collect();
        match ragged.as_slice() {
            [] => {}
            [axis] if axis.role == AxisRole::Batch || axis.role == AxisRole::M => {
                parameter(&mut self.w, "offsets", Argument::Buffer(3), String::new());
                self.w.head("cvta.to.global.u64 %offsets, %offsets;");
            }
            [..] => return Err("a contraction that sums over examples of different length one by one".to_string()),
        }
        let mut of_example = Vec::new();
        for (i, name) in self.names().into_iter().enumerate() {
            let kind = plan.sizes.iter().find(|size| size.name == name).map(|size| &size.kind);
            let register = format!("size_{}_{i}", identifier(&name));
            match kind {
                Some(SizeKind::PerExample) => {
                    let list = parameter(
                        &mut self.w,
                        &format!("lengths_{}_{i}", identifier(&name)),
                        Argument::Lengths(name.clone()),
                        String::new(),
                    );
                    self.w.head(format!("cvta.to.global.u64 {list}, {list};"));
                    of_example.push((name, register, list));
                }
                Some(SizeKind::Built | SizeKind::Batch | SizeKind::Total(_) | SizeKind::Step | SizeKind::Running) => {
                    let register = parameter(&mut self.w, &register, Argument::Size(name.clone()), String::new());
                    self.sizes.bind(&name, register);
                }
                None => return Err(format!("the size `{name}` is not declared")),
            }
        }
        parameter(&mut self.w, "row_blocks", Argument::RowBlocks, String::new());
        self.place_in_batch(of_example)?;
        Ok((parameters, arguments))
    }

    /// Which element of the batch and which rows: block x is `element * row_blocks + block of rows`.
    fn place_in_batch(&mut self, of_example: Vec<(Name, String, String)>) -> Result<(), String> {
        let w = &mut self.w;
        for (register, special) in [("%block", "%ctaid.x"), ("%column_block", "%ctaid.y"), ("%thread", "%tid.x")] {
            w.named(Class::B32, &register[1..]);
            w.head(format!("mov.u32 {register}, {special};"));
        }
        for register in ["narrow_row_blocks", "element", "row_block"] {
            w.named(Class::B32, register);
        }
        w.head("cvt.u32.u64 %narrow_row_blocks, %row_blocks;");
        w.head("div.u32 %element, %block, %narrow_row_blocks;");
        w.head("rem.u32 %row_block, %block, %narrow_row_blocks;");
        let axes: Vec<(usize, &'c ContractionAxis)> =
            self.c.axes.iter().enumerate().filter(|(_, axis)| is_batch(axis)).collect();
        let mut rest = "%element".to_string();
        let mut found = Vec::new();
        for (place, (number, axis)) in axes.iter().enumerate().rev() {
            let index = self.w.named(Class::B64, &format!("batch_{}_{number}", identifier(&axis.name)));
            if place == 0 {
                self.w.head(format!("cvt.u64.u32 {index}, {rest};"));
            } else {
                let extent = self.sizes.get(&mut self.w, &axis.extent)?;
                let (narrow, quotient, own) =
                    (self.w.temp(Class::B32), self.w.temp(Class::B32), self.w.temp(Class::B32));
                match extent {
                    Int::Const(c) => self.w.head(format!("mov.u32 {narrow}, {c};")),
                    Int::Register(register) => self.w.head(format!("cvt.u32.u64 {narrow}, {register};")),
                }
                self.w.head(format!("div.u32 {quotient}, {rest}, {narrow};"));
                self.w.head(format!("rem.u32 {own}, {rest}, {narrow};"));
                self.w.head(format!("cvt.u64.u32 {index}, {own};"));
                rest = quotient;
            }
            if axis.offsets.is_some() {
                for (name, register, list) in &of_example {
                    let (at, size) = (self.w.temp(Class::B64), self.w.named(Class::B64, register));
                    self.w.head(format!("mad.lo.s64 {at}, {index}, 8, {list};"));
                    self.w.head(format!("ld.global.b64 {size}, [{at}];"));
                    self.sizes.bind(name, size);
                }
                // Where this example begins takes the place of its number.
                let (at, first) = (self.w.temp(Class::B64), self.w.named(Class::B64, "first_of_example"));
                self.w.head(format!("mad.lo.s64 {at}, {index}, 8, %offsets;"));
                self.w.head(format!("ld.global.b64 {first}, [{at}];"));
                found.push(At { axis, number: *number, index: first });
            } else {
                found.push(At { axis, number: *number, index });
            }
        }
        found.reverse();
        self.batch = found;
        Ok(())
    }

    fn size(&mut self, dim: &bdl_dims::Dim) -> Result<Int, String> {
        self.sizes.get(&mut self.w, dim)
    }

    /// The product of extents, in the head.
    fn extent(&mut self, axes: &[(usize, &ContractionAxis)], name: &str) -> Result<String, String> {
        let product = axes.iter().map(|(_, axis)| axis.extent.clone()).product::<bdl_dims::Dim>();
        let value = self.size(&product)?.text();
        let register = self.w.named(Class::B64, name);
        self.w.head(format!("mov.b64 {register}, {value};"));
        Ok(register)
    }

    /// The indices of axes at a flat number (64 bits) of them, the last one fastest.
    fn apart(&mut self, flat: &str, axes: &[(usize, &'c ContractionAxis)]) -> Result<Vec<At<'c>>, String> {
        let mut found = Vec::new();
        let mut rest = flat.to_string();
        for (place, (number, axis)) in axes.iter().enumerate().rev() {
            if place == 0 {
                found.push(At { axis, number: *number, index: rest.clone() });
                break;
            }
            let extent = self.size(&axis.extent)?;
            let narrow = self.w.set(Class::B32, "cvt.u32.u64", &[&rest]);
            let extent = match extent {
                Int::Const(c) => c.to_string(),
                Int::Register(register) => self.w.set(Class::B32, "cvt.u32.u64", &[&register]),
            };
            let quotient = self.w.set(Class::B32, "div.u32", &[&narrow, &extent]);
            let product = self.w.set(Class::B32, "mul.lo.u32", &[&quotient, &extent]);
            let own = self.w.set(Class::B32, "sub.u32", &[&narrow, &product]);
            let index = self.w.set(Class::B64, "cvt.u64.u32", &[&own]);
            found.push(At { axis, number: *number, index });
            rest = self.w.set(Class::B64, "cvt.u64.u32", &[&quotient]);
        }
        Ok(found)
    }

    /// `start + sum of stride * index`.
    fn offset(
        &mut self,
        start: Option<&str>,
        at: &[At<'c>],
        stride: impl Fn(&ContractionAxis) -> &bdl_dims::Dim,
    ) -> Result<Option<String>, String> {
        let mut total = start.map(str::to_string);
        for At { axis, index, .. } in at {
            let stride = self.size(stride(axis))?;
            total = match (total, stride.as_const()) {
                (total, Some(0)) => total,
                (None, Some(1)) => Some(index.clone()),
                (Some(total), Some(1)) => Some(self.w.set(Class::B64, "add.s64", &[&total, index])),
                (None, _) => Some(self.w.set(Class::B64, "mul.lo.s64", &[index, &stride.text()])),
                (Some(total), _) => Some(self.w.set(Class::B64, "mad.lo.s64", &[index, &stride.text(), &total])),
            };
        }
        Ok(total)
    }

    /// An operand's address moved to this place of the batch.
    fn base(&mut self, operand: &str, stride: impl Fn(&ContractionAxis) -> &bdl_dims::Dim) -> Result<String, String> {
        let batch = std::mem::take(&mut self.batch);
        let elements = self.offset(None, &batch, stride);
        self.batch = batch;
        Ok(match elements? {
            None => operand.to_string(),
            Some(elements) => self.address(operand, &elements),
        })
    }

    fn address(&mut self, base: &str, elements: &str) -> String {
        let bytes = self.bytes.to_string();
        self.w.set(Class::B64, "mad.lo.s64", &[elements, &bytes, base])
    }

    fn gate(&self, clip: &Clip) -> Result<Gate, String> {
        let has = |role: AxisRole| {
            clip.terms.iter().any(|(axis, k)| {
                let axis = &self.c.axes[*axis as usize];
                *k != 0 && axis.role == role && !is_batch(axis)
            })
        };
        match (has(AxisRole::M), has(AxisRole::N), has(AxisRole::K)) {
            (_, false, _) => Ok(Gate::A),
            (false, true, _) => Ok(Gate::B),
            (true, true, false) => Ok(Gate::Result),
            (true, true, true) => Err("a clip over rows, columns and sum of a contraction".to_string()),
        }
    }

    /// The part of a clip's form that these axes have, added to `start`.
    fn form(&mut self, clip: &Clip, start: Option<&str>, at: &[At<'c>]) -> Option<String> {
        let mut total = start.map(str::to_string);
        for At { number, index, axis } in at {
            // Where an example begins is no part of a form.
            if axis.offsets.is_some() {
                continue;
            }
            for (_, coefficient) in clip.terms.iter().filter(|(axis, _)| *axis as usize == *number) {
                let coefficient = coefficient.to_string();
                total = Some(match total {
                    None => self.w.set(Class::B64, "mul.lo.s64", &[index, &coefficient]),
                    Some(total) => self.w.set(Class::B64, "mad.lo.s64", &[index, &coefficient, &total]),
                });
            }
        }
        total
    }

    /// Each clip of a gate with its form so far: the offset and what the batch adds.
    fn clips(&mut self, gate: Gate) -> Result<Vec<(&'c Clip, String)>, String> {
        let mut found = Vec::new();
        for clip in &self.c.clips {
            if self.gate(clip)? != gate {
                continue;
            }
            let offset = self.size(&clip.offset)?.text();
            let start = self.w.set(Class::B64, "mov.b64", &[&offset]);
            let batch = std::mem::take(&mut self.batch);
            let form = self.form(clip, Some(&start), &batch).unwrap_or(start);
            self.batch = batch;
            found.push((clip, form));
        }
        Ok(found)
    }

    /// `valid`, and the forms inside of their clips at `at`.
    fn inside(&mut self, valid: &str, clips: &[(&'c Clip, String)], at: &[At<'c>]) -> Result<String, String> {
        let mut valid = valid.to_string();
        for (clip, start) in clips {
            let form = self.form(clip, Some(start), at).unwrap_or_else(|| start.clone());
            let extent = self.size(&clip.extent)?.text();
            let above = self.w.set(Class::Pred, "setp.ge.and.s64", &[&form, "0", &valid]);
            valid = self.w.set(Class::Pred, "setp.lt.and.s64", &[&form, &extent, &above]);
        }
        Ok(valid)
    }

    fn body(&mut self) -> Result<(), String> {
        let (word, class, bytes) = (self.word, self.class, self.bytes);
        let zero = if class == Class::F64 { "0d0000000000000000" } else { "0f00000000" };
        let (m_axes, n_axes, k_axes) = (self.axes(AxisRole::M), self.axes(AxisRole::N), self.axes(AxisRole::K));
        let m = self.extent(&m_axes, "m")?;
        let n = self.extent(&n_axes, "n")?;
        let k = self.extent(&k_axes, "k")?;
        self.w.shared("a_piece", class, DEPTH * A_ROW);
        self.w.shared("b_piece", class, DEPTH * TILE);
        let tile = TILE.to_string();
        let wide = |c: &mut Self, x: &str| c.w.set(Class::B64, "cvt.u64.u32", &[x]);

        self.w.comment("the rows and columns of this block; rows behind the last are nobody's");
        let first_row = self.w.set(Class::B64, "mul.wide.u32", &["%row_block", &tile]);
        let first_column = self.w.set(Class::B64, "mul.wide.u32", &["%column_block", &tile]);
        let outside = self.w.set(Class::Pred, "setp.ge.s64", &[&first_row, &m]);
        self.w.line(format!("@{outside} ret;"));

        self.w.comment("this thread copies a[row, 4 of k] ..");
        let a_row = self.w.set(Class::B32, "shr.u32", &["%thread", "2"]);
        let a_k = self.w.set(Class::B32, "and.b32", &["%thread", "3"]);
        let a_k = self.w.set(Class::B32, "shl.b32", &[&a_k, "2"]);
        let row = wide(self, &a_row);
        let row = self.w.set(Class::B64, "add.s64", &[&row, &first_row]);
        let row_there = self.w.set(Class::Pred, "setp.lt.s64", &[&row, &m]);
        let a_base = self.base("%a", |axis| &axis.a)?;
        let a_clips = self.clips(Gate::A)?;
        let at_row = self.apart(&row, &m_axes)?;
        let a_base = match self.offset(None, &at_row, |axis| &axis.a)? {
            None => a_base,
            Some(elements) => self.address(&a_base, &elements),
        };
        let mut a_forms = Vec::new();
        for (clip, start) in a_clips {
            let form = self.form(clip, Some(&start), &at_row).unwrap_or(start);
            a_forms.push((clip, form));
        }
        let a_piece = self.w.set(Class::B32, "mov.u32", &["a_piece"]);
        let a_to = self.w.set(Class::B32, "mad.lo.u32", &[&a_k, &A_ROW.to_string(), &a_row]);
        let a_to = self.w.set(Class::B32, "mad.lo.u32", &[&a_to, &bytes.to_string(), &a_piece]);
        let a_k = wide(self, &a_k);

        self.w.comment(".. and b[one of k, 4 columns]");
        let b_k = self.w.set(Class::B32, "shr.u32", &["%thread", "4"]);
        let b_column = self.w.set(Class::B32, "and.b32", &["%thread", "15"]);
        let b_column = self.w.set(Class::B32, "shl.b32", &[&b_column, "2"]);
        let b_base = self.base("%b", |axis| &axis.b)?;
        let b_clips = self.clips(Gate::B)?;
        let column = wide(self, &b_column);
        let column = self.w.set(Class::B64, "add.s64", &[&column, &first_column]);
        let mut columns = Vec::new();
        for j in 0..4 {
            let own =
                if j == 0 { column.clone() } else { self.w.set(Class::B64, "add.s64", &[&column, &j.to_string()]) };
            let there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, &n]);
            let at = self.apart(&own, &n_axes)?;
            let base = match self.offset(None, &at, |axis| &axis.b)? {
                None => b_base.clone(),
                Some(elements) => self.address(&b_base, &elements),
            };
            let mut forms = Vec::new();
            for (clip, start) in &b_clips {
                let form = self.form(clip, Some(start), &at).unwrap_or_else(|| start.clone());
                forms.push((*clip, form));
            }
            columns.push((there, base, forms));
        }
        let b_piece = self.w.set(Class::B32, "mov.u32", &["b_piece"]);
        let b_to = self.w.set(Class::B32, "mad.lo.u32", &[&b_k, &tile, &b_column]);
        let b_to = self.w.set(Class::B32, "mad.lo.u32", &[&b_to, &bytes.to_string(), &b_piece]);
        let b_k = wide(self, &b_k);

        self.w.comment("its 4 x 4 results");
        let ty = self.w.set(Class::B32, "shr.u32", &["%thread", "4"]);
        let tx = self.w.set(Class::B32, "and.b32", &["%thread", "15"]);
        let four = (4 * bytes).to_string();
        let a_from = self.w.set(Class::B32, "mad.lo.u32", &[&ty, &four, &a_piece]);
        let b_from = self.w.set(Class::B32, "mad.lo.u32", &[&tx, &four, &b_piece]);
        let sums: Vec<String> = (0..16).map(|i| self.w.named(class, &format!("sum_{}_{}", i / 4, i % 4))).collect();
        for sum in &sums {
            self.w.line(format!("mov.{word} {sum}, {zero};"));
        }
        // A short sum is one chain.
        let product = k_axes.iter().map(|(_, axis)| axis.extent.clone()).product::<bdl_dims::Dim>();
        let is_long = product.as_const().is_none_or(|k| k > i64::from(CHAIN));
        let totals: Vec<String> = match is_long {
            true => (0..16).map(|i| self.w.named(class, &format!("total_{}_{}", i / 4, i % 4))).collect(),
            false => Vec::new(),
        };
        for total in &totals {
            self.w.line(format!("mov.{word} {total}, {zero};"));
        }

        self.w.comment("for pieces of the sum");
        let k0 = self.w.named(Class::B64, "k_piece");
        let (next, end) = (self.w.label("next_piece"), self.w.label("end_of_sum"));
        self.w.line(format!("mov.b64 {k0}, 0;"));
        self.w.place(&next);
        let done = self.w.set(Class::Pred, "setp.ge.s64", &[&k0, &k]);
        self.w.line(format!("@{done} bra {end};"));
        self.w.deeper();
        if is_long {
            self.w.comment("a chain ends");
            let skip = self.w.label("same_chain");
            let in_chain = self.w.set(Class::B64, "and.b64", &[&k0, &(CHAIN - 1).to_string()]);
            let inside = self.w.set(Class::Pred, "setp.ne.s64", &[&in_chain, "0"]);
            self.w.line(format!("@{inside} bra {skip};"));
            for (total, sum) in totals.iter().zip(&sums) {
                self.w.line(format!("add.rn.{word} {total}, {total}, {sum};"));
                self.w.line(format!("mov.{word} {sum}, {zero};"));
            }
            self.w.place(&skip);
        }
        let own_k = self.w.set(Class::B64, "add.s64", &[&k0, &a_k]);
        for i in 0..4u32 {
            let own = if i == 0 { own_k.clone() } else { self.w.set(Class::B64, "add.s64", &[&own_k, &i.to_string()]) };
            let there = self.w.set(Class::Pred, "setp.lt.and.s64", &[&own, &k, &row_there]);
            let at = self.apart(&own, &k_axes)?;
            let there = self.inside(&there, &a_forms, &at)?;
            let address = match self.offset(None, &at, |axis| &axis.a)? {
                None => a_base.clone(),
                Some(elements) => self.address(&a_base, &elements),
            };
            let element = self.w.set(class, &format!("mov.{word}"), &[zero]);
            self.w.line(format!("@{there} ld.global.{word} {element}, [{address}];"));
            self.w.line(format!("st.shared.{word} [{a_to}+{}], {element};", i * A_ROW * bytes));
        }
        let own = self.w.set(Class::B64, "add.s64", &[&k0, &b_k]);
        let k_there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, &k]);
        let at = self.apart(&own, &k_axes)?;
        let along = self.offset(None, &at, |axis| &axis.b)?;
        for (j, (there, base, forms)) in columns.iter().enumerate() {
            let there = self.w.set(Class::Pred, "and.pred", &[there, &k_there]);
            let there = self.inside(&there, forms, &at)?;
            let address = match &along {
                None => base.clone(),
                Some(elements) => self.address(base, elements),
            };
            let element = self.w.set(class, &format!("mov.{word}"), &[zero]);
            self.w.line(format!("@{there} ld.global.{word} {element}, [{address}];"));
            self.w.line(format!("st.shared.{word} [{b_to}+{}], {element};", j as u32 * bytes));
        }
        self.w.line("bar.sync 0;");
        self.products(&a_from, &b_from, &sums);
        self.w.line("bar.sync 0;");
        self.w.line(format!("add.s64 {k0}, {k0}, {DEPTH};"));
        self.w.line(format!("bra {next};"));
        self.w.shallower();
        self.w.place(&end);
        let results = match is_long {
            true => {
                for (total, sum) in totals.iter().zip(&sums) {
                    self.w.line(format!("add.rn.{word} {total}, {total}, {sum};"));
                }
                totals
            }
            false => sums,
        };
        self.store(&results, (&ty, &first_row, &m, &m_axes), (&tx, &first_column, &n, &n_axes))
    }

    /// The products of one pair of pieces, in the order of the sum.
    fn products(&mut self, a_from: &str, b_from: &str, sums: &[String]) {
        /// Of a piece, written out.
        const STEPS: u32 = 4;
        let (word, class, bytes) = (self.word, self.class, self.bytes);
        let (a_row, b_row) = (A_ROW * bytes, TILE * bytes);
        let (a_at, b_at) = (self.w.named(Class::B32, "a_at"), self.w.named(Class::B32, "b_at"));
        let count = self.w.named(Class::B32, "step");
        self.w.line(format!("mov.u32 {a_at}, {a_from};"));
        self.w.line(format!("mov.u32 {b_at}, {b_from};"));
        self.w.line(format!("mov.u32 {count}, 0;"));
        let next = self.w.label("next_products");
        self.w.place(&next);
        for step in 0..STEPS {
            let a: Vec<String> = (0..4).map(|_| self.w.temp(class)).collect();
            let b: Vec<String> = (0..4).map(|_| self.w.temp(class)).collect();
            for (registers, from, row) in [(&a, &a_at, a_row), (&b, &b_at, b_row)] {
                // Sixteen bytes at a time.
                let wide = (16 / bytes) as usize;
                for (part, registers) in registers.chunks(wide).enumerate() {
                    let at = step * row + part as u32 * 16;
                    let list = registers.join(", ");
                    self.w.line(format!("ld.shared.v{wide}.{word} {{{list}}}, [{from}+{at}];"));
                }
            }
            for (i, sum) in sums.iter().enumerate() {
                self.w.line(format!("fma.rn.{word} {sum}, {}, {}, {sum};", a[i / 4], b[i % 4]));
            }
        }
        self.w.line(format!("add.u32 {a_at}, {a_at}, {};", STEPS * a_row));
        self.w.line(format!("add.u32 {b_at}, {b_at}, {};", STEPS * b_row));
        self.w.line(format!("add.u32 {count}, {count}, {STEPS};"));
        let more = self.w.set(Class::Pred, "setp.lt.u32", &[&count, &DEPTH.to_string()]);
        self.w.line(format!("@{more} bra {next};"));
    }

    /// The 4 x 4 results of a thread; `side`: its place, the block's first row or column, how many there are, their axes.
    #[allow(clippy::type_complexity)]
    fn store(
        &mut self,
        results: &[String],
        rows: (&str, &str, &str, &[(usize, &'c ContractionAxis)]),
        columns: (&str, &str, &str, &[(usize, &'c ContractionAxis)]),
    ) -> Result<(), String> {
        self.w.comment("the results to their places");
        let word = self.word;
        let base = self.base("%out", |axis| &axis.out)?;
        let clips = self.clips(Gate::Result)?;
        let mut sides = Vec::new();
        for (place, first, count, axes) in [rows, columns] {
            let own = self.w.set(Class::B64, "mul.wide.u32", &[place, "4"]);
            let own = self.w.set(Class::B64, "add.s64", &[&own, first]);
            let mut four = Vec::new();
            for i in 0..4 {
                let own = if i == 0 { own.clone() } else { self.w.set(Class::B64, "add.s64", &[&own, &i.to_string()]) };
                let there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, count]);
                let at = self.apart(&own, axes)?;
                let elements = self.offset(None, &at, |axis| &axis.out)?;
                four.push((there, at, elements));
            }
            sides.push(four);
        }
        let [rows, columns] = &sides[..] else { return Ok(()) };
        for (i, (row_there, row_at, row_elements)) in rows.iter().enumerate() {
            let row_base = match row_elements {
                None => base.clone(),
                Some(elements) => self.address(&base, elements),
            };
            for (j, (column_there, column_at, column_elements)) in columns.iter().enumerate() {
                let there = self.w.set(Class::Pred, "and.pred", &[row_there, column_there]);
                let address = match column_elements {
                    None => row_base.clone(),
                    Some(elements) => self.address(&row_base, elements),
                };
                let mut result = results[4 * i + j].clone();
                for (clip, start) in &clips {
                    let form = self.form(clip, Some(start), row_at).unwrap_or_else(|| start.clone());
                    let form = self.form(clip, Some(&form), column_at).unwrap_or(form);
                    let extent = self.size(&clip.extent)?.text();
                    let above = self.w.set(Class::Pred, "setp.ge.s64", &[&form, "0"]);
                    let inside = self.w.set(Class::Pred, "setp.lt.and.s64", &[&form, &extent, &above]);
                    let zero = if self.class == Class::F64 { "0d0000000000000000" } else { "0f00000000" };
                    result = self.w.set(self.class, &format!("selp.{word}"), &[&result, zero, &inside]);
                }
                if self.c.accumulate {
                    let old = self.w.set(self.class, &format!("mov.{word}"), &[&result]);
                    self.w.line(format!("@{there} ld.global.{word} {old}, [{address}];"));
                    result = self.w.set(self.class, &format!("add.rn.{word}"), &[&old, &result]);
                }
                self.w.line(format!("@{there} st.global.{word} [{address}], {result};"));
            }
        }
        Ok(())
    }
}
