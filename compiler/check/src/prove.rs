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

use crate::hir::Name;
use bdl_dims::{Atom, Dim, Monomial};
use std::collections::{BTreeMap, BTreeSet};

/// Facts about sizes, as they hold at one place of a program.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Expressions that are not negative.
    least: Vec<Dim>,
    /// Names of sizes that are at least 1.
    positive: BTreeSet<String>,
    /// So many of `least` hold for every example; those behind hold where a condition on sizes does.
    always: Option<usize>,
}

/// More constraints than this and the answer is "not proved".
const LIMIT: usize = 160;

/// How deep floor divisions inside floor divisions are looked into.
const DEPTH: usize = 1;

impl Facts {
    /// From now on `dim >= 0`.
    pub fn assume(&mut self, dim: Dim) {
        if dim.as_const().is_none_or(|c| c < 0) {
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

    /// What is assumed from now on holds in a branch only, until it is forgotten. Gives what [`Facts::leave_branch`] takes.
    pub fn enter_branch(&mut self) -> Option<usize> {
        let before = self.always;
        self.always = before.or(Some(self.least.len()));
        before
    }

    pub fn leave_branch(&mut self, before: Option<usize>) {
        self.always = before;
    }

    /// What holds for every example holds for another one: each fact that mentions one of the sizes `(T, other.T)`, of that example too.
    pub fn hold_for(&mut self, sizes: &[(Name, Name)]) {
        let other = |name: &str| sizes.iter().find(|(of, _)| **of == *name).map(|(_, other)| other);
        let always = self.always.unwrap_or(self.least.len()).min(self.least.len());
        let mut more = Vec::new();
        for fact in self.least[..always].iter().filter(|fact| fact.mentions_any(&|name| other(name).is_some())) {
            let fact = fact.substitute(&|name| other(name).map(|name| Dim::var(name.clone())));
            if !self.least.contains(&fact) && !more.contains(&fact) {
                more.push(fact);
            }
        }
        self.extend(more);
        let positive: Vec<String> =
            self.positive.iter().filter_map(|name| other(name)).map(|n| n.to_string()).collect();
        self.positive.extend(positive);
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
        self.proves_within(goal, DEPTH)
    }

    fn proves_within(&self, goal: &Dim, depth: usize) -> bool {
        if is_assumed(goal) {
            return true;
        }
        if self.plainly(goal) {
            return true;
        }
        let goal = without_common_names(goal);
        if self.plainly(&goal) {
            return true;
        }
        let negated = -goal - Dim::one();
        // Few facts first: most proofs need none or one, and elimination costs most where much is known.
        self.contradiction(&negated, &[], depth)
            || self.least.iter().any(|fact| self.contradiction(&negated, std::slice::from_ref(fact), depth))
            || (self.least.len() > 1 && self.contradiction(&negated, &self.least, depth))
    }

    /// Not negative as it stands, every positive size `n` written as `1 + m`.
    fn plainly(&self, goal: &Dim) -> bool {
        let shifted = goal.substitute(&|name| self.positive.contains(name).then(|| Dim::var(name) + Dim::one()));
        shifted.terms().all(|(monomial, coefficient)| coefficient >= 0 && monomial.iter().all(is_name))
    }

    pub fn proves_positive(&self, dim: &Dim) -> bool {
        self.proves(&(dim.clone() - Dim::one()))
    }

    /// `left == right` for all sizes that satisfy the facts.
    pub fn proves_equal(&self, left: &Dim, right: &Dim) -> bool {
        let difference = left.clone() - right.clone();
        difference.is_zero()
            || is_assumed(&difference)
            || (difference.as_const().is_none() && self.proves(&difference) && self.proves(&-difference))
    }

    /// `left` and `right` differ whatever the sizes are.
    pub fn proves_different(&self, left: &Dim, right: &Dim) -> bool {
        let difference = left.clone() - right.clone();
        match difference.as_const() {
            Some(constant) => constant != 0,
            None if is_assumed(&difference) => false,
            None => self.proves(&(difference.clone() - Dim::one())) || self.proves(&(-difference - Dim::one())),
        }
    }

    /// Can `extra >= 0` not hold together with these facts?
    fn contradiction(&self, extra: &Dim, facts: &[Dim], depth: usize) -> bool {
        let mut system = System::default();
        system.add(extra);
        for fact in facts {
            system.add(fact);
        }
        system.close(self, depth);
        system.contradictory()
    }
}

/// Does a size of data whose file was not read take part (`site.classes?`)? What a program asks of it is assumed; with the file at hand it
/// is checked.
fn is_assumed(dim: &Dim) -> bool {
    dim.names().iter().any(|name| name.ends_with('?'))
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

/// What is known of a quotient whose divisor is a name.
#[derive(Clone, Copy)]
enum Sign {
    Natural,
    AtLeastMinusOne,
    Unknown,
}

/// The divisor may be a name, and then signs do not follow from sums: n >= 0 gives q >= 0, n >= -d gives q >= -1.
fn sign(facts: &Facts, numerator: &Dim, denominator: &Dim, depth: usize) -> Sign {
    if depth == 0 || denominator.as_const().is_some() {
        Sign::Unknown
    } else if facts.proves_within(numerator, depth - 1) {
        Sign::Natural
    } else if facts.proves_within(&(numerator.clone() + denominator.clone()), depth - 1) {
        Sign::AtLeastMinusOne
    } else {
        Sign::Unknown
    }
}

/// Of constraints that differ in their constants only, the strongest is kept.
#[derive(Default)]
struct System {
    variables: Vec<Monomial>,
    constraints: BTreeMap<BTreeMap<usize, i128>, i128>,
}

fn keep(constraints: &mut BTreeMap<BTreeMap<usize, i128>, i128>, new: Constraint) {
    let constant = constraints.entry(new.coefficients).or_insert(new.constant);
    *constant = (*constant).min(new.constant);
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
        keep(&mut self.constraints, constraint.tightened());
    }

    /// Adds what is known of every variable, until no new variable appears.
    fn close(&mut self, facts: &Facts, depth: usize) {
        let mut signs: BTreeMap<Atom, Sign> = BTreeMap::new();
        let asked = self.variables.len();
        let mut at = 0;
        while at < self.variables.len() && self.constraints.len() < LIMIT {
            let monomial = self.variables[at].clone();
            if monomial.iter().all(is_name) {
                self.add(&of_monomial(&monomial));
            }
            for (position, atom) in monomial.iter().enumerate() {
                let mut rest = monomial.clone();
                rest.remove(position);
                match atom {
                    Atom::Var(name) if facts.positive.contains(&**name) && rest.iter().all(is_name) => {
                        self.add(&(of_monomial(&monomial) - of_monomial(&rest)));
                    }
                    Atom::Var(_) => {}
                    Atom::Floor(numerator, denominator) => {
                        let sign =
                            *signs.entry(atom.clone()).or_insert_with(|| sign(facts, numerator, denominator, depth));
                        // By itself, and where the question itself holds a product `rest * q` (rest natural), times that.
                        self.quotient(atom, numerator, denominator, &Dim::one(), sign);
                        if at < asked && !rest.is_empty() && rest.iter().all(is_name) {
                            self.quotient(atom, numerator, denominator, &of_monomial(&rest), sign);
                        }
                    }
                }
            }
            at += 1;
        }
    }

    /// `d q <= n <= d q + d - 1` for q = floor(n / d), d at least 1, all times a natural number.
    fn quotient(&mut self, atom: &Atom, numerator: &Dim, denominator: &Dim, times: &Dim, sign: Sign) {
        let quotient = Dim::atom(atom.clone());
        let product = denominator.clone() * quotient.clone();
        self.add(&(times.clone() * (numerator.clone() - product.clone())));
        self.add(&(times.clone() * (product + denominator.clone() - Dim::one() - numerator.clone())));
        match sign {
            Sign::Natural => self.add(&(times.clone() * quotient)),
            Sign::AtLeastMinusOne => self.add(&(times.clone() * (quotient + Dim::one()))),
            Sign::Unknown => {}
        }
    }

    fn contradictory(mut self) -> bool {
        let mut left: BTreeSet<usize> = (0..self.variables.len()).collect();
        loop {
            if self.constraints.get(&BTreeMap::new()).is_some_and(|constant| *constant < 0) {
                return true;
            }
            if self.constraints.len() > LIMIT {
                return false;
            }
            // The variable whose elimination makes the fewest new constraints.
            let cost = |variable: &usize| {
                let signs = self.constraints.keys().filter_map(|coefficients| coefficients.get(variable));
                let (up, down) =
                    signs.fold((0usize, 0usize), |(up, down), c| if *c > 0 { (up + 1, down) } else { (up, down + 1) });
                up * down
            };
            let Some(variable) = left.iter().copied().min_by_key(cost) else { return false };
            left.remove(&variable);
            let (mut up, mut down, mut rest) = (Vec::new(), Vec::new(), BTreeMap::new());
            for (coefficients, constant) in std::mem::take(&mut self.constraints) {
                let constraint = Constraint { coefficients, constant };
                match constraint.coefficients.get(&variable) {
                    Some(c) if *c > 0 => up.push(constraint),
                    Some(_) => down.push(constraint),
                    None => keep(&mut rest, constraint),
                }
            }
            for a in &up {
                for b in &down {
                    // An overflow loses a constraint, which only makes the answer "not proved".
                    if let Some(new) = a.without(b, variable) {
                        keep(&mut rest, new);
                    }
                }
                if rest.len() > LIMIT {
                    return false;
                }
            }
            self.constraints = rest;
        }
    }
}

fn of_monomial(monomial: &Monomial) -> Dim {
    monomial.iter().cloned().map(Dim::atom).product()
}
