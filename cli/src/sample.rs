//! The sample: a small shop to talk to with `curl`, and the clients and servers that show what a
//! mesh must carry besides plain HTTP.
//!
//! Nothing here knows of the mesh: these are the programs people would run in it.

pub mod bytes;
pub mod grpc;
pub mod server;
pub mod shop;
pub mod tcp;
pub mod upstream;
pub mod websocket;

use clap::Subcommand;

use crate::print;
use crate::state::{MeshName, StateDir};

/// A program of the sample.
#[derive(Debug, Subcommand)]
pub enum Sample {
    /// Serve HTTP/1.1, HTTP/2, WebSocket and gRPC; answers say who they are from.
    Server(server::Args),
    /// Send messages over a WebSocket and print what comes back.
    WsClient(websocket::Args),
    /// Call the server's gRPC echo.
    GrpcClient(grpc::Args),
    /// Serve a protocol in which the server speaks first, or deliberately malformed HTTP.
    TcpServer(tcp::ServerArgs),
    /// Talk to the TCP server and print what it says.
    TcpClient(tcp::ClientArgs),
    /// Print the shop's manifests.
    Shop,
}

impl Sample {
    /// Runs the program to its end.
    ///
    /// * `mesh` — the mesh that is meant where that makes a difference.
    pub async fn run(self, mesh: &MeshName) -> anyhow::Result<()> {
        match self {
            Self::Server(args) => server::run(args).await,
            Self::WsClient(args) => websocket::run(args).await,
            Self::GrpcClient(args) => grpc::run(args).await,
            Self::TcpServer(args) => tcp::serve(args).await,
            Self::TcpClient(args) => tcp::talk(args).await,
            Self::Shop => {
                print::out(shop::manifests(&StateDir::new(mesh)).trim_end());
                Ok(())
            }
        }
    }
}

/// Resolves when the process is asked to end.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
