//! A kernel as PTX. `mapping` decides which part of the machine runs what.
//!
//! In a warp or block, what stands outside of the `Lanes` loops is computed by all threads alike and stored by the first.
//!
//! **Order of a reduction over lanes.** Element i of the loop goes to thread i % 32 of a warp (i % 256 of a block), which combines its own in
//! order; the lanes of a warp are then joined by distance 16, 8, 4, 2, 1, the warps in order, and the result is combined into the variable.
//!
//! **Order of a reduction that W warps of each of P blocks share.** Iteration i goes to warp i % W of block i / W % P, which combines its own in order;
//! what the warps of a block found is then combined in order, so is what the blocks found, and the result is combined into the variable. Both orders depend on the extent alone.
//!
//! What a thread sums by itself, it sums in chains (see [`bdl_plan::chains`]).

pub mod element;
mod functions;
mod gamma;
mod lanes;
mod live;
pub mod mapping;
mod memory;
mod ops;
pub mod phase;
mod shared;
mod wide;

pub use functions::formula as emit_formula;
pub use memory::{bytes_of, register_type};

use crate::size::{Int, Sizes, divided};
use crate::text::{Class, Needs, Writer, identifier};
use bdl_dims::Dim;
use bdl_plan::{
    Access, Argument, Bound, CHAIN, DType, DeviceKernel, Kernel, LoopIndex, LoopMode, Monoid, Share, Stmt, ValueId,
    ValueOp, ValueType, VariableId, chained, constant_extent,
};
use mapping::{Mapping, Point};
use std::collections::HashMap;
use wide::{Neighbours, Wide};

/// What went wrong while writing code: an operation that does not exist for a type, or is not there on a GPU.
pub type Emit<T> = Result<T, String>;

/// Threads a block.
pub const THREADS: u32 = 256;
const WARP: u32 = 32;
/// So many values and addresses (of two registers each) may be alive at once that fewer blocks at a time are better than registers in memory: left to
/// itself `ptxas` keeps to 32 registers for eight blocks of a processor and spilled at 57.
const MANY_VALUES: usize = 50;
/// All lanes of a warp take part.
const ALL_LANES: &str = "0xffffffff";

struct Emitter<'k> {
    w: Writer,
    kernel: &'k Kernel,
    point: Point,
    sizes: Sizes,
    /// Registers of the buffers' addresses.
    buffers: Vec<String>,
    /// Registers or numbers.
    values: Vec<Option<String>>,
    variables: Vec<Option<String>>,
    indices: Vec<Option<String>>,
    /// Where each value is defined.
    defs: Vec<Option<&'k ValueOp>>,
    /// Strides of the grid's index and of the loops in it where elements lie as the points are counted, and the point's number: an address with these
    /// strides needs no index.
    flat: Option<(Vec<(LoopIndex, Dim)>, String)>,
    /// The points of a thread that takes several.
    neighbours: Option<Neighbours>,
    /// Buffers whose element at the point is in registers already, and these, one for each neighbour.
    given: Option<(Vec<bool>, Vec<String>)>,
    /// Each lane's own part of what a `Lanes` loop reduces, by variable.
    accumulators: HashMap<VariableId, String>,
    in_lanes: bool,
    /// True in the thread that stores what all have alike.
    is_first: String,
    /// The thread's number in what runs a point.
    lane: String,
    /// The number of the warp in its block, in 32 bits; the thread's place in what warps exchange.
    warp: String,
    /// The number of the block's group, and of the block in it (32 bits); bytes of what it leaves for the last one.
    group: String,
    part: String,
    partial_bytes: u32,
    exchange: Option<String>,
    /// Some buffer is both stored and loaded: lanes see each other's elements only after they met.
    meets: bool,
    /// The plan's text of each statement, in order.
    lines: std::vec::IntoIter<String>,
}

/// The function of a kernel. `comments` stand above it.
pub fn kernel(kernel: &Kernel, comments: &[String]) -> Emit<DeviceKernel> {
    let mapping = Mapping::of(kernel);
    let point = mapping.point;
    let mut e = Emitter::new(Writer::default(), kernel, point);
    let wide = Wide::of(kernel, &mapping);
    let elements = wide.as_ref().map_or(1, |wide| wide.count);
    // Loops are unrolled, each with values of all neighbours.
    let is_wide_loop = elements > 1 && wide::has_loops(&kernel.body, mapping.folded.len());
    if is_wide_loop || kernel.values.len() * elements + 2 * kernel.buffers.len() > MANY_VALUES {
        e.w.take_registers();
    }
    let (parameters, arguments) = e.parameters();
    let grid = e.w.named(Class::B64, "grid");
    e.w.head(format!("ld.param.u64 {grid}, [grid];"));
    match wide {
        Some(wide) => e.wide_points(&grid, &mapping, wide)?,
        None => {
            e.grid_point(&grid, &mapping)?;
            let body = e.folded(&kernel.body, mapping.folded.len())?;
            e.points_body(body)?;
        }
    }
    // `$` keeps functions apart from parameters, whose names come from the program too: `ptxas` breaks where two are alike.
    let entry = format!("kernel${}", identifier(&kernel.name));
    let threads = point.threads();
    let text = e.w.module(comments, &entry, &parameters, threads, Needs::LEAST);
    let (parts, bytes) = match point {
        Point::Column { parts, .. } => (parts, e.partial_bytes),
        Point::Thread | Point::Warp | Point::Block => (1, 0),
    };
    let share = Share::Points { each: point.points() * elements as u32, along: mapping.along, parts, bytes };
    Ok(DeviceKernel {
        entry: entry.into(),
        text: text.into(),
        arguments,
        threads,
        shared: 0,
        shared_unit: 0,
        shared_units: 0,
        share,
    })
}

/// By value: the operation that defines it.
pub fn definitions(kernel: &Kernel) -> Vec<Option<&ValueOp>> {
    let mut defs = vec![None; kernel.values.len()];
    find_defs(&kernel.body, &mut defs);
    defs
}

fn find_defs<'k>(body: &'k [Stmt], defs: &mut [Option<&'k ValueOp>]) {
    for stmt in body {
        match stmt {
            Stmt::Let { value, op } => defs[value.0 as usize] = Some(op),
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => find_defs(body, defs),
            Stmt::Variable { .. } | Stmt::Combine { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {}
        }
    }
}

pub fn class_of(ty: ValueType) -> Class {
    match ty {
        ValueType::F32 => Class::F32,
        ValueType::F64 => Class::F64,
        ValueType::I32 => Class::B32,
        ValueType::I64 => Class::B64,
        ValueType::Bool => Class::Pred,
    }
}

pub fn dtype_word(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::BF16 => "bf16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::Bool => "bool",
    }
}

impl<'k> Emitter<'k> {
    /// Nothing is known yet.
    fn new(w: Writer, kernel: &'k Kernel, point: Point) -> Emitter<'k> {
        let defs = definitions(kernel);
        let text = kernel.to_string();
        let lines: Vec<String> =
            text.lines().map(str::trim).filter(|line| *line != "}").skip(2).map(|line| line.to_string()).collect();
        Emitter {
            w,
            kernel,
            point,
            sizes: Sizes::default(),
            buffers: Vec::new(),
            values: vec![None; kernel.values.len()],
            variables: vec![None; kernel.variables.len()],
            indices: vec![None; kernel.indices.len()],
            defs,
            flat: None,
            neighbours: None,
            given: None,
            accumulators: HashMap::new(),
            in_lanes: false,
            is_first: String::new(),
            lane: String::new(),
            warp: String::new(),
            group: String::new(),
            part: String::new(),
            partial_bytes: 0,
            exchange: None,
            meets: kernel.buffers.iter().any(|b| b.access == Access::Update),
            lines: lines.into_iter(),
        }
    }

    /// Addresses and sizes from the function's parameters.
    fn parameters(&mut self) -> (Vec<String>, Vec<Argument>) {
        let (mut parameters, mut arguments) = (Vec::new(), Vec::new());
        for (i, buffer) in self.kernel.buffers.iter().enumerate() {
            let name = format!("{}_{i}", identifier(&buffer.name));
            let access = match buffer.access {
                Access::Read => "read",
                Access::Write => "write",
                Access::Update => "update",
            };
            parameters.push(format!(".param .u64 {name} /* {} {access} */", dtype_word(buffer.dtype)));
            arguments.push(Argument::Buffer(i as u32));
            let register = self.w.named(Class::B64, &name);
            self.w.head(format!("ld.param.u64 {register}, [{name}];"));
            self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
            self.buffers.push(register);
        }
        for (i, size) in self.kernel.sizes.iter().enumerate() {
            let name = format!("size_{}_{i}", identifier(size));
            parameters.push(format!(".param .u64 {name}"));
            arguments.push(Argument::Size(size.clone()));
            let register = self.w.named(Class::B64, &name);
            self.w.head(format!("ld.param.u64 {register}, [{name}];"));
            self.sizes.bind(size, register);
        }
        parameters.push(".param .u64 grid".to_string());
        arguments.push(Argument::Grid);
        if matches!(self.point, Point::Column { parts: 2.., .. }) {
            for (name, argument) in [("partials", Argument::Partials), ("counters", Argument::Counters)] {
                parameters.push(format!(".param .u64 {name}"));
                arguments.push(argument);
                let register = self.w.named(Class::B64, name);
                self.w.head(format!("ld.param.u64 {register}, [{name}];"));
                self.w.head(format!("cvta.to.global.u64 {register}, {register};"));
            }
        }
        (parameters, arguments)
    }

    /// The indices of the grid and of the loops in it, from the number of this thread, warp or block; those behind the end are done.
    fn grid_point(&mut self, grid: &str, mapping: &Mapping) -> Emit<()> {
        let names = self.names_of(mapping);
        self.w.comment(&format!("one {} for each {names}", mapping.point.word()));
        let block = self.w.set(Class::B32, "mov.u32", &["%ctaid.x"]);
        let thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
        let point = self.w.named(Class::B64, "point");
        let narrow = match mapping.point {
            Point::Thread => self.w.set(Class::B32, "mad.lo.u32", &[&block, &THREADS.to_string(), &thread]),
            Point::Warp => {
                let warp = self.w.set(Class::B32, "shr.u32", &[&thread, "5"]);
                self.w.set(Class::B32, "mad.lo.u32", &[&block, &(THREADS / WARP).to_string(), &warp])
            }
            Point::Column { parts, .. } => {
                self.warp = self.w.set(Class::B32, "shr.u32", &[&thread, "5"]);
                let lane = self.w.set(Class::B32, "and.b32", &[&thread, "31"]);
                self.group = block;
                if parts > 1 {
                    self.part = self.w.set(Class::B32, "rem.u32", &[&self.group.clone(), &parts.to_string()]);
                    self.group = self.w.set(Class::B32, "div.u32", &[&self.group.clone(), &parts.to_string()]);
                }
                self.w.set(Class::B32, "mad.lo.u32", &[&self.group.clone(), &WARP.to_string(), &lane])
            }
            Point::Block => block,
        };
        self.w.line(format!("cvt.u64.u32 {point}, {narrow};"));
        match mapping.point {
            Point::Thread => {}
            Point::Warp | Point::Block => {
                let lane = match mapping.point {
                    Point::Warp => self.w.set(Class::B32, "and.b32", &[&thread, "31"]),
                    Point::Block | Point::Thread | Point::Column { .. } => thread.clone(),
                };
                self.warp = self.w.set(Class::B32, "shr.u32", &[&thread, "5"]);
                self.is_first = self.w.set(Class::Pred, "setp.eq.u32", &[&lane, "0"]);
                self.lane = self.w.named(Class::B64, "lane");
                let register = self.lane.clone();
                self.w.line(format!("cvt.u64.u32 {register}, {lane};"));
            }
            Point::Column { .. } => self.is_first = self.w.set(Class::Pred, "setp.eq.u32", &[&self.warp.clone(), "0"]),
        }
        match mapping.point {
            // Its warps meet: a lane behind the end does what the last one does, and stores nothing.
            Point::Column { .. } => {
                let inside = self.w.set(Class::Pred, "setp.lt.s64", &[&point, grid]);
                let is_first = self.is_first.clone();
                self.w.line(format!("and.pred {is_first}, {is_first}, {inside};"));
                let last = self.w.set(Class::B64, "sub.s64", &[grid, "1"]);
                self.w.line(format!("min.s64 {point}, {point}, {last};"));
            }
            Point::Thread | Point::Warp | Point::Block => {
                let outside = self.w.set(Class::Pred, "setp.ge.s64", &[&point, grid]);
                self.w.line(format!("@{outside} ret;"));
            }
        }
        self.coordinates(&point, mapping)
    }

    /// The indices that a point stands for, the innermost last.
    fn names_of(&self, mapping: &Mapping) -> String {
        let indices = [LoopIndex(0)].into_iter().chain(mapping.folded.iter().copied());
        let names: Vec<String> = indices.map(|i| identifier(&self.kernel.indices[i.0 as usize])).collect();
        names.join(", ")
    }

    /// The indices of a point, from its number.
    fn coordinates(&mut self, point: &str, mapping: &Mapping) -> Emit<()> {
        let levels = mapping.levels(self.kernel);
        let mut rest = point.to_string();
        for (index, extent) in levels.iter().skip(1).rev() {
            let extent = self.size(extent)?;
            let narrow = self.w.set(Class::B32, "cvt.u32.u64", &[&rest]);
            let (quotient, own) = divided(&mut self.w, &narrow, &extent);
            self.open(*index, &own);
            rest = self.w.set(Class::B64, "cvt.u64.u32", &[&quotient]);
        }
        let narrow = self.w.set(Class::B32, "cvt.u32.u64", &[&rest]);
        self.open(LoopIndex(0), &narrow);
        self.flat = Some((mapping.strides(self.kernel), point.to_string()));
        Ok(())
    }

    /// An index has this value (32 bits).
    fn open(&mut self, index: LoopIndex, value: &str) {
        let name = format!("i{}_{}", index.0, identifier(&self.kernel.indices[index.0 as usize]));
        let register = self.w.named(Class::B64, &name);
        self.w.line(format!("cvt.u64.u32 {register}, {value};"));
        self.indices[index.0 as usize] = Some(register);
    }

    /// What stands before the loops that joined the grid; gives the body of the innermost.
    fn folded(&mut self, body: &'k [Stmt], depth: usize) -> Emit<&'k [Stmt]> {
        let mut body = body;
        for _ in 0..depth {
            let Some((Stmt::Loop { body: inner, .. }, before)) = body.split_last() else {
                return Err("a folded loop that is not there".to_string());
            };
            self.body(before)?;
            let line = self.lines.next().unwrap_or_default();
            self.w.comment(&line);
            body = inner;
        }
        Ok(body)
    }

    fn body(&mut self, body: &'k [Stmt]) -> Emit<()> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    /// The plan's text of a statement, above its code.
    fn note(&mut self, stmt: &Stmt) {
        let Some(line) = self.lines.next() else { return };
        match stmt {
            // What becomes a register's other name or a number in the text needs no line.
            Stmt::Let { op: ValueOp::Const(_) | ValueOp::Size(_) | ValueOp::Index(_), .. } => {}
            Stmt::Loop { .. }
            | Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. }
            | Stmt::If { .. } => self.w.comment(&line),
        }
    }

    fn stmt(&mut self, stmt: &'k Stmt) -> Emit<()> {
        self.note(stmt);
        match stmt {
            Stmt::Loop { index, from, to, mode, body } => {
                let extent = constant_extent(from, to);
                let (from, to) = (self.bound(from)?, self.bound(to)?);
                match mode {
                    LoopMode::Serial => self.counted(*index, &from, &to, 1, extent, body),
                    LoopMode::Lanes => self.lanes_loop(*index, &from, &to, extent, body),
                }
            }
            Stmt::If { condition, body } => {
                let condition = self.value(*condition)?;
                let end = self.w.label("end_if");
                self.w.line(format!("@!{condition} bra {end};"));
                self.w.deeper();
                self.body(body)?;
                self.w.shallower();
                self.w.place(&end);
                Ok(())
            }
            Stmt::Let { .. }
            | Stmt::Variable { .. }
            | Stmt::Combine { .. }
            | Stmt::Assign { .. }
            | Stmt::Store { .. } => match self.neighbours.take() {
                None => self.plain(stmt),
                Some(mut neighbours) => {
                    let done = self.plain_of_all(stmt, &mut neighbours);
                    self.neighbours = Some(neighbours);
                    done
                }
            },
        }
    }

    /// A statement without a body, for the point at hand.
    fn plain(&mut self, stmt: &'k Stmt) -> Emit<()> {
        match stmt {
            Stmt::Let { value, op } => {
                let result = self.op(*value, op)?;
                self.values[value.0 as usize] = Some(result);
                Ok(())
            }
            Stmt::Variable { variable, start } => {
                let ty = self.kernel.variables[variable.0 as usize];
                let register = self.w.named(class_of(ty), &format!("variable{}", variable.0));
                self.copy(ty, &register, *start)?;
                self.variables[variable.0 as usize] = Some(register);
                Ok(())
            }
            Stmt::Combine { variable, monoid, value } => self.combine(*variable, *monoid, *value),
            Stmt::Assign { variable, value } => {
                let ty = self.kernel.variables[variable.0 as usize];
                let register = self.variable(*variable)?;
                self.copy(ty, &register, *value)
            }
            Stmt::Store { buffer, at, value } => self.store(*buffer, at, *value),
            Stmt::Loop { .. } | Stmt::If { .. } => Err("a body in a plain statement".to_string()),
        }
    }

    /// `for index in from..to` by `step`, so many iterations at a time that long sums are taken in chains. `extent` is how many iterations the loop
    /// has for all that share it, where it is a number.
    fn counted(
        &mut self,
        index: LoopIndex,
        from: &str,
        to: &str,
        step: u32,
        extent: Option<i64>,
        body: &'k [Stmt],
    ) -> Emit<()> {
        let name = format!("i{}_{}", index.0, identifier(&self.kernel.indices[index.0 as usize]));
        let register = self.w.named(Class::B64, &name);
        self.w.line(format!("mov.b64 {register}, {from};"));
        let longest = CHAIN * i64::from(step);
        let sums = chained(self.kernel, extent, longest, body);
        if sums.is_empty() {
            self.rounds(index, &name, &register, to, step, body)?;
        } else {
            let (next, end) = (self.w.label(&format!("chain_{name}")), self.w.label("end_chains"));
            self.w.place(&next);
            let past = self.w.set(Class::Pred, "setp.ge.s64", &[&register, to]);
            self.w.line(format!("@{past} bra {end};"));
            self.w.deeper();
            let last = self.w.set(Class::B64, "add.s64", &[&register, &longest.to_string()]);
            let last = self.w.set(Class::B64, "min.s64", &[&last, to]);
            let begin = |sum: &VariableId| self.of_all(|e| e.begin_chain(index, *sum));
            let wholes: Vec<Vec<String>> = sums.iter().map(begin).collect::<Emit<_>>()?;
            self.rounds(index, &name, &register, &last, step, body)?;
            for (sum, wholes) in sums.iter().zip(wholes) {
                let mut wholes = wholes.into_iter();
                self.of_all(|e| e.end_chain(*sum, wholes.next().ok_or("a chain without its sum")?))?;
            }
            self.w.shallower();
            self.w.line(format!("bra {next};"));
            self.w.place(&end);
        }
        self.indices[index.0 as usize] = None;
        Ok(())
    }

    /// While `register`, the index, is below `to`.
    fn rounds(
        &mut self,
        index: LoopIndex,
        name: &str,
        register: &str,
        to: &str,
        step: u32,
        body: &'k [Stmt],
    ) -> Emit<()> {
        let (next, end) = (self.w.label(&format!("for_{name}")), self.w.label("end_for"));
        self.w.place(&next);
        let past = self.w.set(Class::Pred, "setp.ge.s64", &[register, to]);
        self.w.line(format!("@{past} bra {end};"));
        self.indices[index.0 as usize] = Some(register.to_string());
        self.w.deeper();
        self.body(body)?;
        self.w.shallower();
        self.w.line(format!("add.s64 {register}, {register}, {step};"));
        self.w.line(format!("bra {next};"));
        self.w.place(&end);
        Ok(())
    }

    /// From here on what is added to the sum goes to a register of its own, from 0. Gives the one that it went to.
    fn begin_chain(&mut self, index: LoopIndex, sum: VariableId) -> Emit<String> {
        let own = self.w.named(Class::F32, &format!("chain_{}_{}", index.0, sum.0));
        let zero = self.constant_text(0.0, ValueType::F32);
        self.w.line(format!("mov.f32 {own}, {zero};"));
        self.target(sum, own)
    }

    fn end_chain(&mut self, sum: VariableId, whole: String) -> Emit<()> {
        let own = self.target(sum, whole.clone())?;
        self.w.line(format!("add.rn.f32 {whole}, {whole}, {own};"));
        Ok(())
    }

    /// Puts `register` in the place of the one that takes what is combined into the variable.
    fn target(&mut self, variable: VariableId, register: String) -> Emit<String> {
        if let Some(own) = self.accumulators.get_mut(&variable) {
            return Ok(std::mem::replace(own, register));
        }
        let before = self.variable(variable)?;
        self.variables[variable.0 as usize] = Some(register);
        Ok(before)
    }

    fn bound(&mut self, bound: &Bound) -> Emit<String> {
        match bound {
            Bound::Size(dim) => Ok(self.sizes.get(&mut self.w, dim)?.text()),
            Bound::Value(value) => self.long(*value),
        }
    }

    /// `variable = monoid(variable, value)`; a product is added with one rounding.
    fn combine(&mut self, variable: VariableId, monoid: Monoid, value: ValueId) -> Emit<()> {
        let ty = self.kernel.variables[variable.0 as usize];
        let register = match self.accumulators.get(&variable) {
            Some(own) => own.clone(),
            None => self.variable(variable)?,
        };
        if let Some((x, y)) = self.fused_factors(monoid, value) {
            let (x, y) = (self.value(x)?, self.value(y)?);
            let word = if ty == ValueType::F64 { "f64" } else { "f32" };
            self.w.line(format!("fma.rn.{word} {register}, {x}, {y}, {register};"));
            return Ok(());
        }
        let value = self.value(value)?;
        let result = self.monoid(monoid, ty, &register, &value)?;
        self.w.line(format!("mov.{} {register}, {result};", mov_word(ty)));
        Ok(())
    }

    fn value(&self, value: ValueId) -> Emit<String> {
        let known = self.values.get(value.0 as usize).cloned().flatten();
        known.ok_or_else(|| format!("%{} is not in scope", value.0))
    }

    /// An integer value in 64 bits.
    fn long(&mut self, value: ValueId) -> Emit<String> {
        let register = self.value(value)?;
        match self.kernel.values[value.0 as usize] {
            ValueType::I64 => Ok(register),
            ValueType::I32 => match register.parse::<i64>() {
                Ok(_) => Ok(register),
                Err(_) => Ok(self.w.set(Class::B64, "cvt.s64.s32", &[&register])),
            },
            other @ (ValueType::F32 | ValueType::F64 | ValueType::Bool) => Err(format!("{other:?} as an integer")),
        }
    }

    fn variable(&self, variable: VariableId) -> Emit<String> {
        let known = self.variables.get(variable.0 as usize).cloned().flatten();
        known.ok_or_else(|| format!("@{} is not in scope", variable.0))
    }

    fn copy(&mut self, ty: ValueType, register: &str, value: ValueId) -> Emit<()> {
        let value = self.value(value)?;
        self.w.line(format!("mov.{} {register}, {value};", mov_word(ty)));
        Ok(())
    }

    fn size(&mut self, dim: &bdl_dims::Dim) -> Emit<Int> {
        self.sizes.get(&mut self.w, dim)
    }
}

/// The type of a `mov`.
pub fn mov_word(ty: ValueType) -> &'static str {
    match ty {
        ValueType::F32 => "f32",
        ValueType::F64 => "f64",
        ValueType::I32 => "b32",
        ValueType::I64 => "b64",
        ValueType::Bool => "pred",
    }
}
