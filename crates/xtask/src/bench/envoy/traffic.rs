//! The clients of a proxy and the server behind it, on one thread that waits for all of them at
//! once.
//!
//! A proxy can only be kept busy by something that does less for a request than it does. Here that
//! is a read and a write at either end and a wait that is shared: no thread is woken for a
//! message, and nothing passes between threads.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::super::cpu::{Threads, Ticks};
use super::exchange::Exchange;
use super::window::Window;

/// The most bytes a message may have, and more than any has.
const MESSAGE_MAX: usize = 16 << 10;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the listener's events are marked with; those of connections with their place.
const LISTENER: Token = Token(usize::MAX >> 1);

/// All connections of clients and server.
#[derive(Debug)]
pub(super) struct Traffic {
    poll: Poll,
    listener: TcpListener,
    /// At the place that their events are marked with.
    links: Vec<Option<Link>>,
    /// Clients ask again once they are answered.
    asks_again: bool,
    answered: u64,
    /// Requests without an answer yet.
    open: u64,
    /// The proxies' CPU.
    proxies: usize,
}

/// Those who ask a proxy, each as soon as it has its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients {
    /// The proxy's process.
    pub(super) pid: u32,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// How many clients, each with a connection.
    pub(super) connections: u32,
    /// How long they ask before the window.
    pub(super) warm_up: Duration,
    /// The length of the window.
    pub(super) length: Duration,
}

/// Which end of a connection is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Client,
    Server,
}

/// One connection.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    end: End,
    buffer: Vec<u8>,
    /// How much of the buffer holds what was read.
    filled: usize,
    /// How much of the last message is still to be sent.
    unsent: usize,
}

/// One look at everything, at one end of a window.
struct Look {
    at: Instant,
    answered: u64,
    proxy: Threads,
    own: Threads,
    cpu: Ticks,
}

impl Traffic {
    /// Answers requests at `address` whenever there is a window; proxies are on the CPU `proxies`.
    pub(super) fn listen(address: SocketAddr, proxies: usize) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("listen {address}"))?;
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        let source = &listener.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(source), LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            links: Vec::new(),
            asks_again: false,
            answered: 0,
            open: 0,
            proxies,
        })
    }

    /// Lets clients ask a proxy again and again, and takes what happens in the window.
    ///
    /// # Errors
    /// When an answer is missing or not what it must be.
    pub(super) fn window(&mut self, clients: &Clients, exchange: &Exchange) -> Result<Window> {
        let Clients { pid, address, .. } = *clients;
        self.asks_again = true;
        for _ in 0..clients.connections {
            let stream = TcpStream::connect(address);
            let stream = stream.with_context(|| format!("connect {address}"))?;
            let place = self.add(stream, End::Client)?;
            self.ask(place, exchange)?;
        }
        self.pass_until(exchange, Instant::now() + clients.warm_up)?;
        let before = self.look(pid)?;
        self.pass_until(exchange, before.at + clients.length)?;
        let after = self.look(pid)?;
        // Nobody leaves without an answer: the proxy's connections to the server stay in use.
        self.asks_again = false;
        while self.open > 0 {
            self.pass(exchange, PATIENCE)?;
        }
        for link in &mut self.links {
            link.take_if(|link| link.end == End::Client);
        }
        Ok(after.since(&before))
    }

    fn look(&self, pid: u32) -> Result<Look> {
        Ok(Look {
            at: Instant::now(),
            answered: self.answered,
            proxy: Threads::of(pid)?,
            own: Threads::of(std::process::id())?,
            cpu: Ticks::of(self.proxies)?,
        })
    }

    fn pass_until(&mut self, exchange: &Exchange, until: Instant) -> Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.pass(exchange, left)?;
        }
    }

    /// Does what there is to do, after having waited for it.
    fn pass(&mut self, exchange: &Exchange, at_most: Duration) -> Result<()> {
        let mut events = Events::with_capacity(256);
        let patience = at_most.min(PATIENCE);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        ensure!(
            !events.is_empty() || patience < PATIENCE,
            "nothing came for {} s while {} requests had no answer",
            PATIENCE.as_secs(),
            self.open
        );
        for event in &events {
            if event.token() == LISTENER {
                self.accept()?;
            } else {
                self.serve(event.token().0, exchange)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.add(stream, End::Server)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
        }
    }

    /// Takes over a connection; its place is returned.
    fn add(&mut self, stream: TcpStream, end: End) -> Result<usize> {
        // Small messages must not wait for acknowledgements.
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let free = self.links.iter().position(Option::is_none);
        let place = free.unwrap_or(self.links.len());
        self.poll.registry().register(
            &mut SourceFd(&stream.as_raw_fd()),
            Token(place),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let link = Some(Link {
            stream,
            end,
            buffer: vec![0; MESSAGE_MAX],
            filled: 0,
            unsent: 0,
        });
        match self.links.get_mut(place) {
            Some(free) => *free = link,
            None => self.links.push(link),
        }
        Ok(place)
    }

    fn ask(&mut self, place: usize, exchange: &Exchange) -> Result<()> {
        if let Some(Some(link)) = self.links.get_mut(place) {
            self.open += 1;
            link.say(&exchange.request)?;
        }
        Ok(())
    }

    /// Goes on with a connection on which something has changed.
    fn serve(&mut self, place: usize, exchange: &Exchange) -> Result<()> {
        // Events of a connection that ended in the same batch come too late.
        let Some(Some(link)) = self.links.get_mut(place) else {
            return Ok(());
        };
        let end = link.end;
        link.go_on(match end {
            End::Client => &exchange.request,
            End::Server => &exchange.answer,
        })?;
        loop {
            let read = link.read()?;
            let messages = link.messages(exchange)?;
            for _ in 0..messages {
                match end {
                    End::Server => link.say(&exchange.answer)?,
                    End::Client => {
                        self.answered += 1;
                        self.open -= 1;
                        if self.asks_again {
                            self.open += 1;
                            link.say(&exchange.request)?;
                        }
                    }
                }
            }
            match read {
                Progress::More => {}
                Progress::Nothing => return Ok(()),
                Progress::Closed => {
                    ensure!(end == End::Server, "the proxy closed a client's connection");
                    if let Some(ended) = self.links.get_mut(place) {
                        *ended = None;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// What a read came to.
enum Progress {
    /// There may be more.
    More,
    /// The rest will be told by an event.
    Nothing,
    Closed,
}

impl Link {
    /// Reads once. A read that did not fill the buffer took all there was (`epoll(7)`).
    fn read(&mut self) -> Result<Progress> {
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let room = free.len();
        ensure!(room > 0, "a message of more than {MESSAGE_MAX} bytes");
        match self.stream.read(free) {
            Ok(0) => {
                ensure!(self.filled == 0, "the proxy closed inside a message");
                Ok(Progress::Closed)
            }
            Ok(read) => {
                self.filled += read;
                Ok(if read < room {
                    Progress::Nothing
                } else {
                    Progress::More
                })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Progress::Nothing),
            // A proxy that ends its idle connections hard.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && self.filled == 0 => {
                Ok(Progress::Closed)
            }
            Err(error) => Err(error).context("receive"),
        }
    }

    /// Takes out the messages that are whole, and says how many.
    fn messages(&mut self, exchange: &Exchange) -> Result<usize> {
        let mut taken = 0;
        let mut count = 0;
        while taken < self.filled {
            let rest = self.buffer.get(taken..self.filled).unwrap_or_default();
            let end = match self.end {
                End::Client => exchange.answer_end(rest)?,
                End::Server => exchange.request_end(rest)?,
            };
            let Some(end) = end else { break };
            taken += end;
            count += 1;
        }
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(count)
    }

    /// Sends a message, the rest of it when there is room.
    fn say(&mut self, message: &[u8]) -> Result<()> {
        ensure!(self.unsent == 0, "a message before the last one was sent");
        self.unsent = message.len();
        self.go_on(message)
    }

    fn go_on(&mut self, message: &[u8]) -> Result<()> {
        while self.unsent > 0 {
            let rest = message.get(message.len() - self.unsent..);
            match self.stream.write(rest.unwrap_or_default()) {
                Ok(0) => bail!("nothing can be sent"),
                Ok(sent) => self.unsent -= sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("send"),
            }
        }
        Ok(())
    }
}

impl Look {
    fn since(&self, before: &Self) -> Window {
        let (idle, stolen) = self.cpu.since(before.cpu);
        Window {
            seconds: (self.at - before.at).as_secs_f64(),
            requests: self.answered - before.answered,
            proxy: self.proxy.since(&before.proxy),
            generator: self.own.since(&before.own),
            idle,
            stolen,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use super::*;

    /// A proxy of this process: it passes bytes on, both ways, and gives each to `change`.
    fn proxy(server: SocketAddr, change: fn(&mut [u8])) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
                let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(client, forth, |_| {}));
                thread::spawn(move || pass(server, back, change));
            }
        });
        address
    }

    /// In small pieces, so that no message comes whole.
    fn pass(mut from: TcpStream, mut to: TcpStream, change: fn(&mut [u8])) {
        to.set_nodelay(true).unwrap();
        let mut piece = [0; 100];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            change(&mut piece[..read]);
            if to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    }

    fn window(exchange: &Exchange, change: fn(&mut [u8])) -> Result<Window> {
        let mut traffic = Traffic::listen((Ipv4Addr::LOCALHOST, 0).into(), 0).unwrap();
        let clients = Clients {
            pid: std::process::id(),
            address: proxy(traffic.listener.local_addr().unwrap(), change),
            connections: 3,
            warm_up: Duration::from_millis(10),
            length: Duration::from_millis(100),
        };
        traffic.window(&clients, exchange)
    }

    #[test]
    fn everybody_asks_again_until_the_window_ends() {
        for exchange in [Exchange::small(None, None), Exchange::page(false)] {
            // However slow the machine is: in some window a client asks twice.
            let mut windows = (0..).map(|_| window(&exchange, |_| {}).unwrap());
            let window = windows.find(|window| window.requests > 3).unwrap();
            assert!(window.proxy > 0 && window.seconds >= 0.1, "{window:?}");
        }
    }

    #[test]
    fn a_window_follows_another() {
        let mut traffic = Traffic::listen((Ipv4Addr::LOCALHOST, 0).into(), 0).unwrap();
        let clients = Clients {
            pid: std::process::id(),
            address: proxy(traffic.listener.local_addr().unwrap(), |_| {}),
            connections: 2,
            warm_up: Duration::ZERO,
            length: Duration::from_millis(20),
        };
        for exchange in [Exchange::small(None, None), Exchange::page(false)] {
            assert!(traffic.window(&clients, &exchange).unwrap().requests > 0);
            assert_eq!(traffic.open, 0);
        }
    }

    #[test]
    fn an_answer_that_the_filter_did_not_change_ends_the_window() {
        let wanted = Exchange::page(true);
        let refused = window(&wanted, |_| {}).unwrap_err();
        assert!(refused.to_string().contains("another body"), "{refused}");
        // The names of headers may be in large letters.
        let transformed = window(&wanted, <[u8]>::make_ascii_uppercase);
        assert!(transformed.unwrap().requests > 0);
    }
}
