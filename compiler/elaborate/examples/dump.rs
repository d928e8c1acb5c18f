#[path = "../tests/support/mod.rs"]
mod support;
use bdl_check::hir::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let stage = args.get(2).map(String::as_str).unwrap_or("step");
    let axis = |size: i64| Axis { size: size.into(), names: None, origin: None };
    let f = |name: &str, scalar: Scalar, shape: &[i64]| Field {
        name: name.into(),
        ty: Type::Tensor(TensorType { scalar, optional: false, shape: shape.iter().map(|s| axis(*s)).collect() }),
    };
    let facts = DataFacts {
        name: "Junctions".into(),
        rows: Some(100),
        fields: vec![f("dna", Scalar::F32, &[60, 4]), f("site", Scalar::Category(3.into(), None), &[])],
        texts: vec![],
    };
    let facts2 = DataFacts {
        name: "Cells".into(),
        rows: Some(100),
        fields: vec![f("x", Scalar::F32, &[30]), f("malignant", Scalar::Bool, &[])],
        texts: vec![],
    };
    let hir = support::checked(&args[1], &text, &[], &[facts, facts2]).unwrap_or_else(|e| panic!("{e}"));
    for train in &hir.trains {
        let p = bdl_elaborate::programs(&hir, train).unwrap_or_else(|d| panic!("{d:?}"));
        let program = match stage {
            "init" => &p.init,
            "step" => p.step.as_ref().unwrap(),
            "eval" => &p.eval,
            "predict" => &p.predict,
            _ => &p.gradient,
        };
        for q in
            [Some(&p.init), p.step.as_ref(), Some(&p.eval), Some(&p.predict), Some(&p.gradient)].into_iter().flatten()
        {
            bdl_equations::verify(q).unwrap_or_else(|e| println!("VERIFY {} {e}", q.name));
            println!("// {} {} nodes", q.name, q.nodes.len());
        }
        println!("{}", bdl_equations::text::print(program));
    }
}
