//! Weights laid out row by row, `[k][n]`, once before the first step. With products of tf32 or bf16 they are rounded there.

use super::product::Product;
use crate::emit::THREADS;
use crate::text::{Class, Needs, Writer};
use bdl_dims::Dim;
use bdl_plan::{Argument, DeviceKernel, Products, Share};

/// What products of rounded factors need.
pub const ROUNDED: Needs = Needs { version: (7, 0), target: 80, only: false };

/// The function: buffers are the weights and the copy, a point is an element of the copy.
pub fn pack(product: &Product) -> DeviceKernel {
    let mut w = Writer::default();
    let mut parameters = Vec::new();
    for name in ["from", "to", "grid"] {
        parameters.push(format!(".param .u64 {name}"));
        let register = w.named(Class::B64, name);
        w.head(format!("ld.param.u64 {register}, [{name}];"));
    }
    w.head("cvta.to.global.u64 %from, %from;");
    w.head("cvta.to.global.u64 %to, %to;");
    let block = w.set(Class::B32, "mov.u32", &["%ctaid.x"]);
    let thread = w.set(Class::B32, "mov.u32", &["%tid.x"]);
    let point = w.set(Class::B32, "mad.lo.u32", &[&block, &THREADS.to_string(), &thread]);
    let wide = w.set(Class::B64, "cvt.u64.u32", &[&point]);
    let outside = w.set(Class::Pred, "setp.ge.s64", &[&wide, "%grid"]);
    w.line(format!("@{outside} ret;"));
    let k = w.set(Class::B32, "div.u32", &[&point, &product.n.to_string()]);
    let n = w.set(Class::B32, "rem.u32", &[&point, &product.n.to_string()]);
    let k = w.set(Class::B64, "cvt.u64.u32", &[&k]);
    let n = w.set(Class::B64, "cvt.u64.u32", &[&n]);
    let from = w.set(Class::B64, "mad.lo.s64", &[&k, &(4 * product.weights_k).to_string(), "%from"]);
    let from = w.set(Class::B64, "mad.lo.s64", &[&n, &(4 * product.weights_n).to_string(), &from]);
    let to = w.set(Class::B64, "mad.lo.s64", &[&wide, "4", "%to"]);
    let value = w.set(Class::F32, "ld.global.f32", &[&format!("[{from}]")]);
    let value = rounded(&mut w, product.factors, &value);
    w.line(format!("st.global.f32 [{to}], {value};"));
    let needs = needs(product.factors);
    let text = w.module(&["weights row by row".to_string()], "weights", &parameters, THREADS, needs);
    DeviceKernel {
        entry: "weights".into(),
        text: text.into(),
        arguments: vec![Argument::Buffer(0), Argument::Buffer(1), Argument::Grid],
        threads: THREADS,
        shared: 0,
        shared_unit: 0,
        shared_units: 0,
        share: Share::Points { each: THREADS, along: Dim::one(), parts: 1, bytes: 0 },
    }
}

pub fn needs(factors: Products) -> Needs {
    match factors {
        Products::Exact => Needs::LEAST,
        Products::Tf32 | Products::Bf16 => ROUNDED,
    }
}

/// A factor as tensor cores take it: to tf32 half away from zero, to bf16 half to even.
pub fn rounded(w: &mut Writer, factors: Products, value: &str) -> String {
    let bits = match factors {
        Products::Exact => return value.to_string(),
        Products::Tf32 => w.set(Class::B32, "cvt.rna.tf32.f32", &[value]),
        Products::Bf16 => {
            let zero = w.set(Class::F32, "mov.f32", &["0f00000000"]);
            w.set(Class::B32, "cvt.rn.bf16x2.f32", &[value, &zero])
        }
    };
    w.set(Class::F32, "mov.b32", &[&bits])
}
