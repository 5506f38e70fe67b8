//! docs/simulation.md lists the simulation's rules and rare states as the code has them. UPDATE_DOCS=1 writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use tidegate_tests::sim::{rules, sometimes};

const BEGIN: &str = "<!-- generated from tests/src/sim/rules.rs and sometimes.rs -->\n";

#[test]
fn the_documentation_is_the_table_of_rules_and_rare_states() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulation.md");
    let page = std::fs::read_to_string(&path).expect("docs/simulation.md is there");
    let (head, tail) = page.split_once(BEGIN).expect("the page has its mark");
    let mut table = String::from(
        "\n## Rules, and where each is checked\n\n| rule | what holds | where (below `tests/src/sim`) |\n|---|---|---|\n",
    );
    for rule in rules::ALL {
        let _ = writeln!(table, "| {} | {} | {} |", rule.id, rule.says, rule.place);
    }
    table.push_str("\n## Rare states\n\nA `--full` run fails if one of them is never met.\n\n| state | met when |\n|---|---|\n");
    for (label, says) in sometimes::ALL {
        let _ = writeln!(table, "| {label} | {says} |");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{table}")).expect("writes");
    } else {
        assert_eq!(tail, table, "UPDATE_DOCS=1 cargo test -p tidegate-tests --test simulation_docs");
    }
}

#[test]
fn each_rule_has_its_own_name_and_is_used_where_the_table_says() {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim");
    let mut sources = String::new();
    for dir in [sim.clone(), sim.join("checks"), sim.join("clients")] {
        for entry in std::fs::read_dir(dir).expect("lists") {
            let path = entry.expect("lists").path();
            if path.is_file() && !path.ends_with("rules.rs") && !path.ends_with("sometimes.rs") {
                sources.push_str(&std::fs::read_to_string(path).expect("reads"));
            }
        }
    }
    for rule in rules::ALL {
        // W6 has no check of its own: a record of another life would be a phantom or a second copy.
        assert!(
            rule.id == "W6" || sources.contains(&format!("rules::{}", rule.id)),
            "{} is checked nowhere",
            rule.id
        );
    }
}
