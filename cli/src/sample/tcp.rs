//! Bytes no proxy may understand: a protocol in which the server speaks first, and HTTP that is
//! none.

use std::{io, net::Ipv6Addr, time::Duration};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use runtime::TaskSet;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::asked_to_end;
use crate::print;

/// An answer no HTTP parser may take: two lengths that differ, a header name with a space, a bare
/// line feed, a byte that is no text, and more body than either length says.
pub const MALFORMED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\nX Bad: yes\nX-Raw: \xff\r\n\r\nhello, world\r\n";

/// The longest line the server reads.
const LINE_MAX: u64 = 64 << 10;

/// What the server does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Mode {
    /// Greets, then gives each line back; `quit` ends it.
    Banner,
    /// Waits for the end of a request's head, then answers what is not HTTP and closes.
    Malformed,
}

/// What the server is.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Name in the greeting.
    #[arg(long, default_value = "sample")]
    name: String,
    /// Port to listen on; 0 picks one and prints it.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// What to serve.
    #[arg(long, value_enum, default_value = "banner")]
    mode: Mode,
}

/// What the client sends and expects.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// `HOST:PORT`.
    address: String,
    /// Lines to send once the server has spoken, each after the answer to the one before.
    #[arg(long)]
    send: Vec<String>,
    /// Send nothing but a request's head, and expect exactly the malformed answer.
    #[arg(long, conflicts_with = "send")]
    malformed: bool,
    /// How many seconds an answer may take.
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

/// Serves until asked to end.
pub async fn serve(args: ServerArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, args.port)).await?;
    print::out(format_args!(
        "{} listens on port {}",
        args.name,
        listener.local_addr()?.port()
    ));
    let tasks = TaskSet::current();
    let end = asked_to_end();
    tokio::pin!(end);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    let args = args.clone();
                    print::out(format_args!("{client} connected"));
                    tasks.spawn("client", async move {
                        // A client that breaks off is its own affair.
                        let _ = match args.mode {
                            Mode::Banner => greet(stream, &args.name).await,
                            Mode::Malformed => mislead(stream).await,
                        };
                    });
                }
                // Out of descriptors: give connections time to end.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            () = &mut end => return Ok(()),
        }
    }
}

async fn greet(stream: TcpStream, name: &str) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    write
        .write_all(format!("220 {name} ready\r\n").as_bytes())
        .await?;
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        (&mut lines)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .await?;
        if line.is_empty() || line.trim_ascii().eq_ignore_ascii_case(b"quit") {
            write.write_all(b"221 bye\r\n").await?;
            return write.shutdown().await;
        }
        write
            .write_all(&[b"250 ".as_slice(), line.trim_ascii_end(), b"\r\n"].concat())
            .await?;
    }
}

async fn mislead(stream: TcpStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        (&mut lines)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .await?;
        if line.trim_ascii().is_empty() {
            break;
        }
    }
    write.write_all(MALFORMED).await?;
    write.shutdown().await
}

/// Talks to a server, printing what it says.
pub async fn talk(args: ClientArgs) -> anyhow::Result<()> {
    let limit = Duration::from_secs(args.timeout);
    let connecting = timeout(limit, TcpStream::connect(&args.address)).await;
    let stream = connecting
        .context("no connection in time")?
        .with_context(|| format!("connect to {}", args.address))?;
    if args.malformed {
        return timeout(limit, expect_malformed(stream))
            .await
            .context("no end of the answer in time")?;
    }
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let hear = async |lines: &mut BufReader<_>| -> anyhow::Result<String> {
        let mut line = String::new();
        timeout(limit, lines.read_line(&mut line))
            .await
            .context("no answer in time")??;
        ensure!(!line.is_empty(), "the server has gone");
        Ok(line.trim_end().to_owned())
    };
    print::out(hear(&mut lines).await?);
    for line in args.send.iter().map(String::as_str).chain(["quit"]) {
        write.write_all(format!("{line}\r\n").as_bytes()).await?;
        print::out(hear(&mut lines).await?);
    }
    Ok(())
}

async fn expect_malformed(mut stream: TcpStream) -> anyhow::Result<()> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: malformed\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    print::out_bytes(&answer)?;
    ensure!(
        answer == MALFORMED,
        "the answer is not byte for byte what the server sends"
    );
    Ok(())
}
