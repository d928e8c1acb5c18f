//! `bdl fmt` on every program of the tree: formatting what is formatted changes nothing, and no comment is lost.

use bdl::command::fmt::format;
use bdl_tests::{files, root};

#[test]
fn every_program_of_the_tree_keeps_its_meaning_and_its_comments() {
    let programs = files(&root(), ".bdl");
    assert!(programs.len() > 100, "only {} programs", programs.len());
    let mut looked_at = 0;
    for path in programs {
        let text = std::fs::read_to_string(&path).expect("readable");
        let shown = path.display().to_string();
        // Programs with syntax errors are left as they are.
        let Ok(once) = format(&shown, &text, false) else { continue };
        looked_at += 1;
        let twice =
            format(&shown, &once, false).unwrap_or_else(|failure| panic!("{shown} no longer parses\n{failure}"));
        assert_eq!(once, twice, "{shown} is formatted anew each time");
        let comments = |text: &str| {
            let texts =
                text.lines().filter_map(|line| line.split_once("//").map(|(_, comment)| comment.trim().to_string()));
            texts.collect::<Vec<_>>()
        };
        assert_eq!(comments(&text), comments(&once), "{shown} loses a comment");
        // A broken list ends with a comma, and a line end takes the place of `;`.
        let letters =
            |text: &str| text.chars().filter(|c| !c.is_whitespace() && !",;".contains(*c)).collect::<String>();
        assert_eq!(letters(&text), letters(&once), "{shown} gains or loses something");
    }
    assert!(looked_at > 100, "only {looked_at} programs parse");
}
