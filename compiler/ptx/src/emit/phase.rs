//! A kernel as part of a larger function, for some rows of it: the threads of one block share the points.
//!
//! ```text
//! for row in B { for j in 0..128 { .. } }      ->      point = thread; point < rows now * 128; point += threads
//! ```
//!
//! Points that a warp or a block would run each are run by a warp. Long reductions that blocks would share are one thread's.

use super::mapping::{Mapping, Point, typical};
use super::{Emit, Emitter, WARP};
use crate::size::{Int, divided};
use crate::text::{Class, Writer, identifier};
use bdl_dims::Dim;
use bdl_plan::{Bound, Kernel, LoopIndex, Name, Stmt};

/// Where a part runs. Registers are of the function around and hold 64 bits.
pub struct Around<'a> {
    /// The first row of the block, and how many there are now.
    pub first: &'a str,
    pub count: &'a str,
    /// Points of the kernel's grid for each row.
    pub each: i64,
    /// Of the block: a power of two.
    pub threads: u32,
    /// The thread that takes the first point: parts that need not wait for each other begin where the one before ended.
    pub first_thread: u32,
    /// For each buffer of the kernel: its address, and the element from which on it is given.
    pub buffers: Vec<(String, Dim)>,
    pub sizes: &'a [(Name, String)],
}

/// How many threads take a point of their own in one row.
pub fn threads_a_row(kernel: &Kernel, each: i64) -> i64 {
    let mapping = Mapping::of(kernel);
    let points = typical(&mapping.along).saturating_mul(each);
    match mapping.point {
        Point::Thread | Point::Column { .. } => points,
        Point::Warp | Point::Block => points.saturating_mul(i64::from(WARP)),
    }
}

/// Writes the kernel; `prefix` begins the names of its registers.
pub fn phase(w: Writer, kernel: &Kernel, prefix: &str, around: &Around) -> Emit<Writer> {
    let mapping = Mapping::of(kernel);
    let point = match mapping.point {
        Point::Thread | Point::Column { .. } => Point::Thread,
        Point::Warp | Point::Block => Point::Warp,
    };
    let mut e = Emitter::new(w, kernel, point);
    let outer = e.w.begin_part(prefix);
    for (name, register) in around.sizes {
        e.sizes.bind(name, register.clone());
    }
    for (buffer, (address, offset)) in kernel.buffers.iter().zip(&around.buffers) {
        let bytes = super::bytes_of(buffer.dtype);
        let register = e.w.named(Class::B64, &format!("{}_{}", identifier(&buffer.name), e.buffers.len()));
        match e.size(offset)? {
            Int::Const(offset) => e.w.head(format!("add.s64 {register}, {address}, {};", offset * bytes)),
            Int::Register(offset) => e.w.head(format!("mad.lo.s64 {register}, {offset}, {bytes}, {address};")),
        }
        e.buffers.push(register);
    }
    e.points(&mapping, around)?;
    let mut w = e.w;
    w.end_part(outer);
    Ok(w)
}

impl<'k> Emitter<'k> {
    fn points(&mut self, mapping: &Mapping, around: &Around) -> Emit<()> {
        let mut extents = Vec::new();
        let mut body = self.kernel.body.as_slice();
        for _ in &mapping.folded {
            let Some(Stmt::Loop { to: Bound::Size(extent), body: inner, .. }) = body.last() else {
                return Err("a folded loop that is not there".to_string());
            };
            extents.push(self.size(extent)?);
            body = inner;
        }
        let along = self.size(&(mapping.along.clone() * Dim::from(around.each)))?.text();
        let mut thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
        if around.first_thread > 0 {
            let before = around.threads - around.first_thread;
            thread = self.w.set(Class::B32, "add.u32", &[&thread, &before.to_string()]);
            thread = self.w.set(Class::B32, "and.b32", &[&thread, &(around.threads - 1).to_string()]);
        }
        let (number, stride) = match self.point {
            Point::Thread | Point::Column { .. } => (thread, around.threads),
            Point::Warp | Point::Block => {
                let lane = self.w.set(Class::B32, "and.b32", &[&thread, "31"]);
                self.is_first = self.w.set(Class::Pred, "setp.eq.u32", &[&lane, "0"]);
                self.lane = self.w.set(Class::B64, "cvt.u64.u32", &[&lane]);
                (self.w.set(Class::B32, "shr.u32", &[&thread, "5"]), around.threads / WARP)
            }
        };
        let point = self.w.named(Class::B32, "point");
        self.w.line(format!("mov.u32 {point}, {number};"));
        let total = self.w.set(Class::B64, "mul.lo.s64", &[&along, around.count]);
        let total = self.w.set(Class::B32, "cvt.u32.u64", &[&total]);
        let (next, end) = (self.w.label("points"), self.w.label("end_points"));
        self.w.place(&next);
        let past = self.w.set(Class::Pred, "setp.ge.u32", &[&point, &total]);
        self.w.line(format!("@{past} bra {end};"));
        self.w.deeper();
        let mut rest = point.clone();
        for (index, extent) in mapping.folded.iter().zip(&extents).rev() {
            let (quotient, own) = divided(&mut self.w, &rest, extent);
            self.open(*index, &own);
            rest = quotient;
        }
        self.open(LoopIndex(0), &rest);
        if let Some(row) = self.indices[0].clone() {
            self.w.line(format!("mad.lo.s64 {row}, {}, {}, {row};", around.first, around.each));
        }
        let inner = self.folded(&self.kernel.body, mapping.folded.len())?;
        self.body(inner)?;
        self.w.shallower();
        self.w.line(format!("add.u32 {point}, {point}, {stride};"));
        self.w.line(format!("bra {next};"));
        self.w.place(&end);
        Ok(())
    }
}
