//! Definitions as one page that needs no other file: names at the left, a box that searches them, each with signature, words and text.

use super::{Entry, Module};
use crate::show::html::{code, escape, page, sentence};

pub fn show(title: &str, modules: &[Module]) -> String {
    let mut nav = String::new();
    let mut main = String::new();
    for module in modules {
        let id = id(&module.name);
        nav.push_str(&format!("<section><h2><a href=\"#{id}\">{}</a></h2>", escape(&module.name)));
        for entry in &module.entries {
            nav.push_str(&format!(
                "<a class=name href=\"#{id}.{name}\" data-name=\"{lower}\">{name}</a>",
                name = escape(&entry.name),
                lower = escape(&entry.name.to_lowercase()),
            ));
        }
        nav.push_str("</section>");
        main.push_str(&format!(
            "<section class=module id=\"{id}\"><h2>{}</h2>{}",
            escape(&module.name),
            paragraphs(&module.doc)
        ));
        module.entries.iter().for_each(|entry| main.push_str(&article(&id, entry)));
        main.push_str("</section>");
    }
    let count: usize = modules.iter().map(|module| module.entries.len()).sum();
    let body = format!(
        "<nav><h1>{title}</h1><input id=search type=search placeholder=\"search {count} names  ( / )\" autocomplete=off \
         aria-label=search>{nav}</nav>\n<main>{main}<p id=none class=soft hidden>nothing is called so</p></main>\n<script>{SCRIPT}</script>\n",
        title = escape(title),
    );
    page(title, STYLE, &body)
}

fn id(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}

fn article(module: &str, entry: &Entry) -> String {
    let words = format!("{} {}", entry.name, entry.doc.join(" ")).to_lowercase();
    let text = if entry.text.trim() == entry.signature.trim() {
        String::new()
    } else {
        format!("<details><summary>how it is written</summary><pre>{}</pre></details>", code(&entry.text))
    };
    format!(
        "<article id=\"{module}.{name}\" data-words=\"{words}\"><header><span class=kind>{kind}</span><h3><a href=\"#{module}.{name}\">{name}</a></h3></header>\
         <pre class=signature>{signature}</pre>{doc}{text}</article>\n",
        name = escape(&entry.name),
        words = escape(&words),
        kind = entry.kind,
        signature = code(&broken(&entry.signature)),
        doc = paragraphs(&entry.doc),
    )
}

/// A long signature breaks between its brackets and before its result.
fn broken(signature: &str) -> String {
    let whole = signature.split_whitespace().collect::<Vec<_>>().join(" ");
    if whole.chars().count() <= 88 {
        return whole;
    }
    whole.replacen(")(", ")\n  (", 1).replacen(") -> ", ")\n  -> ", 1).replacen(" where ", "\n  where ", 1)
}

/// Lines as sentences; indented ones are formulas, `Source:` begins a line of its own.
fn paragraphs(lines: &[String]) -> String {
    let mut out = String::new();
    let mut open = String::new();
    let close = |open: &mut String, out: &mut String| {
        if !open.is_empty() {
            out.push_str(&format!("<p>{}</p>", sentence(open)));
            open.clear();
        }
    };
    for line in lines {
        if line.starts_with("Source:") {
            close(&mut open, &mut out);
            out.push_str(&format!("<p class=source>{}</p>", sentence(line)));
        } else if line.trim().is_empty() {
            close(&mut open, &mut out);
        } else if line.starts_with("  ") {
            close(&mut open, &mut out);
            out.push_str(&format!("<pre class=formula>{}</pre>", escape(line.trim_end())));
        } else {
            if !open.is_empty() {
                open.push(' ');
            }
            open.push_str(line.trim());
        }
    }
    close(&mut open, &mut out);
    out
}

const STYLE: &str = r#"
body { display: grid; grid-template-columns: 250px minmax(0, 1fr) }
nav { position: sticky; top: 0; height: 100vh; overflow-x: hidden; overflow-y: auto; padding: 22px 18px; border-right: 1px solid var(--line); background: var(--card) }
nav h1 { font-size: 17px; margin: 0 0 12px } nav h2 { font-size: 11px; text-transform: uppercase; letter-spacing: .07em; margin: 18px 0 4px }
nav h2 a { color: var(--soft) } nav .name { display: block; color: var(--ink); font: 13px/1.75 ui-monospace, Menlo, monospace }
nav .name:hover { color: var(--accent) }
input { width: 100%; padding: 7px 10px; border: 1px solid var(--line); border-radius: 7px; background: var(--page); color: var(--ink); font: inherit; font-size: 13px }
input:focus { outline: 2px solid var(--accent); border-color: transparent }
main { padding: 34px 44px 30vh; max-width: 900px }
.module > h2 { font-size: 25px; margin: 34px 0 4px; letter-spacing: -.01em } .module:first-child > h2 { margin-top: 0 }
.module > p { color: var(--soft); max-width: 68ch }
article { margin: 26px 0; padding-top: 2px; scroll-margin-top: 20px }
article header { display: flex; align-items: baseline; gap: 10px } h3 { margin: 0; font-size: 17px } h3 a { color: var(--ink) }
.kind { font-size: 11px; color: var(--soft); border: 1px solid var(--line); border-radius: 5px; padding: 0 6px }
.signature { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; margin: 8px 0 10px }
article p { margin: 6px 0; max-width: 72ch } .source { color: var(--soft); font-size: 13px } .formula { margin: 6px 0 }
article:target .signature { border-color: var(--accent) }
details { margin-top: 6px } summary { cursor: pointer; color: var(--soft); font-size: 13px } details pre { padding: 10px 14px; border-left: 2px solid var(--line); margin-top: 6px }
@media (max-width: 720px) { body { display: block } nav { position: static; height: auto; max-height: 40vh } main { padding: 22px } }
"#;

const SCRIPT: &str = r#"
const box = document.getElementById('search');
const items = [...document.querySelectorAll('article')], names = [...document.querySelectorAll('nav .name')];
function find() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  items.forEach((item, at) => {
    const hit = words.every(word => item.dataset.words.includes(word));
    item.hidden = names[at].hidden = !hit; names[at].style.display = hit ? '' : 'none'; any = any || hit;
  });
  document.querySelectorAll('.module, nav section').forEach(part =>
    part.style.display = part.querySelector('article:not([hidden]), .name:not([hidden])') ? '' : 'none');
  document.getElementById('none').hidden = any;
}
box.addEventListener('input', find);
addEventListener('keydown', event => {
  if (event.key === '/' && document.activeElement !== box) { event.preventDefault(); box.focus(); }
  if (event.key === 'Escape') { box.value = ''; find(); }
});
"#;
