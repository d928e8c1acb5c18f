//! A page for every code that the checker or the parser says: what it means, an example, and the way out.
//!
//! Pages are written for someone who knows biology and statistics, not compilers. Each is plain text with the example indented by
//! four blanks. A test holds the list of codes in the sources against the pages.

mod indices;
mod models;
mod names;
mod sizes;
mod text;
mod training;
mod types;

/// A code and its page.
pub(crate) type Page = (&'static str, &'static str);

fn pages() -> impl Iterator<Item = &'static Page> {
    [text::PAGES, names::PAGES, types::PAGES, sizes::PAGES, indices::PAGES, models::PAGES, training::PAGES]
        .into_iter()
        .flatten()
}

/// The page of a code; `None` if neither the checker nor the parser says it.
///
/// ```
/// assert!(bdl_check::explain("dim-mismatch").is_some_and(|page| page.contains("Dense(164)")));
/// ```
pub fn explain(code: &str) -> Option<&'static str> {
    pages().find(|(known, _)| *known == code).map(|(_, page)| page.trim_matches('\n'))
}

/// Every code that has a page, in the order of the alphabet.
pub fn codes() -> Vec<&'static str> {
    let mut codes: Vec<&'static str> = pages().map(|(code, _)| *code).collect();
    codes.sort_unstable();
    codes
}
