//! Which instruction set the kernels use, decided once when first asked.
//!
//! Results do not depend on it (tests compare all of them), only speed does. Tests choose one with [`with_isa`], a process
//! with [`Isa::decide`]; no environment variable is read.
//!
//! ```
//! use bdl_kernels::isa::{Isa, with_isa};
//! let mut y = [0.0f32; 3];
//! with_isa(Isa::Portable, || bdl_kernels::vector_math::exp_f32(&[0.0, 1.0, -1.0], &mut y));
//! assert_eq!(y[0], 1.0);
//! ```

use std::cell::Cell;
use std::sync::OnceLock;

/// An instruction set that kernels are compiled for, widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 F, VL, BW and DQ, with FMA: 512-bit vectors.
    Avx512,
    /// AVX2 and FMA: 256-bit vectors.
    Avx2,
    /// Plain Rust; `mul_add` is a library call where the processor has no fused multiply-add.
    Portable,
}

/// What the process uses.
static DECIDED: OnceLock<Isa> = OnceLock::new();

thread_local! {
    static CHOSEN: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The widest instruction set of this processor, but for processes that [`decide`](Isa::decide) otherwise.
    pub fn detect() -> Isa {
        *DECIDED.get_or_init(|| Isa::available().next().unwrap_or(Isa::Portable))
    }

    /// From here on this process uses `isa`, on all threads: what a narrower processor would take can be measured on this one.
    /// False where the processor lacks it, or where kernels already use another.
    pub fn decide(isa: Isa) -> bool {
        isa.is_available() && *DECIDED.get_or_init(|| isa) == isa
    }

    /// The instruction set kernels called on this thread use: [`detect`](Isa::detect) unless inside [`with_isa`].
    pub fn current() -> Isa {
        CHOSEN.get().unwrap_or_else(Isa::detect)
    }

    /// Can this processor run code for this instruction set?
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// The instruction sets this processor can run, widest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2",
            Isa::Portable => "portable",
        }
    }
}

/// Runs `body` with kernels of this thread on `isa`; an instruction set the processor lacks falls back to portable code.
pub fn with_isa<R>(isa: Isa, body: impl FnOnce() -> R) -> R {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let isa = if isa.is_available() { isa } else { Isa::Portable };
    let _restore = Restore(CHOSEN.replace(Some(isa)));
    body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_holds_inside_and_is_undone_outside() {
        let before = Isa::current();
        with_isa(Isa::Portable, || assert_eq!(Isa::current(), Isa::Portable));
        assert_eq!(Isa::current(), before);
        let caught = std::panic::catch_unwind(|| with_isa(Isa::Portable, || panic!("inside")));
        assert!(caught.is_err());
        assert_eq!(Isa::current(), before);
    }

    #[test]
    fn what_is_decided_stays() {
        let used = Isa::detect();
        for isa in Isa::ALL {
            assert_eq!(Isa::decide(isa), isa == used);
        }
        assert_eq!(Isa::detect(), used);
    }

    #[test]
    fn detection_gives_something_that_runs() {
        assert!(Isa::detect().is_available());
        assert!(Isa::available().any(|isa| isa == Isa::Portable));
    }
}
