//! Names of computed tensors: the path of what computes them, then what they are.
//!
//! `net.conv1d_1.sum` is the sum in the layer instance `net.conv1d_1`, `net.conv1d_1.y` its result, `net.relu` what the function
//! `relu` makes in `net`. The program makes a name unique with a number (`net.relu_2`).

use bdl_equations::Name;

/// Something called `name` inside `outer`.
pub(crate) fn inside(outer: &str, name: &str) -> Name {
    if outer.is_empty() { name.into() } else { format!("{outer}.{name}").into() }
}

/// Where an optional value is there.
pub(crate) fn known(name: &str) -> Name {
    inside(name, "known")
}

/// What a layer instance gives.
pub(crate) fn result(path: &str) -> Name {
    inside(path, "y")
}

/// The value that a state takes after the step.
pub(crate) fn next(path: &str) -> String {
    format!("{path}.next")
}

/// A gradient as the caller sees it.
pub(crate) fn gradient(path: &str) -> Name {
    format!("grad.{path}").into()
}
