//! Random buffers: Philox 4x32-10 and what becomes of its words, step by step as in `bdl_kernels::philox`, so that the bits are the CPU's.
//!
//! A thread fills one block of four elements of one example:
//!
//! ```text
//! thread t      example t / blocks, block t % blocks         blocks = ceil(elements an example / 4)
//! key           philox([step lo, step hi, site, tag], seed)[0..2]
//! words         philox([block lo, block hi, position lo, position hi], key)
//! ```

use crate::emit::{dtype_word, emit_formula};
use crate::text::{Class, Needs, Writer, f32_literal};
use bdl_kernels::philox::{MULTIPLIER, SITE_TAG, WEYL};
use bdl_kernels::vector_math::Function;
use bdl_kernels::vector_math::formula::formula;
use bdl_plan::{Argument, DType, DeviceKernel, Distribution, Share};

const THREADS: u32 = 256;

/// Ten rounds of Philox 4x32.
fn philox(w: &mut Writer, counter: [String; 4], key: [String; 2]) -> [String; 4] {
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for round in 0..10 {
        if round > 0 {
            k0 = w.set(Class::B32, "add.u32", &[&k0, &WEYL[0].to_string()]);
            k1 = w.set(Class::B32, "add.u32", &[&k1, &WEYL[1].to_string()]);
        }
        let multipliers = MULTIPLIER.map(|m| m.to_string());
        let high0 = w.set(Class::B32, "mul.hi.u32", &[&c0, &multipliers[0]]);
        let low0 = w.set(Class::B32, "mul.lo.u32", &[&c0, &multipliers[0]]);
        let high1 = w.set(Class::B32, "mul.hi.u32", &[&c2, &multipliers[1]]);
        let low1 = w.set(Class::B32, "mul.lo.u32", &[&c2, &multipliers[1]]);
        let mixed0 = w.set(Class::B32, "xor.b32", &[&high1, &c1]);
        let mixed1 = w.set(Class::B32, "xor.b32", &[&high0, &c3]);
        c0 = w.set(Class::B32, "xor.b32", &[&mixed0, &k0]);
        c2 = w.set(Class::B32, "xor.b32", &[&mixed1, &k1]);
        (c1, c3) = (low1, low0);
    }
    [c0, c1, c2, c3]
}

/// The two halves of a 64-bit register.
fn halves(w: &mut Writer, wide: &str) -> [String; 2] {
    let (low, high) = (w.temp(Class::B32), w.temp(Class::B32));
    w.line(format!("mov.b64 {{{low}, {high}}}, {wide};"));
    [low, high]
}

/// The top 24 bits as a number in [0, 1).
fn unit(w: &mut Writer, word: &str) -> String {
    let top = w.set(Class::B32, "shr.u32", &[word, "8"]);
    let number = w.set(Class::F32, "cvt.rn.f32.u32", &[&top]);
    w.set(Class::F32, "mul.rn.f32", &[&number, &f32_literal(1.0 / (1u32 << 24) as f32)])
}

/// Box and Muller: two words to two normal numbers.
fn normals(w: &mut Writer, a: &str, b: &str) -> [String; 2] {
    let call = |w: &mut Writer, function: Function, x: &str| match formula(function) {
        Some(steps) => emit_formula(w, &steps, &[x], Class::F32),
        None => x.to_string(),
    };
    let number = w.set(Class::F32, "cvt.rn.f32.u32", &[a]);
    let shifted = w.set(Class::F32, "add.rn.f32", &[&number, &f32_literal(0.5)]);
    let scale = (1.0 / (1u32 << 24) as f32) / 256.0;
    let u = w.set(Class::F32, "mul.rn.f32", &[&shifted, &f32_literal(scale)]);
    let turn = unit(w, b);
    let angle = w.set(Class::F32, "mul.rn.f32", &[&turn, &f32_literal(std::f32::consts::TAU)]);
    let log = call(w, Function::Log, &u);
    let (sin, cos) = (call(w, Function::Sin, &angle), call(w, Function::Cos, &angle));
    let square = w.set(Class::F32, "mul.rn.f32", &[&log, &f32_literal(-2.0)]);
    let r = w.set(Class::F32, "sqrt.rn.f32", &[&square]);
    [w.set(Class::F32, "mul.rn.f32", &[&r, &cos]), w.set(Class::F32, "mul.rn.f32", &[&r, &sin])]
}

/// The function that fills a buffer.
///
/// Errors: elements that are not f32.
pub fn draw(distribution: Distribution, dtype: DType) -> Result<DeviceKernel, String> {
    if dtype != DType::F32 {
        return Err(format!("a random number in {} is not there on a GPU", dtype_word(dtype)));
    }
    let entry = match distribution {
        Distribution::Normal => "draw_normal_f32",
        Distribution::Uniform => "draw_uniform_f32",
    };
    let mut w = Writer::default();
    let arguments = [
        ("out", Argument::Buffer(0)),
        ("moment", Argument::Moment),
        ("positions", Argument::Positions),
        ("site", Argument::Site),
        ("per_example", Argument::PerExample),
        ("grid", Argument::Grid),
    ];
    for (name, _) in &arguments {
        let register = w.named(Class::B64, name);
        w.head(format!("ld.param.u64 {register}, [{name}];"));
    }
    for address in ["%out", "%moment", "%positions"] {
        w.head(format!("cvta.to.global.u64 {address}, {address};"));
    }
    w.comment("one thread for four elements of an example; per_example is 0 where the draw is shared");
    let block = w.set(Class::B32, "mov.u32", &["%ctaid.x"]);
    let thread = w.set(Class::B32, "mov.u32", &["%tid.x"]);
    let wide = w.set(Class::B64, "cvt.u64.u32", &[&thread]);
    let t = w.set(Class::B64, "mad.wide.u32", &[&block, &THREADS.to_string(), &wide]);
    let shared = w.set(Class::Pred, "setp.eq.s64", &["%per_example", "0"]);
    let each = w.set(Class::B64, "selp.b64", &["%grid", "%per_example", &shared]);
    let up = w.set(Class::B64, "add.s64", &[&each, "3"]);
    let blocks = w.set(Class::B64, "shr.u64", &[&up, "2"]);
    let blocks = w.set(Class::B64, "max.s64", &[&blocks, "1"]);
    let row = w.set(Class::B64, "div.s64", &[&t, &blocks]);
    let before = w.set(Class::B64, "mul.lo.s64", &[&row, &blocks]);
    let number = w.set(Class::B64, "sub.s64", &[&t, &before]);
    let first = w.set(Class::B64, "shl.b64", &[&number, "2"]);
    let at = w.set(Class::B64, "mad.lo.s64", &[&row, &each, &first]);
    let outside = w.set(Class::Pred, "setp.ge.s64", &[&at, "%grid"]);
    w.line(format!("@{outside} ret;"));
    let position = w.set(Class::B64, "mov.b64", &["0"]);
    let place = w.set(Class::B64, "mad.lo.s64", &[&row, "8", "%positions"]);
    w.line(format!("@!{shared} ld.global.b64 {position}, [{place}];"));

    w.comment("the key of this draw");
    let seed = w.set(Class::B64, "ld.global.b64", &["[%moment]"]);
    let step = w.set(Class::B64, "ld.global.b64", &["[%moment+8]"]);
    let site = w.set(Class::B32, "cvt.u32.u64", &["%site"]);
    let tag = w.set(Class::B32, "mov.u32", &[&SITE_TAG.to_string()]);
    let (seed, [step_low, step_high]) = (halves(&mut w, &seed), halves(&mut w, &step));
    let [k0, k1, _, _] = philox(&mut w, [step_low, step_high, site, tag], seed);

    w.comment("the words of this block");
    let ([b0, b1], [e0, e1]) = (halves(&mut w, &number), halves(&mut w, &position));
    let [a, b, c, d] = philox(&mut w, [b0, b1, e0, e1], [k0, k1]);
    w.comment("and what becomes of them");
    let values = match distribution {
        Distribution::Uniform => [&a, &b, &c, &d].map(|word| unit(&mut w, word)),
        Distribution::Normal => {
            let [x, y] = normals(&mut w, &a, &b);
            let [z, u] = normals(&mut w, &c, &d);
            [x, y, z, u]
        }
    };
    let left = w.set(Class::B64, "sub.s64", &[&each, &first]);
    let address = w.set(Class::B64, "mad.lo.s64", &[&at, "4", "%out"]);
    for (i, value) in values.iter().enumerate() {
        let inside = w.set(Class::Pred, "setp.gt.s64", &[&left, &i.to_string()]);
        w.line(format!("@{inside} st.global.f32 [{address}+{}], {value};", 4 * i));
    }
    let parameters: Vec<String> = arguments.iter().map(|(name, _)| format!(".param .u64 {name}")).collect();
    let comment = match distribution {
        Distribution::Normal => "standard normal numbers",
        Distribution::Uniform => "uniform numbers in [0, 1)",
    };
    let text = w.module(&[comment.to_string()], entry, &parameters, THREADS, Needs::LEAST);
    Ok(DeviceKernel {
        entry: entry.into(),
        text: text.into(),
        arguments: arguments.into_iter().map(|(_, argument)| argument).collect(),
        threads: THREADS,
        shared: 0,
        shared_unit: 0,
        shared_units: 0,
        // The grid counts elements; a row's last block may be short, so blocks are counted by the row.
        share: Share::Points { each: THREADS, along: bdl_dims::Dim::one(), parts: 1, bytes: 0 },
    })
}
