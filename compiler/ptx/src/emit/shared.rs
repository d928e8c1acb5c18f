//! Reductions that the warps of a block share: what each found goes through shared memory, and all read it in order.

use super::mapping::{Point, shared_extent};
use super::{Emit, Emitter, WARP, class_of, mov_word};
use crate::text::Class;
use crate::turn::last_goes_on;
use bdl_plan::{Monoid, Stmt, ValueType, VariableId, constant_extent};

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
        let Point::Column { warps, parts } = self.point else { return self.body(body) };
        let last = body.iter().rposition(|stmt| shared_extent(stmt).is_some());
        let (together, rest) = body.split_at(last.map_or(0, |last| last + 1));
        for stmt in together {
            match stmt {
                Stmt::Loop { .. } if shared_extent(stmt).is_some() => self.shared_loop(stmt, warps, parts)?,
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
    fn shared_loop(&mut self, stmt: &'k Stmt, warps: u32, parts: u32) -> Emit<()> {
        let Stmt::Loop { index, from, to, body, .. } = stmt else { return Ok(()) };
        let line = self.lines.next().unwrap_or_default();
        self.w.comment(&format!("{line} shared by {warps} warps of {parts} blocks"));
        let extent = constant_extent(from, to);
        let (from, to) = (self.bound(from)?, self.bound(to)?);
        let reductions = self.start_parts("part", *index, body)?;
        let mut number = self.warp.clone();
        if parts > 1 {
            number = self.w.set(Class::B32, "mad.lo.u32", &[&self.part.clone(), &warps.to_string(), &number]);
        }
        let number = self.w.set(Class::B64, "cvt.u64.u32", &[&number]);
        let first = self.w.set(Class::B64, "add.s64", &[&number, &from]);
        self.counted(*index, &first, &to, warps * parts, extent, body)?;
        let mut found = Vec::new();
        for (variable, monoid) in reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let Some(own) = self.accumulators.remove(&variable) else { continue };
            self.w.comment(&format!("@{} of all warps", variable.0));
            let thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
            let lane = self.w.set(Class::B32, "and.b32", &[&thread, "31"]);
            let total = self.exchanged(monoid, ty, &own, (&thread, &lane), warps, WARP)?;
            found.push((variable, monoid, ty, total));
        }
        if parts > 1 {
            self.of_blocks(&mut found, parts)?;
        }
        for (variable, monoid, ty, total) in found {
            let register = self.variable(variable)?;
            let result = self.monoid(monoid, ty, &register, &total)?;
            self.w.line(format!("mov.{} {register}, {result};", mov_word(ty)));
        }
        Ok(())
    }

    /// What all blocks of the group found, in the last one of them; the others end here.
    fn of_blocks(&mut self, found: &mut [(VariableId, Monoid, ValueType, String)], parts: u32) -> Emit<()> {
        self.w.comment(&format!("of {parts} blocks"));
        // A line of 32 values, each with room for the widest, for every reduction.
        let line = WARP * 8;
        self.partial_bytes = line * found.len() as u32;
        let (group, part, bytes) = (self.group.clone(), self.part.clone(), self.partial_bytes.to_string());
        let thread = self.w.set(Class::B32, "mov.u32", &["%tid.x"]);
        let lane = self.w.set(Class::B32, "and.b32", &[&thread, "31"]);
        let first = self.w.set(Class::B32, "mul.lo.u32", &[&group, &parts.to_string()]);
        let own = self.w.set(Class::B32, "add.u32", &[&first, &part]);
        let mut place = |number: &str| {
            let at = self.w.set(Class::B64, "mul.wide.u32", &[number, &bytes]);
            let at = self.w.set(Class::B64, "add.s64", &[&at, "%partials"]);
            let in_line = self.w.set(Class::B64, "mul.wide.u32", &[&lane, "8"]);
            self.w.set(Class::B64, "add.s64", &[&at, &in_line])
        };
        let (to, from) = (place(&own), place(&first));
        let warp = self.warp.clone();
        let speaks = self.w.set(Class::Pred, "setp.eq.u32", &[&warp, "0"]);
        for (i, (_, _, ty, total)) in found.iter().enumerate() {
            let (word, value) = self.stored(*ty, total);
            self.w.line(format!("@{speaks} st.global.{word} [{to}+{}], {value};", i as u32 * line));
        }
        let count = self.w.set(Class::B32, "mov.u32", &[&parts.to_string()]);
        last_goes_on(&mut self.w, &group, &count, &thread);
        for (i, (_, monoid, ty, total)) in found.iter_mut().enumerate() {
            let register = self.w.named(class_of(*ty), &format!("all_{i}"));
            let at = |part: u32| format!("[{from}+{}]", part * self.partial_bytes + i as u32 * line);
            let places: Vec<String> = (0..parts).map(at).collect();
            for (part, place) in places.iter().enumerate() {
                let value = self.loaded("global", *ty, place);
                let value = if part == 0 { value } else { self.monoid(*monoid, *ty, &register, &value)? };
                self.w.line(format!("mov.{} {register}, {value};", mov_word(*ty)));
            }
            *total = register;
        }
        Ok(())
    }

    /// A value as it is stored: the word of its type, and a register.
    fn stored(&mut self, ty: ValueType, value: &str) -> (&'static str, String) {
        match ty {
            ValueType::Bool => ("b32", self.w.set(Class::B32, "selp.u32", &["1", "0", value])),
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => (mov_word(ty), value.to_string()),
        }
    }

    /// The value that [`Emitter::stored`] was stored as.
    fn loaded(&mut self, space: &str, ty: ValueType, place: &str) -> String {
        match ty {
            ValueType::Bool => {
                let bits = self.w.set(Class::B32, &format!("ld.{space}.b32"), &[place]);
                self.w.set(Class::Pred, "setp.ne.u32", &[&bits, "0"])
            }
            ValueType::F32 | ValueType::F64 | ValueType::I32 | ValueType::I64 => {
                self.w.set(class_of(ty), &format!("ld.{space}.{}", mov_word(ty)), &[place])
            }
        }
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
        let (word, own) = self.stored(ty, own);
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
            let part = self.loaded("shared", ty, &format!("[{from}+{}]", i * step * bytes));
            total = Some(match total {
                None => part,
                Some(total) => self.monoid(monoid, ty, &total, &part)?,
            });
        }
        self.w.line("bar.sync 0;");
        total.ok_or_else(|| "a reduction over no warps".to_string())
    }
}
