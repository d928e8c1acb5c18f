//! The tools around the language: the prompt, pages, runs side by side.

mod bf16;
mod codes;
mod cuda;
mod prompt;
mod runs;
