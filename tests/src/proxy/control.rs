//! The control port: one line in, one answer out, and the connection ends.

use std::io;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Longest command.
const LINE_BYTES_MAX: u64 = 1024;

/// Serves commands for ever; `obey` gets the words of one and says what the answer is.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, obey: impl Fn(&[&str]) -> Result<String>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = answer(stream, &obey).await {
            tracing::warn!(%error, "control connection");
        }
    }
}

async fn answer(mut stream: TcpStream, obey: &impl Fn(&[&str]) -> Result<String>) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new((&mut stream).take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let answer = match obey(&words) {
        Ok(text) => format!("ok\n{text}"),
        Err(error) => format!("error {error:#}\n"),
    };
    stream.write_all(answer.as_bytes()).await
}
