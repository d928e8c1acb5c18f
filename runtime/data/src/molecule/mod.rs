//! Molecules written as SMILES, as far as scaffolds need them: atoms, bonds, rings and which rings are aromatic.
//!
//! ```text
//! "CC(=O)Nc1ccc(O)cc1"    read: 11 atoms, 11 bonds    scaffold: the benzene ring
//! ```
//!
//! | module | job |
//! |---|---|
//! | `read` | text to [`Molecule`] (OpenSMILES 1.0; stereo marks and atom classes are read over) |
//! | `rings` | bonds in rings, and the smallest ring through each |
//! | `aromatic` | Hückel's rule on rings and fused rings, so that Kekulé's and lower-case spelling are one |
//! | `scaffold` | Bemis and Murcko's scaffold as a key that does not depend on the order of atoms |
//!
//! Deliberately absent: stereochemistry and isotopes in scaffolds, writing SMILES, checking valences.

mod aromatic;
mod read;
mod rings;
mod scaffold;

pub use read::{SmilesError, read};
pub use scaffold::scaffold;

/// Atoms and the bonds between them; parts of a salt are not connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Molecule {
    pub atoms: Vec<Atom>,
    pub bonds: Vec<Bond>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Atom {
    /// Atomic number; 0 is any atom (`*`).
    pub element: u8,
    /// 0 where it is not written.
    pub isotope: u16,
    pub charge: i8,
    /// Written in lower case.
    pub lower: bool,
    /// Hydrogens that are written in brackets; outside of brackets they follow from the valence.
    pub hydrogens: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bond {
    pub ends: [usize; 2],
    pub order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    Single,
    Double,
    Triple,
    Quadruple,
    Aromatic,
}

impl Molecule {
    /// Bonds of each atom, by number.
    pub fn bonds_of(&self) -> Vec<Vec<usize>> {
        let mut bonds = vec![Vec::new(); self.atoms.len()];
        for (number, bond) in self.bonds.iter().enumerate() {
            bond.ends.iter().for_each(|end| bonds[*end].push(number));
        }
        bonds
    }
}

impl Bond {
    pub fn other(&self, end: usize) -> usize {
        if self.ends[0] == end { self.ends[1] } else { self.ends[0] }
    }
}

/// Symbols by atomic number.
const SYMBOLS: [&str; 119] = [
    "*", "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",
    "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce",
    "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir",
    "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm",
    "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc",
    "Lv", "Ts", "Og",
];
