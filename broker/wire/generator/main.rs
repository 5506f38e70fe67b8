//! Writes `src/schema/table.rs` from the message definitions in a kafka-clients jar:
//! `cargo run -p tidegate-wire --example generate -- kafka-clients-4.1.2.jar`.

mod definitions;
mod emit;

fn main() -> Result<(), String> {
    let jar = std::env::args_os().nth(1).ok_or("usage: generate JAR")?;
    let text = emit::table(&definitions::read(jar.as_ref())?);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema/table.rs");
    std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
}
