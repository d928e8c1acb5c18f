//! A `Lanes` loop over the threads of a warp or block, and how their parts of a reduction are joined.

use super::mapping::Point;
use super::ops::identity;
use super::{ALL_LANES, Emit, Emitter, THREADS, WARP, class_of, mov_word};
use crate::text::Class;
use bdl_plan::{LoopIndex, Monoid, Stmt, ValueType, VariableId};

impl<'k> Emitter<'k> {
    pub fn lanes_loop(
        &mut self,
        index: LoopIndex,
        from: &str,
        to: &str,
        extent: Option<i64>,
        body: &'k [Stmt],
    ) -> Emit<()> {
        let step = match self.point {
            Point::Warp => WARP,
            Point::Block => THREADS,
            Point::Thread | Point::Column { .. } => return Err("a Lanes loop inside another".to_string()),
        };
        let reductions = self.start_parts("lane", index, body)?;
        self.meet();
        let lane = self.lane.clone();
        let first = self.w.set(Class::B64, "add.s64", &[&lane, from]);
        self.in_lanes = true;
        self.counted(index, &first, to, step, extent, body)?;
        self.in_lanes = false;
        self.meet();
        for (variable, monoid) in reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let Some(own) = self.accumulators.remove(&variable) else { continue };
            self.w.comment(&format!("@{} of all lanes", variable.0));
            let total = self.join(monoid, ty, own)?;
            let register = self.variable(variable)?;
            let result = self.monoid(monoid, ty, &register, &total)?;
            self.w.line(format!("mov.{} {register}, {result};", mov_word(ty)));
        }
        Ok(())
    }

    /// Gives each thread a part of its own for everything that a loop combines into variables from outside.
    pub fn start_parts(&mut self, name: &str, index: LoopIndex, body: &'k [Stmt]) -> Emit<Vec<(VariableId, Monoid)>> {
        let mut reductions = Vec::new();
        find_reductions(body, &mut Vec::new(), &mut reductions);
        for (variable, monoid) in &reductions {
            let ty = self.kernel.variables[variable.0 as usize];
            let own = self.w.named(class_of(ty), &format!("{name}_{}_{}", index.0, variable.0));
            let start = self.constant_text(identity(*monoid, ty), ty);
            self.w.line(format!("mov.{} {own}, {start};", mov_word(ty)));
            self.accumulators.insert(*variable, own);
        }
        Ok(reductions)
    }

    /// What lanes stored is seen by the others from here on.
    pub fn meet(&mut self) {
        match self.point {
            Point::Warp if self.meets => self.w.line(format!("bar.warp.sync {ALL_LANES};")),
            Point::Block if self.meets => self.w.line("bar.sync 0;"),
            Point::Thread | Point::Column { .. } | Point::Warp | Point::Block => {}
        }
    }

    /// The combination of one value of each thread, in every thread.
    fn join(&mut self, monoid: Monoid, ty: ValueType, own: String) -> Emit<String> {
        let mut value = own;
        for distance in [16, 8, 4, 2, 1] {
            let other = self.shuffle("bfly", ty, &value, &distance.to_string())?;
            value = self.monoid(monoid, ty, &value, &other)?;
        }
        let value = match monoid {
            // Both partners of an exchange compute the same sum.
            Monoid::Sum | Monoid::Prod | Monoid::Any | Monoid::All => value,
            // Of equal values (0 and -0) each may have kept its own.
            Monoid::Max | Monoid::Min => self.shuffle("idx", ty, &value, "0")?,
        };
        match self.point {
            Point::Block => self.of_warps(monoid, ty, &value, THREADS / WARP),
            Point::Thread | Point::Column { .. } | Point::Warp => Ok(value),
        }
    }

    /// The value of another lane.
    fn shuffle(&mut self, mode: &str, ty: ValueType, value: &str, which: &str) -> Emit<String> {
        let op = format!("shfl.sync.{mode}.b32");
        let exchange = |e: &mut Self, word: &str| e.w.set(Class::B32, &op, &[word, which, "31", ALL_LANES]);
        Ok(match ty {
            ValueType::I32 => exchange(self, value),
            ValueType::F32 => {
                let bits = self.w.set(Class::B32, "mov.b32", &[value]);
                let other = exchange(self, &bits);
                self.w.set(Class::F32, "mov.b32", &[&other])
            }
            ValueType::F64 | ValueType::I64 => {
                let (low, high) = (self.w.temp(Class::B32), self.w.temp(Class::B32));
                self.w.line(format!("mov.b64 {{{low}, {high}}}, {value};"));
                let (low, high) = (exchange(self, &low), exchange(self, &high));
                self.w.set(class_of(ty), "mov.b64", &[&format!("{{{low}, {high}}}")])
            }
            ValueType::Bool => {
                let bits = self.w.set(Class::B32, "selp.u32", &["1", "0", value]);
                let other = exchange(self, &bits);
                self.w.set(Class::Pred, "setp.ne.u32", &[&other, "0"])
            }
        })
    }
}

/// Variables from outside of a body that it combines into.
fn find_reductions(body: &[Stmt], inside: &mut Vec<VariableId>, found: &mut Vec<(VariableId, Monoid)>) {
    for stmt in body {
        match stmt {
            Stmt::Variable { variable, .. } => inside.push(*variable),
            Stmt::Combine { variable, monoid, .. } => {
                if !inside.contains(variable) && !found.iter().any(|(known, _)| known == variable) {
                    found.push((*variable, *monoid));
                }
            }
            Stmt::Loop { body, .. } | Stmt::If { body, .. } => find_reductions(body, inside, found),
            Stmt::Let { .. } | Stmt::Assign { .. } | Stmt::Store { .. } => {}
        }
    }
}
