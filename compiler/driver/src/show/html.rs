//! What pages share: escaping, bdl in colour, the look.

use super::highlight::{Kind, parts};

/// Text inside HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A sentence with `code` in it.
pub fn sentence(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            out.push_str(&format!("<code>{}</code>", escape(part)));
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

/// bdl with its words, types, numbers, texts and comments marked.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (kind, part) in parts(text) {
        let class = match kind {
            Kind::Word => "k",
            Kind::Type => "t",
            Kind::Number => "n",
            Kind::Text => "s",
            Kind::Comment => "c",
            Kind::Plain => {
                out.push_str(&escape(part));
                continue;
            }
        };
        out.push_str(&format!("<span class={class}>{}</span>", escape(part)));
    }
    out
}

/// A page that needs no other file.
pub fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>{STYLE}{style}</style></head>\n<body>\n{body}</body></html>\n",
        escape(title)
    )
}

/// Colours and type of all pages, by day and by night.
const STYLE: &str = r#"
:root { --ink: #1d2129; --soft: #5b6472; --line: #e3e6eb; --page: #ffffff; --card: #f7f8fa; --accent: #1f6feb;
  --k: #8250df; --t: #0550ae; --n: #953800; --s: #116329; --c: #6e7781;
  --one: #1f77b4; --two: #e8830c; --three: #2ca02c; --four: #d62728; --five: #9467bd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b2; --line: #2c323c; --page: #12151a; --card: #1a1e25;
  --accent: #58a6ff; --k: #d2a8ff; --t: #79c0ff; --n: #ffa657; --s: #7ee787; --c: #8b949e;
  --one: #58a6ff; --two: #f0a04b; --three: #56d364; --four: #ff7b72; --five: #bc8cff; } }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: var(--page); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif;
  -webkit-font-smoothing: antialiased }
code, pre, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px; font-variant-ligatures: none }
pre { margin: 0; overflow-x: auto; line-height: 1.5; tab-size: 2 }
a { color: var(--accent); text-decoration: none } a:hover { text-decoration: underline }
.k { color: var(--k) } .t { color: var(--t) } .n { color: var(--n) } .s { color: var(--s) } .c { color: var(--c); font-style: italic }
.soft { color: var(--soft) }
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_marked_and_nothing_is_lost() {
        assert_eq!(code("fn f<T> // a & b"), "<span class=k>fn</span> f&lt;T&gt; <span class=c>// a &amp; b</span>");
        assert_eq!(code("x[2] \"open"), "x[<span class=n>2</span>] <span class=s>&quot;open</span>");
        assert_eq!(sentence("gives `x < 1`, always"), "gives <code>x &lt; 1</code>, always");
    }
}
