//! Contractions as PTX: a block computes a tile of the result from pieces of the operands in shared memory.
//!
//! | module | job |
//! |---|---|
//! | `merged` | axes that walk on where the next ends become one |
//! | `tile` | exact products on the ordinary cores, f32 and f64 |
//! | `tensor` | products of tf32 or bf16 on tensor cores |
//! | `warpgroup` | the same on those of sm_90a, four warps together |
//! | `copies` | what a thread copies of the operands for those, from where |
//! | `partial` | sums that several blocks share |
//! | `store` | results to their places |
//! | `epilogue` | results through the kernel that follows, where it is element-wise |
//!
//! **Addresses are affine.** A row of the result is the flat number of its (batch, m) axes, which is taken apart once a thread; the
//! sum's axes are taken apart for each piece. A convolution is read where it lies: rows overlap, nothing is copied.
//!
//! **Clips.** What a clip takes out is read as 0 by the operand whose axes it names.

mod copies;
mod epilogue;
pub mod merged;
mod partial;
mod store;
mod tensor;
mod tile;
mod warpgroup;

pub use self::tile::CHAIN;

use self::epilogue::Epilogue;
use self::tensor::{Factor, Shape};
use crate::code::{Generation, Wanted};
use crate::emit::dtype_word;
use crate::emit::mapping::TYPICAL;
use crate::size::{Int, Sizes, divided};
use crate::text::{Class, Needs, Writer, identifier};
use bdl_plan::{
    Algorithm, Argument, AxisRole, Clip, Contraction, ContractionAxis, DType, DeviceKernel, Name, OF_EPILOGUE, Parts,
    Plan, Products, Share, SizeKind, Slice,
};

/// An axis with the index that a thread is at.
struct At<'c> {
    axis: &'c ContractionAxis,
    number: usize,
    index: String,
    /// Of an axis over examples of different length, where the example begins in the result and in each operand.
    firsts: Option<[String; 3]>,
}

/// The result or an operand.
#[derive(Clone, Copy, Debug)]
enum Of {
    Out,
    A,
    B,
}

impl Of {
    const ALL: [Of; 3] = [Of::Out, Of::A, Of::B];

    fn name(self) -> &'static str {
        match self {
            Of::Out => "out",
            Of::A => "a",
            Of::B => "b",
        }
    }

    fn slice(self, c: &Contraction) -> &Slice {
        match self {
            Of::Out => &c.out,
            Of::A => &c.a,
            Of::B => &c.b,
        }
    }

    /// The register that has its address.
    fn pointer(self) -> &'static str {
        match self {
            Of::Out => "%out",
            Of::A => "%a",
            Of::B => "%b",
        }
    }

    fn stride(self, axis: &ContractionAxis) -> &bdl_dims::Dim {
        match self {
            Of::Out => &axis.out,
            Of::A => &axis.a,
            Of::B => &axis.b,
        }
    }
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
    /// Sizes that differ from example to example.
    per_example: Vec<Name>,
    /// What sizes are as a rule.
    usual: Vec<(Name, i64)>,
    threads: u32,
    /// Of a tile.
    rows: u32,
    columns: u32,
    /// What runs on the results.
    epilogue: Option<Epilogue<'c>>,
    parts: Parts,
    /// Are factors rounded? Then the order of a sum is free.
    is_rounded: bool,
    /// Bytes of shared memory that the launch asks for.
    shared: u32,
}

/// Where a clip is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    A,
    B,
    Result,
}

/// The function of a contraction. Errors: what this form of a kernel cannot compute.
pub fn contraction(
    plan: &Plan,
    c: &Contraction,
    name: &str,
    comments: &[String],
    wanted: Wanted,
) -> Result<DeviceKernel, String> {
    match c.algorithm {
        Algorithm::AsWritten => {}
        Algorithm::Winograd => return Err("Winograd's algorithm is not there on a GPU".to_string()),
    }
    let epilogue = Epilogue::of(plan, c);
    let merged = merged::merged(c);
    let c = &merged;
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
        per_example: plan.sizes.iter().filter(|s| s.kind == SizeKind::PerExample).map(|s| s.name.clone()).collect(),
        usual: usual(plan, wanted.batch),
        threads: tile::THREADS,
        rows: tile::TILE,
        columns: tile::TILE,
        epilogue,
        parts: Parts::Whole,
        is_rounded: false,
        shared: 0,
    };
    let factor = match (wanted.products, dtype) {
        (Products::Tf32, DType::F32) => Some(Factor::Tf32),
        (Products::Bf16, DType::F32) => Some(Factor::Bf16),
        (Products::Exact | Products::Tf32 | Products::Bf16, _) => None,
    };
    k.is_rounded = factor.is_some();
    let body = k.body(plan, factor, wanted)?;
    k.parts = match &body {
        Body::Tile => k.parts_of_chains(plan, tile::CHAIN),
        Body::Tensor(shape, _) => k.parts_on_tensor_cores(plan, shape),
        Body::Warpgroup(_, parts, _) => *parts,
    };
    if let Body::Tensor(shape, _) | Body::Warpgroup(shape, ..) = &body {
        (k.threads, k.rows, k.columns) = (shape.threads(), shape.rows, shape.columns);
    }
    let (parameters, arguments) = k.head(plan)?;
    let needs = match &body {
        Body::Tile => {
            k.tile_body()?;
            Needs::LEAST
        }
        Body::Tensor(shape, factor) => {
            k.tensor_body(shape, *factor)?;
            tensor::NEEDS
        }
        Body::Warpgroup(shape, _, factor) => {
            k.warpgroup_body(shape, *factor)?;
            warpgroup::NEEDS
        }
    };
    let entry = format!("contract${}", identifier(name));
    let (threads, rows, columns) = (k.threads, k.rows, k.columns);
    let share = Share::Tile { rows, columns, parts: k.parts, bytes: rows * columns * bytes };
    let shared = k.shared;
    let text = k.w.module(comments, &entry, &parameters, threads, needs);
    Ok(DeviceKernel {
        entry: entry.into(),
        text: text.into(),
        arguments,
        threads,
        shared,
        shared_unit: 0,
        shared_units: 0,
        share,
    })
}

/// What computes a tile.
enum Body {
    Tile,
    Tensor(Shape, Factor),
    Warpgroup(Shape, Parts, Factor),
}

/// What sizes are as a rule, with so many examples at a time.
fn usual(plan: &Plan, batch: Option<u32>) -> Vec<(Name, i64)> {
    let batch = batch.map_or(TYPICAL, i64::from);
    let size = |kind: &SizeKind| match kind {
        SizeKind::Batch => batch,
        SizeKind::Total(_) => batch * TYPICAL,
        SizeKind::Built | SizeKind::PerExample | SizeKind::Step | SizeKind::Running => TYPICAL,
    };
    plan.sizes.iter().map(|declared| (declared.name.clone(), size(&declared.kind))).collect()
}

/// Does a contraction run the kernel that follows it? Else that is a launch of its own.
pub fn runs_epilogue(plan: &Plan, c: &Contraction) -> bool {
    Epilogue::of(plan, c).is_some()
}

fn is_batch(axis: &ContractionAxis) -> bool {
    axis.role == AxisRole::Batch || axis.offsets.is_some()
}

impl<'c> Contract<'c> {
    /// `factor`: what tensor cores multiply, where they do.
    fn body(&self, plan: &Plan, factor: Option<Factor>, wanted: Wanted) -> Result<Body, String> {
        let Some(factor) = factor else { return Ok(Body::Tile) };
        let of_warpgroups = match wanted.generation {
            Generation::Any => None,
            Generation::Hopper => self.warpgroup_shape(plan)?,
        };
        Ok(match of_warpgroups {
            Some((shape, parts)) => Body::Warpgroup(shape, parts, factor),
            None => Body::Tensor(self.tensor_shape()?, factor),
        })
    }

    /// How many elements axes have as a rule.
    fn usual_extent(&self, axes: &[(usize, &ContractionAxis)]) -> u64 {
        let of = |name: &str| self.usual.iter().find(|(size, _)| &**size == name).map(|(_, value)| *value);
        let product = axes.iter().map(|(_, axis)| axis.extent.clone()).product::<bdl_dims::Dim>();
        product.eval(&of).unwrap_or(i64::MAX).max(1).unsigned_abs()
    }

    /// In the order in which they are walked, the last one fastest. Of a sum that is rounded anyway, what lies side by side comes last: sixteen bytes of it
    /// are read at once.
    fn axes(&self, role: AxisRole) -> Vec<(usize, &'c ContractionAxis)> {
        let all = self.c.axes.iter().enumerate();
        let mut found: Vec<_> = all.filter(|(_, axis)| axis.role == role && !is_batch(axis)).collect();
        if role == AxisRole::K && self.is_rounded {
            let is_step = |dim: &bdl_dims::Dim| dim.as_const() == Some(1);
            found.sort_by_key(|(_, axis)| u32::from(is_step(&axis.a)) + u32::from(is_step(&axis.b)));
        }
        found
    }

    /// All names of sizes that the form mentions, once.
    fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let axes = self.c.axes.iter().flat_map(|a| [&a.extent, &a.out, &a.a, &a.b]);
        let clips = self.c.clips.iter().flat_map(|clip| [&clip.offset, &clip.extent]);
        let slices = Of::ALL.into_iter().map(|of| &of.slice(self.c).offset);
        let slices = slices.filter(|dim| dim.mentions_any(&|name| self.per_example.iter().any(|size| **size == *name)));
        let of_form = axes.chain(clips).chain(slices).flat_map(|dim| dim.names());
        for name in of_form.chain(self.epilogue.iter().flat_map(|epilogue| epilogue.sizes().iter().cloned())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Parameters, the place in the batch, sizes.
    fn head(&mut self, plan: &Plan) -> Result<(Vec<String>, Vec<Argument>), String> {
        let (mut parameters, mut arguments) = (Vec::new(), Vec::new());
        let mut parameter = |w: &mut Writer, name: &str, argument: Argument| {
            parameters.push(format!(".param .u64 {name}"));
            arguments.push(argument);
            let register = w.named(Class::B64, name);
            w.head(format!("ld.param.u64 {register}, [{name}];"));
            register
        };
        for (i, name) in ["out", "a", "b"].into_iter().enumerate() {
            let register = parameter(&mut self.w, name, Argument::Buffer(i as u32));
            self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
        }
        let ragged: Vec<&ContractionAxis> = self.c.axes.iter().filter(|axis| axis.offsets.is_some()).collect();
        match ragged.as_slice() {
            [] => {}
            [axis] if axis.role == AxisRole::Batch || axis.role == AxisRole::M => {
                // Steps and ends of the example are in registers, too.
                if !self.c.clips.is_empty() {
                    self.w.take_registers();
                }
                for (i, of) in Of::ALL.into_iter().enumerate() {
                    let table = format!("offsets_{}", of.name());
                    let register = parameter(&mut self.w, &table, Argument::Buffer(3 + i as u32));
                    self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
                }
            }
            [..] => return Err("a contraction that sums over examples of different length one by one".to_string()),
        }
        let of_epilogue = self.epilogue.as_ref().map_or(0, |epilogue| epilogue.used.buffers.len() as u32);
        for i in 0..of_epilogue {
            let register = parameter(&mut self.w, &format!("then_{i}"), Argument::Buffer(OF_EPILOGUE + i));
            self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
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
                    );
                    self.w.head(format!("cvta.to.global.u64 {list}, {list};"));
                    of_example.push((name, register, list));
                }
                Some(SizeKind::Built | SizeKind::Batch | SizeKind::Total(_) | SizeKind::Step | SizeKind::Running) => {
                    let register = parameter(&mut self.w, &register, Argument::Size(name.clone()));
                    self.sizes.bind(&name, register);
                }
                None => return Err(format!("the size `{name}` is not declared")),
            }
        }
        parameter(&mut self.w, "row_blocks", Argument::RowBlocks);
        if self.parts != Parts::Whole {
            let of_parts = [
                ("parts", Argument::Parts),
                ("part", Argument::PartLength),
                ("partials", Argument::Partials),
                ("counters", Argument::Counters),
            ];
            for (name, argument) in of_parts {
                parameter(&mut self.w, name, argument);
            }
            self.w.head("cvta.to.global.u64 %partials, %partials;");
            self.w.head("cvta.to.global.u64 %counters, %counters;");
        }
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
        if self.parts != Parts::Whole {
            // Of the blocks in y, as many beside one another as the sum has parts.
            for register in ["narrow_parts", "part_number"] {
                w.named(Class::B32, register);
            }
            w.head("cvt.u32.u64 %narrow_parts, %parts;");
            w.head("rem.u32 %part_number, %column_block, %narrow_parts;");
            w.head("div.u32 %column_block, %column_block, %narrow_parts;");
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
                let firsts = Of::ALL.map(|of| {
                    let (at, first) =
                        (self.w.temp(Class::B64), self.w.named(Class::B64, &format!("first_in_{}", of.name())));
                    self.w.head(format!("mad.lo.s64 {at}, {index}, 8, %offsets_{};", of.name()));
                    self.w.head(format!("ld.global.b64 {first}, [{at}];"));
                    first
                });
                found.push(At { axis, number: *number, index, firsts: Some(firsts) });
            } else {
                found.push(At { axis, number: *number, index, firsts: None });
            }
        }
        found.reverse();
        self.batch = found;
        Ok(())
    }

    /// The first row and column of this block's tile (64 bits); a block that has no row ends. `m`: all rows.
    fn first_of_block(&mut self, m: &str) -> (String, String) {
        self.w.comment("the rows and columns of this block; rows behind the last are nobody's");
        let row = self.w.set(Class::B64, "mul.wide.u32", &["%row_block", &self.rows.to_string()]);
        let column = self.w.set(Class::B64, "mul.wide.u32", &["%column_block", &self.columns.to_string()]);
        let outside = self.w.set(Class::Pred, "setp.ge.s64", &[&row, m]);
        self.w.line(format!("@{outside} ret;"));
        (row, column)
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
                found.push(At { axis, number: *number, index: rest.clone(), firsts: None });
                break;
            }
            let extent = self.size(&axis.extent)?;
            let narrow = self.w.set(Class::B32, "cvt.u32.u64", &[&rest]);
            let (quotient, own) = divided(&mut self.w, &narrow, &extent);
            let index = self.w.set(Class::B64, "cvt.u64.u32", &[&own]);
            found.push(At { axis, number: *number, index, firsts: None });
            rest = self.w.set(Class::B64, "cvt.u64.u32", &[&quotient]);
        }
        Ok(found)
    }

    /// `start + sum of stride * index`, of the result or an operand.
    fn offset(&mut self, start: Option<&str>, at: &[At<'c>], of: Of) -> Result<Option<String>, String> {
        let mut total = start.map(str::to_string);
        for At { axis, index, firsts, .. } in at {
            let index = firsts.as_ref().map_or(index, |firsts| &firsts[of as usize]);
            let stride = self.size(of.stride(axis))?;
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
    fn base(&mut self, of: Of) -> Result<String, String> {
        let batch = std::mem::take(&mut self.batch);
        let offset = &of.slice(self.c).offset;
        // Else it is part of the address.
        let start = match offset.mentions_any(&|name| self.per_example.iter().any(|size| **size == *name)) {
            true => Some(self.size(offset)?.text()),
            false => None,
        };
        let start = start.map(|start| self.w.set(Class::B64, "mov.b64", &[&start]));
        let elements = self.offset(start.as_deref(), &batch, of);
        self.batch = batch;
        Ok(match elements? {
            None => of.pointer().to_string(),
            Some(elements) => self.address(of.pointer(), &elements),
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
        for At { number, index, axis, .. } in at {
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
}
