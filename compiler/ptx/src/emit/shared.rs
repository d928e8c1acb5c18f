//! Reductions that the warps of a block share: what each found goes through shared memory, and all read it in order.

use super::lanes::find_reductions;
use super::mapping::{Point, shared_extent};
use super::ops::identity;
use super::{Emit, Emitter, WARP, class_of, mov_word};
use crate::text::Class;
use bdl_plan::{Monoid, Stmt, ValueType};

/// Bytes of a value in shared memory.
fn bytes(ty: ValueType) -> u32 {
    match ty {
        ValueType::F64 | ValueType::I64 => 8,
        ValueType::F32 | ValueType::I32 | ValueType::Bool => 4,
    }
}

impl<'k> Emitter<'k> {
    /// What is left of the body when loops have joined the grid.
    pub fn points_body(&mut self, body: &'k [Stmt]) -> Emit<()> {
        let Point::Column { warps } = self.point else { return self.body(body) };
        let last = body.iter().rposition(|stmt| shared_extent(stmt).is_some());
        let (together, rest) = body.split_at(last.map_or(0, |last| last + 1));
        for stmt in together {
            match stmt {
                Stmt::Loop { .. } if shared_extent(stmt).is_some() => self.shared_loop(stmt, warps)?,
                Stmt::Loop { .. }
                | Stmt::Let { .. }
                | Stmt::Variable { .. }
                | Stmt::Combine { .. }
                | Stmt::Assign { .. }
                | Stmt::Store { .. }
                | Stmt::If { .. } => self.stmt(stmt)?,
            }
        }
        self.w.comment("the first warp goes on");
        let end = self.w.label("end_of_point");
        let is_first = self.is_first.clone();
        self.w.line(format!("@!{is_first} bra {end};"));
        self.body(rest)?;
        self.w.place(&end);
        Ok(())
    }

    /// A loop of which every warp runs its part.
    fn shared_loop(&mut self, stmt: &'k Stmt, warps: u32) -> Emit<()> {
        let Stmt::Loop { index, from, to, body, .. } = stmt else { return Ok(()) };
        let line = self.lines.next().unwrap_or_default();
        self.w.comment(&format!("{line} shared by {warps} warps"));
        let (from, to) = (self.bound(from)?, self.bound(to)?);
        let mut reductions = Vec::new();
        find_reductions(body, &mut Vec::new(), &mut reductions);
        for (variable, monoid) in &reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let own = self.w.named(class_of(ty), &format!("part_{}_{}", index.0, variable.0));
            let start = self.constant_text(identity(*monoid, ty), ty);
            self.w.line(format!("mov.{} {own}, {start};", mov_word(ty)));
            self.accumulators.insert(*variable, own);
        }
        let warp = self.w.set(Class::B64, "cvt.u64.u32", &[&self.warp.clone()]);
        let first = self.w.set(Class::B64, "add.s64", &[&warp, &from]);
        self.counted(*index, &first, &to, &warps.to_string(), body)?;
        for (variable, monoid) in reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let Some(own) = self.accumulators.remove(&variable) else { continue };
            self.w.comment(&format!("@{} of all warps", variable.0));
            let thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
            let lane = self.w.set(Class::B32, "and.b32", &[&thread, "31"]);
            let total = self.exchanged(monoid, ty, &own, (&thread, &lane), warps, WARP)?;
            let register = self.variable(variable)?;
            let result = self.monoid(monoid, ty, &register, &total)?;
            self.w.line(format!("mov.{} {register}, {result};", mov_word(ty)));
        }
        Ok(())
    }

    /// The combination of one value of each warp of a block, in every thread.
    pub fn of_warps(&mut self, monoid: Monoid, ty: ValueType, own: &str, warps: u32) -> Emit<String> {
        let warp = self.warp.clone();
        let zero = self.w.set(Class::B32, "mov.u32", &["0"]);
        self.exchanged(monoid, ty, own, (&warp, &zero), warps, 1)
    }

    /// Each thread writes its value to place `at.0` and combines those at `at.1`, `at.1 + step`, .., `count` of them in order.
    ///
    /// Threads that write to one place have equal values there.
    fn exchanged(
        &mut self,
        monoid: Monoid,
        ty: ValueType,
        own: &str,
        at: (&str, &str),
        count: u32,
        step: u32,
    ) -> Emit<String> {
        let exchange = match &self.exchange {
            Some(known) => known.clone(),
            None => {
                self.w.shared("exchange", Class::B64, self.point.threads());
                let register = self.w.named(Class::B32, "exchange");
                self.w.head(format!("mov.u32 {register}, exchange;"));
                self.exchange = Some(register.clone());
                register
            }
        };
        let bytes = bytes(ty);
        let (word, class) = match ty {
            ValueType::Bool => ("b32", Class::B32),
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => (mov_word(ty), class_of(ty)),
        };
        let own = match ty {
            ValueType::Bool => self.w.set(Class::B32, "selp.u32", &["1", "0", own]),
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => own.to_string(),
        };
        let to = self.w.set(Class::B32, "mad.lo.u32", &[at.0, &bytes.to_string(), &exchange]);
        let from = self.w.set(Class::B32, "mad.lo.u32", &[at.1, &bytes.to_string(), &exchange]);
        let writes = match self.point {
            // One lane of a warp speaks for it.
            Point::Block => {
                let thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
                let lane = self.w.set(Class::B32, "and.b32", &[&thread, "31"]);
                let is_lane_0 = self.w.set(Class::Pred, "setp.eq.u32", &[&lane, "0"]);
                format!("@{is_lane_0} ")
            }
            Point::Thread | Point::Column { .. } | Point::Warp => String::new(),
        };
        self.w.line(format!("{writes}st.shared.{word} [{to}], {own};"));
        self.w.line("bar.sync 0;");
        let mut total: Option<String> = None;
        for i in 0..count {
            let part = self.w.temp(class);
            self.w.line(format!("ld.shared.{word} {part}, [{from}+{}];", i * step * bytes));
            let part = match ty {
                ValueType::Bool => self.w.set(Class::Pred, "setp.ne.u32", &[&part, "0"]),
                ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => part,
            };
            total = Some(match total {
                None => part,
                Some(total) => self.monoid(monoid, ty, &total, &part)?,
            });
        }
        self.w.line("bar.sync 0;");
        total.ok_or_else(|| "a reduction over no warps".to_string())
    }
}
