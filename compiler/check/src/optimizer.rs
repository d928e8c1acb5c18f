//! `optimizer adamw(cosine(lr), weight_decay: 1e-2)`: one function for every trained parameter.

use crate::checker::{Binding, Body, BodyKind, Checker};
use crate::function::Head;
use crate::hir::{self, FunctionId, TensorType, Type};
use crate::scope::FileAt;
use crate::value::Value;
use bdl_grammar::ast;
use bdl_grammar::{Diagnostic, Span};

impl<'a> Checker<'a> {
    /// The optimiser applied to one parameter of this type: its update function, with state of its own.
    #[allow(clippy::too_many_arguments)]
    pub fn optimizer_part(
        &mut self,
        def: &'a ast::Optimizer,
        file: FileAt,
        hyper: &[(&'a str, Value<'a>)],
        shown: &str,
        ty: &TensorType,
        param: &str,
        call: Span,
    ) -> Option<FunctionId> {
        let path: hir::Name = format!("optimizer.{param}").into();
        let mut body = Body::new(file, BodyKind::Optimizer, Some(path.clone()));
        for (name, value) in hyper {
            body.bind(name, Binding::Value(value.clone()));
        }
        self.bodies.push(body);
        self.calls.push((call, format!("`{shown}`")));
        let built = self.optimizer_inside(def, ty);
        self.calls.pop();
        let mut done = self.bodies.pop()?;
        let inputs = built?;
        let Some(new_value) = done.new_value.take() else {
            self.say(
                Diagnostic::error("no-value", format!("`{}` never changes its parameter", def.name))
                    .primary(def.name.span, "no `update` of its first input")
                    .help("add `update w = ..`"),
            );
            return None;
        };
        let head = Head {
            name: def.name.text.as_str().into(),
            shown: shown.to_string(),
            path: Some(path),
            inputs,
            span: def.name.span,
        };
        Some(self.keep_function(head, done, new_value))
    }

    fn optimizer_inside(&mut self, def: &'a ast::Optimizer, ty: &TensorType) -> Option<Vec<hir::LocalId>> {
        let [w, g] = def.inputs.as_slice() else {
            self.say(
                Diagnostic::error("wrong-arguments", "an optimizer has two inputs, the parameter and its gradient")
                    .primary(def.name.span, format!("{} here", def.inputs.len()))
                    .help("write `(w: f32[..], g: f32[..])`"),
            );
            return None;
        };
        let mut inputs = Vec::new();
        for input in [w, g] {
            let ty = Type::Tensor(ty.clone());
            self.bind_type(&input.ty, &ty);
            let local = self.body().new_local(input.name.text.as_str(), ty, input.name.span);
            let value = self.here().local(local, input.name.span);
            self.body().bind(&input.name.text, Binding::Value(Value::Run(value)));
            inputs.push(local);
        }
        self.body().optimized = Some((w.name.text.clone(), ty.clone()));
        for law in &def.laws {
            self.meet_law(law, &crate::laws::LawPlace { call: def.name.span, shown: &def.name.text })?;
        }
        let before = self.errors();
        self.statements(&def.body, None);
        self.finish_statement();
        if self.errors() > before { None } else { Some(inputs) }
    }
}
