//! What can be said of sizes for certain: equalities and inequalities over named sizes.
//!
//! A fact is a size expression that is not negative. To prove `goal >= 0` we assume `goal <= -1` and look for a contradiction by
//! Fourier-Motzkin elimination, each monomial (`T`, `T * C`, `floor(T / 2)`) being one variable:
//!
//! ```text
//! facts  T - 9 >= 0            goal  T - 8 >= 0, negated: 7 - T >= 0
//! sum    (T - 9) + (7 - T) = -2 >= 0     impossible, so the goal holds
//! ```
//!
//! Every named size is a natural number, and those in `positive` are at least 1. Each `q = floor(n / d)` brings `d * q <= n` and
//! `n <= d * q + d - 1`. Variables are integers: a constraint is divided by the common divisor of its coefficients and its constant
//! rounded down, which is what proves `2 * q + 1 >= 0  =>  q >= 0`.
//!
//! Sound and incomplete: `false` means "not proved". Products are opaque but for their signs, so `T * T >= T` is proved only
//! where `T >= 1` is known, and nothing is proved by multiplying two facts.

use bdl_dims::{Atom, Dim, Monomial};
use std::collections::{BTreeMap, BTreeSet};

/// Facts about sizes, as they hold at one place of a program.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Expressions that are not negative.
    least: Vec<Dim>,
    /// Names of sizes that are at least 1.
    positive: BTreeSet<String>,
}

/// More constraints than this and the answer is "not proved".
const LIMIT: usize = 400;

impl Facts {
    /// From now on `dim >= 0`.
    pub fn assume(&mut self, dim: Dim) {
        if !dim.as_const().is_some_and(|c| c >= 0) {
            self.least.push(dim);
        }
    }

    pub fn extend(&mut self, dims: Vec<Dim>) {
        for dim in dims {
            self.assume(dim);
        }
    }

    /// From now on `dim == 0`.
    pub fn assume_zero(&mut self, dim: &Dim) {
        self.assume(dim.clone());
        self.assume(-dim.clone());
    }

    /// The named size is at least 1.
    pub fn assume_positive(&mut self, name: &str) {
        self.positive.insert(name.to_string());
    }

    pub fn count(&self) -> usize {
        self.least.len()
    }

    /// Facts learnt after the first `count`.
    pub fn since(&self, count: usize) -> Vec<Dim> {
        self.least.get(count..).unwrap_or(&[]).to_vec()
    }

    /// Forget facts beyond the first `count`.
    pub fn forget(&mut self, count: usize) {
        self.least.truncate(count);
    }

    /// Every named size at least 1: for questions about empty ranges.
    pub fn all_positive(&self, of: &Dim) -> Facts {
        let mut facts = self.clone();
        for name in of.names() {
            facts.positive.insert(name.to_string());
        }
        facts
    }

    /// Is `goal >= 0` for all sizes that satisfy the facts?
    pub fn proves(&self, goal: &Dim) -> bool {
        if let Some(constant) = goal.as_const() {
            return constant >= 0;
        }
        if goal.terms().all(|(monomial, coefficient)| coefficient >= 0 && monomial.iter().all(is_name)) {
            return true;
        }
        let goal = without_common_names(goal);
        self.contradiction(&(-goal - Dim::one()))
    }

    pub fn proves_positive(&self, dim: &Dim) -> bool {
        self.proves(&(dim.clone() - Dim::one()))
    }

    /// `left == right` for all sizes that satisfy the facts.
    pub fn proves_equal(&self, left: &Dim, right: &Dim) -> bool {
        let difference = left.clone() - right.clone();
        difference.is_zero()
            || (difference.as_const().is_none() && self.proves(&difference) && self.proves(&-difference))
    }

    /// `left` and `right` differ whatever the sizes are.
    pub fn proves_different(&self, left: &Dim, right: &Dim) -> bool {
        let difference = left.clone() - right.clone();
        match difference.as_const() {
            Some(constant) => constant != 0,
            None => {
                self.proves(&(difference.clone() - Dim::one())) || self.proves(&(-difference - Dim::one()))
            }
        }
    }

    /// Can `extra >= 0` not hold together with the facts?
    fn contradiction(&self, extra: &Dim) -> bool {
        let mut system = System::default();
        system.add(extra);
        for fact in &self.least {
            system.add(fact);
        }
        system.close(self);
        system.contradictory()
    }
}

fn is_name(atom: &Atom) -> bool {
    match atom {
        Atom::Var(_) => true,
        Atom::Floor(_, _) => false,
    }
}

/// `C * (T - K)` as `T - K`: a natural factor changes no sign from "not negative" to negative.
fn without_common_names(goal: &Dim) -> Dim {
    let mut goal = goal.clone();
    loop {
        let Some((first, _)) = goal.terms().next() else { return goal };
        let common = first.iter().find(|atom| is_name(atom) && goal.terms().all(|(m, _)| m.contains(atom)));
        let Some(atom) = common.cloned() else { return goal };
        goal = goal.floor_div(&Dim::atom(atom));
    }
}

/// `constant + sum of coefficient * variable >= 0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Constraint {
    coefficients: BTreeMap<usize, i128>,
    constant: i128,
}

impl Constraint {
    /// Divided by the common divisor, the constant rounded down (variables are integers).
    fn tightened(mut self) -> Constraint {
        self.coefficients.retain(|_, c| *c != 0);
        let divisor = self.coefficients.values().fold(0i128, |a, b| gcd(a, b.abs()));
        if divisor > 1 {
            for coefficient in self.coefficients.values_mut() {
                *coefficient /= divisor;
            }
            self.constant = self.constant.div_euclid(divisor);
        }
        self
    }

    fn impossible(&self) -> bool {
        self.coefficients.is_empty() && self.constant < 0
    }

    /// The sum of both, scaled so that `variable` (positive here, negative there) goes away.
    fn without(&self, other: &Constraint, variable: usize) -> Option<Constraint> {
        let up = *self.coefficients.get(&variable)?;
        let down = -*other.coefficients.get(&variable)?;
        let mut coefficients = BTreeMap::new();
        for (v, c) in &self.coefficients {
            coefficients.insert(*v, c.checked_mul(down)?);
        }
        for (v, c) in &other.coefficients {
            let entry = coefficients.entry(*v).or_insert(0i128);
            *entry = entry.checked_add(c.checked_mul(up)?)?;
        }
        let constant = self.constant.checked_mul(down)?.checked_add(other.constant.checked_mul(up)?)?;
        Some(Constraint { coefficients, constant }.tightened())
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[derive(Default)]
struct System {
    variables: Vec<Monomial>,
    constraints: BTreeSet<Constraint>,
}

impl System {
    fn variable(&mut self, monomial: &Monomial) -> usize {
        match self.variables.iter().position(|known| known == monomial) {
            Some(at) => at,
            None => {
                self.variables.push(monomial.clone());
                self.variables.len() - 1
            }
        }
    }

    fn add(&mut self, dim: &Dim) {
        let mut constraint = Constraint { coefficients: BTreeMap::new(), constant: 0 };
        for (monomial, coefficient) in dim.terms() {
            if monomial.is_empty() {
                constraint.constant = i128::from(coefficient);
            } else {
                let variable = self.variable(monomial);
                constraint.coefficients.insert(variable, i128::from(coefficient));
            }
        }
        self.constraints.insert(constraint.tightened());
    }

    /// Adds what is known of every variable, until no new variable appears.
    fn close(&mut self, facts: &Facts) {
        let mut at = 0;
        while at < self.variables.len() && self.constraints.len() < LIMIT {
            let monomial = self.variables[at].clone();
            at += 1;
            if monomial.iter().all(is_name) {
                self.add(&of_monomial(&monomial));
            }
            for (position, atom) in monomial.iter().enumerate() {
                let mut rest = monomial.clone();
                rest.remove(position);
                if !rest.iter().all(is_name) {
                    continue;
                }
                let rest = of_monomial(&rest);
                match atom {
                    Atom::Var(name) => {
                        if facts.positive.contains(&**name) {
                            self.add(&(of_monomial(&monomial) - rest));
                        }
                    }
                    Atom::Floor(numerator, denominator) => {
                        // rest * (d q <= n <= d q + d - 1), rest being a natural number and d at least 1.
                        let quotient = Dim::atom(atom.clone());
                        let product = (**denominator).clone() * quotient;
                        let low = (**numerator).clone() - product.clone();
                        let high = product + (**denominator).clone() - Dim::one() - (**numerator).clone();
                        self.add(&(rest.clone() * low));
                        self.add(&(rest * high));
                    }
                }
            }
        }
    }

    fn contradictory(mut self) -> bool {
        let mut left: BTreeSet<usize> = (0..self.variables.len()).collect();
        loop {
            if self.constraints.iter().any(Constraint::impossible) {
                return true;
            }
            if self.constraints.len() > LIMIT {
                return false;
            }
            // The variable whose elimination makes the fewest new constraints.
            let cost = |variable: &usize| {
                let signs = self.constraints.iter().filter_map(|c| c.coefficients.get(variable));
                let (up, down) = signs.fold((0usize, 0usize), |(up, down), c| if *c > 0 { (up + 1, down) } else { (up, down + 1) });
                up * down
            };
            let Some(variable) = left.iter().copied().min_by_key(cost) else { return false };
            left.remove(&variable);
            let (with, mut without): (Vec<_>, BTreeSet<_>) = (
                self.constraints.iter().filter(|c| c.coefficients.contains_key(&variable)).cloned().collect(),
                self.constraints.iter().filter(|c| !c.coefficients.contains_key(&variable)).cloned().collect(),
            );
            for up in with.iter().filter(|c| c.coefficients[&variable] > 0) {
                for down in with.iter().filter(|c| c.coefficients[&variable] < 0) {
                    // An overflow loses a constraint, which only makes the answer "not proved".
                    if let Some(new) = up.without(down, variable) {
                        without.insert(new);
                    }
                }
            }
            self.constraints = without;
        }
    }
}

fn of_monomial(monomial: &Monomial) -> Dim {
    monomial.iter().cloned().map(Dim::atom).product()
}
