//! Which atoms and bonds are aromatic: rings, and rings fused along bonds, of 4 n + 2 π electrons (Hückel 1931).
//!
//! An atom of a ring gives
//!
//! ```text
//! 2   a lone pair: N with three neighbours, O, S, Se with two, C-            [nH], o, s
//! 1   a double bond inside rings                                            c, n, [n+], [o+]
//! 0   an empty orbital (B, C+), or a double bond out of the ring to N, O, S  c(=O)
//! -   anything else: no ring through it is aromatic                          CH2, S(=O)
//! ```
//!
//! What counts is the same whether double bonds are written (Kekulé) or atoms are in lower case, so both spellings come to one. Fused rings
//! are tried in twos and threes where they are not aromatic one by one (azulene); their inner bonds are then no aromatic ones.

use super::rings::Ring;
use super::{Molecule, Order};

/// What is aromatic of a molecule, by atom and by bond, and how many electrons each atom gives.
pub struct Aromatic {
    pub atoms: Vec<bool>,
    pub bonds: Vec<bool>,
    pub electrons: Vec<Option<u8>>,
}

/// Larger rings count as open (a ring of a protein's backbone is no benzene).
const LARGEST: usize = 24;

pub fn aromatic(molecule: &Molecule, in_ring: &[bool], rings: &[Ring]) -> Aromatic {
    let bonds_of = molecule.bonds_of();
    let electrons: Vec<Option<u8>> =
        (0..molecule.atoms.len()).map(|atom| electrons(molecule, &bonds_of[atom], in_ring, atom)).collect();
    let mut found =
        Aromatic { atoms: vec![false; molecule.atoms.len()], bonds: vec![false; molecule.bonds.len()], electrons };
    let open = |ring: &Ring| ring.atoms.len() <= LARGEST && ring.atoms.iter().all(|a| found.electrons[*a].is_some());
    let rings: Vec<&Ring> = rings.iter().filter(|ring| open(ring)).collect();
    let fused = |a: &Ring, b: &Ring| a.bonds.iter().any(|bond| b.bonds.contains(bond));
    let mut sets: Vec<Vec<usize>> = (0..rings.len()).map(|ring| vec![ring]).collect();
    for _ in 0..3 {
        for set in &sets {
            let new = |ring: &usize| rings[*ring].bonds.iter().any(|bond| !found.bonds[*bond]);
            if set.iter().any(new) {
                mark(set, &rings, &mut found);
            }
        }
        // One ring more, fused to one of the set.
        let mut larger: Vec<Vec<usize>> = Vec::new();
        for set in &sets {
            for ring in 0..rings.len() {
                if set.contains(&ring) || !set.iter().any(|at| fused(rings[*at], rings[ring])) {
                    continue;
                }
                let mut more = set.clone();
                more.push(ring);
                more.sort_unstable();
                // Graphene-like molecules have thousands of threes: what they are is decided ring by ring.
                if larger.len() < 2000 && !larger.contains(&more) {
                    larger.push(more);
                }
            }
        }
        sets = larger;
    }
    found
}

/// Marks the rings of a set together where their outline has 4 n + 2 electrons.
fn mark(set: &[usize], rings: &[&Ring], found: &mut Aromatic) {
    let mut bonds: Vec<usize> = set.iter().flat_map(|ring| rings[*ring].bonds.iter().copied()).collect();
    bonds.sort_unstable();
    // Bonds of exactly one of the rings: the outline.
    let outline: Vec<usize> =
        bonds.iter().copied().filter(|bond| bonds.iter().filter(|other| *other == bond).count() == 1).collect();
    let mut atoms: Vec<usize> = set.iter().flat_map(|ring| rings[*ring].atoms.iter().copied()).collect();
    atoms.sort_unstable();
    atoms.dedup();
    let count: usize = atoms.iter().filter_map(|atom| found.electrons[*atom]).map(usize::from).sum();
    if count % 4 != 2 || atoms.len() > LARGEST {
        return;
    }
    atoms.into_iter().for_each(|atom| found.atoms[atom] = true);
    outline.into_iter().for_each(|bond| found.bonds[bond] = true);
}

fn electrons(molecule: &Molecule, bonds: &[usize], in_ring: &[bool], number: usize) -> Option<u8> {
    let atom = &molecule.atoms[number];
    if !bonds.iter().any(|bond| in_ring[*bond]) {
        return None;
    }
    let neighbours = bonds.len() as u8;
    let order = |bond: &usize| molecule.bonds[*bond].order;
    let double_in = bonds.iter().any(|b| in_ring[*b] && order(b) == Order::Double);
    let out = bonds.iter().find(|b| !in_ring[**b] && order(b) == Order::Double);
    let out = out.map(|b| molecule.atoms[molecule.bonds[*b].other(number)].element);
    let triple = bonds.iter().any(|b| matches!(order(b), Order::Triple | Order::Quadruple));
    if triple || bonds.iter().filter(|b| order(b) == Order::Double).count() > 1 && !matches!(atom.element, 7 | 15) {
        return None;
    }
    let hydrogens = atom.hydrogens.unwrap_or(0);
    match atom.element {
        // C, Si
        6 | 14 => match (out, double_in, atom.charge) {
            (Some(7 | 8 | 15 | 16 | 34), _, _) => Some(0),
            (Some(_), _, _) => None,
            (None, true, _) => Some(1),
            (None, false, 1) => Some(0),
            (None, false, -1) => Some(2),
            (None, false, _) if atom.lower => Some(1),
            (None, false, _) => None,
        },
        // N, P, As
        7 | 15 | 33 => match (double_in, atom.charge) {
            (true, _) => Some(1),
            (false, -1) => Some(2),
            (false, 1) if atom.lower => Some(1),
            (false, 0) if atom.lower && out.is_some() => Some(1),
            (false, 0) if atom.lower && neighbours + hydrogens == 2 => Some(1),
            (false, 0) if out.is_none() && neighbours <= 3 => Some(2),
            (false, _) => None,
        },
        // O, S, Se, Te
        8 | 16 | 34 | 52 => match (out, double_in, atom.charge) {
            (None, true, 1) => Some(1),
            (None, false, 1) if atom.lower => Some(1),
            (None, false, 0) if neighbours == 2 => Some(2),
            (_, _, _) => None,
        },
        // B
        5 if !double_in && out.is_none() => Some(0),
        5 if double_in => Some(1),
        0 => Some(1),
        _ => None,
    }
}
