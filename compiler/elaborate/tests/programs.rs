//! Every program of tests/programs becomes programs that verify, and the loss of each has the gradient that central differences give.
mod support;
