//! SMILES to atoms and bonds (opensmiles.org, version 1.0).
//!
//! What a reader needs to know: `c1ccccc1` closes a ring between equal digits (`%12` above 9), `(..)` is a branch, `.` separates parts,
//! atoms outside of brackets are `B C N O P S F Cl Br I` and, in aromatic rings, `b c n o p s`; everything else stands in brackets, with
//! isotope, chirality, hydrogens, charge and class: `[13C@@H]`, `[nH]`, `[Fe+2]`, `[NH4+:1]`. `/` and `\` are single bonds here.

use super::{Atom, Bond, Molecule, Order, SYMBOLS};
use std::collections::BTreeMap;
use std::fmt;

/// What is wrong, and at which letter (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmilesError {
    pub at: usize,
    pub what: String,
}

impl fmt::Display for SmilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "letter {}: {}", self.at, self.what)
    }
}

/// Reads one molecule. What follows the first blank is a name, as in SMILES files, and is left out.
///
/// Errors: the first letter that makes no sense, a ring or bracket that stays open.
pub fn read(text: &str) -> Result<Molecule, SmilesError> {
    let text = text.split_whitespace().next().unwrap_or("");
    let mut reading = Reading { letters: text.as_bytes(), at: 0, molecule: Molecule::default(), open: BTreeMap::new() };
    reading.chain()?;
    if let Some((digit, half)) = reading.open.iter().next() {
        return Err(SmilesError { at: half.at, what: format!("ring {digit} is opened and never closed") });
    }
    let mut molecule = reading.molecule;
    if molecule.atoms.is_empty() {
        return Err(SmilesError { at: 1, what: "there is no atom".to_string() });
    }
    only_rings_are_aromatic(&mut molecule);
    Ok(molecule)
}

struct Reading<'t> {
    letters: &'t [u8],
    at: usize,
    molecule: Molecule,
    open: BTreeMap<u32, Half>,
}

/// A ring that waits for its other end.
struct Half {
    atom: usize,
    order: Option<Order>,
    at: usize,
}

impl Reading<'_> {
    fn next(&self) -> Option<u8> {
        self.letters.get(self.at).copied()
    }

    fn takes(&mut self, letter: u8) -> bool {
        let found = self.next() == Some(letter);
        self.at += usize::from(found);
        found
    }

    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, SmilesError> {
        Err(SmilesError { at: self.at + 1, what: what.into() })
    }

    fn chain(&mut self) -> Result<(), SmilesError> {
        let mut branches: Vec<(usize, usize)> = Vec::new();
        let mut last: Option<usize> = None;
        let mut order: Option<Order> = None;
        while let Some(letter) = self.next() {
            match letter {
                b'(' => {
                    let Some(atom) = last else { return self.wrong("a branch begins before any atom") };
                    branches.push((atom, self.at + 1));
                    self.at += 1;
                }
                b')' => {
                    let Some((atom, _)) = branches.pop() else { return self.wrong("`)` without `(`") };
                    if order.is_some() {
                        return self.wrong("a bond leads nowhere");
                    }
                    last = Some(atom);
                    self.at += 1;
                }
                b'.' => {
                    if order.is_some() {
                        return self.wrong("a bond leads nowhere");
                    }
                    last = None;
                    self.at += 1;
                }
                b'-' | b'/' | b'\\' | b'=' | b'#' | b'$' | b':' => {
                    if last.is_none() || order.is_some() {
                        return self.wrong("a bond without an atom before it");
                    }
                    order = Some(match letter {
                        b'=' => Order::Double,
                        b'#' => Order::Triple,
                        b'$' => Order::Quadruple,
                        b':' => Order::Aromatic,
                        _ => Order::Single,
                    });
                    self.at += 1;
                }
                b'0'..=b'9' | b'%' => {
                    let Some(atom) = last else { return self.wrong("a ring number without an atom before it") };
                    self.ring(atom, order.take())?;
                }
                _ => {
                    let atom = self.atom()?;
                    let number = self.molecule.atoms.len();
                    self.molecule.atoms.push(atom);
                    if let Some(before) = last {
                        self.bond(before, number, order.take());
                    }
                    last = Some(number);
                }
            }
        }
        if order.is_some() {
            return self.wrong("a bond leads nowhere");
        }
        match branches.pop() {
            Some((_, at)) => Err(SmilesError { at, what: "this `(` is never closed".to_string() }),
            None => Ok(()),
        }
    }

    fn bond(&mut self, a: usize, b: usize, order: Option<Order>) {
        let lower = |atom: usize| self.molecule.atoms[atom].lower;
        let unwritten = if lower(a) && lower(b) { Order::Aromatic } else { Order::Single };
        self.molecule.bonds.push(Bond { ends: [a, b], order: order.unwrap_or(unwritten) });
    }

    fn ring(&mut self, atom: usize, order: Option<Order>) -> Result<(), SmilesError> {
        let at = self.at + 1;
        let digits = if self.takes(b'%') { 2 } else { 1 };
        let mut number = 0;
        for _ in 0..digits {
            let Some(digit) = self.next().filter(u8::is_ascii_digit) else {
                return self.wrong("two digits follow `%`");
            };
            number = 10 * number + u32::from(digit - b'0');
            self.at += 1;
        }
        let Some(half) = self.open.remove(&number) else {
            self.open.insert(number, Half { atom, order, at });
            return Ok(());
        };
        let both = |a: Order, b: Order| (a == b).then_some(a);
        let agreed = match (half.order, order) {
            (Some(a), Some(b)) => match both(a, b) {
                Some(order) => Some(order),
                None => {
                    let what = format!("the two ends of ring {number} say different bonds");
                    return Err(SmilesError { at, what });
                }
            },
            (a, b) => a.or(b),
        };
        let again = self.molecule.bonds.iter().any(|bond| bond.ends.contains(&atom) && bond.ends.contains(&half.atom));
        if half.atom == atom || again {
            let what = format!("ring {number} joins two atoms that are joined already");
            return Err(SmilesError { at, what });
        }
        self.bond(half.atom, atom, agreed);
        Ok(())
    }

    fn atom(&mut self) -> Result<Atom, SmilesError> {
        if self.takes(b'[') {
            return self.bracket();
        }
        let rest = &self.letters[self.at..];
        let two = rest.get(..2).and_then(|two| ["Cl", "Br"].into_iter().find(|known| known.as_bytes() == two));
        let one = rest.first().and_then(|letter| {
            let known = ["B", "C", "N", "O", "P", "S", "F", "I", "*", "b", "c", "n", "o", "p", "s"];
            known.into_iter().find(|known| known.as_bytes() == [*letter])
        });
        let Some(symbol) = two.or(one) else {
            let shown = char::from(rest.first().copied().unwrap_or(b' '));
            return self
                .wrong(format!("`{shown}` is no atom; elements beside B C N O P S F Cl Br I stand in brackets"));
        };
        self.at += symbol.len();
        let (element, lower) = element_of(symbol).unwrap_or((0, false));
        Ok(Atom { element, isotope: 0, charge: 0, lower, hydrogens: None })
    }

    fn number(&mut self) -> Option<u32> {
        let start = self.at;
        while self.next().is_some_and(|letter| letter.is_ascii_digit()) {
            self.at += 1;
        }
        std::str::from_utf8(&self.letters[start..self.at]).ok().and_then(|digits| digits.parse().ok())
    }

    fn bracket(&mut self) -> Result<Atom, SmilesError> {
        let isotope = self.number().unwrap_or(0);
        let rest = &self.letters[self.at..];
        // The longest symbol that fits: `Cl` before `C`, but `cn` is no element.
        let symbol = (1..=2).rev().find_map(|length| {
            let text = std::str::from_utf8(rest.get(..length)?).ok()?;
            element_of(text).map(|found| (length, found))
        });
        let Some((length, (element, lower))) = symbol else { return self.wrong("no element of that name") };
        self.at += length;
        while self.takes(b'@') {}
        // Extended chirality: @TH1, @SP2, @AL1, @TB20, @OH30.
        for word in ["TH", "AL", "SP", "TB", "OH"] {
            let behind = self.letters[..self.at].last() == Some(&b'@');
            if behind && self.letters[self.at..].starts_with(word.as_bytes()) && self.is_digit(self.at + 2) {
                self.at += 2;
                self.number();
            }
        }
        let mut hydrogens = 0;
        if self.takes(b'H') {
            hydrogens = self.number().unwrap_or(1);
        }
        let mut charge = 0i32;
        if let Some(sign @ (b'+' | b'-')) = self.next() {
            let one = if sign == b'+' { 1 } else { -1 };
            while self.takes(sign) {
                charge += one;
            }
            if let Some(count) = self.number() {
                charge = one * count.min(100) as i32;
            }
        }
        if self.takes(b':') && self.number().is_none() {
            return self.wrong("a class is a number");
        }
        if !self.takes(b']') {
            return self.wrong("`]` is expected");
        }
        let hydrogens = Some(hydrogens.min(255) as u8);
        Ok(Atom { element, isotope: isotope.min(u32::from(u16::MAX)) as u16, charge: charge as i8, lower, hydrogens })
    }

    fn is_digit(&self, at: usize) -> bool {
        self.letters.get(at).is_some_and(u8::is_ascii_digit)
    }
}

/// The atomic number of a symbol, and whether it is written in lower case as aromatic atoms are.
fn element_of(symbol: &str) -> Option<(u8, bool)> {
    if let Some(number) = SYMBOLS.iter().position(|known| *known == symbol) {
        return Some((number as u8, false));
    }
    let aromatic = ["b", "c", "n", "o", "p", "s", "se", "as", "te", "si"];
    if !aromatic.contains(&symbol) {
        return None;
    }
    let number = SYMBOLS.iter().position(|known| known.eq_ignore_ascii_case(symbol))?;
    Some((number as u8, true))
}

/// An unwritten bond between two aromatic atoms is a single one where it is in no ring, as in biphenyl.
fn only_rings_are_aromatic(molecule: &mut Molecule) {
    let in_ring = super::rings::ring_bonds(molecule);
    for (bond, in_ring) in molecule.bonds.iter_mut().zip(in_ring) {
        if bond.order == Order::Aromatic && !in_ring {
            bond.order = Order::Single;
        }
    }
}
