//! Compares a generated page with the one in docs/.

use std::path::Path;

/// Fails if docs/`name` is not `generated`; with UPDATE_DOCS set it writes the page instead.
pub(crate) fn compare(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).expect("write the page");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(generated.lines()).find(|(a, b)| a != b);
    assert!(
        page == generated,
        "docs/{name} is out of date (first difference: {differs:?}); write it with \
         UPDATE_DOCS=1 cargo test -p tidegate-broker --lib documentation"
    );
}
