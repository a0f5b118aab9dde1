//! ZDS, the conversation between node agent and ztunnel: one protobuf message a packet over a
//! Unix socket of type SEQPACKET, the pod's network namespace as `SCM_RIGHTS`.
//!
//! Both roles use [`Socket`]; who says what when is in `agent::server` and `inpod`. Must never
//! hold what the messages mean.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, listen, recvmsg, sendmsg, socket,
};
use prost::Message;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[cfg(test)]
mod tests;

/// Largest message either side takes; Istio's agent and ztunnel have the same limit.
pub(crate) const MAX_MESSAGE: usize = 1024;

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("the ZDS socket failed")]
    Io(#[from] io::Error),
    /// The peer hung up.
    #[error("the ZDS peer closed the connection")]
    Closed,
    /// A packet was larger than [`MAX_MESSAGE`].
    #[error("a ZDS message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// A packet was no message.
    #[error("a ZDS message could not be decoded")]
    Decode(#[from] prost::DecodeError),
    /// The peer broke the order of the conversation.
    #[error("ZDS protocol error: {0}")]
    Protocol(&'static str),
}

impl From<nix::Error> for Error {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

/// One end of a conversation.
#[derive(Debug)]
pub(crate) struct Socket(AsyncFd<OwnedFd>);

/// A listening end.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    /// Listens at a path, replacing what an agent that died left there.
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let fd = seqpacket()?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(16)?)?;
        Ok(Self(watched(fd)?))
    }

    /// The next ztunnel.
    pub(crate) async fn accept(&self) -> Result<Socket, Error> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let raw = self
            .0
            .async_io(Interest::READABLE, |fd| Ok(accept4(fd.as_raw_fd(), flags)?))
            .await?;
        Ok(Socket(watched(owned(raw))?))
    }
}

impl Socket {
    /// Connects to an agent.
    pub(crate) fn connect(path: &Path) -> Result<Self, Error> {
        let fd = seqpacket()?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(watched(fd)?))
    }

    /// Sends one message, with a file descriptor or without.
    pub(crate) async fn send(
        &self,
        message: &impl Message,
        descriptor: Option<&OwnedFd>,
    ) -> Result<(), Error> {
        let bytes = message.encode_to_vec();
        if bytes.len() > MAX_MESSAGE {
            return Err(Error::TooLong);
        }
        let raw: Vec<RawFd> = descriptor.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        self.0
            .async_io(Interest::WRITABLE, |fd| {
                let data = [IoSlice::new(&bytes)];
                let flags = MsgFlags::MSG_NOSIGNAL;
                Ok(sendmsg::<()>(fd.as_raw_fd(), &data, control, flags, None)?)
            })
            .await?;
        Ok(())
    }

    /// Receives one message and the file descriptors that came with it.
    pub(crate) async fn recv<M: Message + Default>(&self) -> Result<(M, Vec<OwnedFd>), Error> {
        let mut buffer = [0; MAX_MESSAGE];
        let (length, truncated, descriptors) = self
            .0
            .async_io(Interest::READABLE, |fd| Ok(receive(fd, &mut buffer)?))
            .await?;
        if truncated {
            return Err(Error::TooLong);
        }
        let packet = buffer.get(..length).unwrap_or_default();
        if packet.is_empty() && descriptors.is_empty() {
            return Err(Error::Closed);
        }
        Ok((M::decode(packet)?, descriptors))
    }
}

fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(usize, bool, Vec<OwnedFd>)> {
    // Room for a few descriptors, so that a peer that sends too many is seen to do so.
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut data = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(fd.as_raw_fd(), &mut data, Some(&mut space), flags)?;
    let mut descriptors = vec![];
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(list) = control {
            descriptors.extend(list.into_iter().map(owned));
        }
    }
    Ok((
        message.bytes,
        message.flags.contains(MsgFlags::MSG_TRUNC),
        descriptors,
    ))
}

fn seqpacket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

#[expect(
    unsafe_code,
    reason = "nix returns received and accepted descriptors as numbers"
)]
fn owned(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nothing else holds it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

#[expect(
    unsafe_code,
    reason = "tokio asks for a descriptor that stays the same"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open file until it is dropped, and nobody takes it out.
    unsafe { AsyncFd::register(fd) }.map_err(|error| error.into_parts().1)
}
