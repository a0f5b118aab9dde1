//! Runs test cases: each in a waypoint of its own, before servers that do as the case says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tracing::Level;
use waypoint::local::{Local, Service, Trace};

use super::case::{Answer, Call, Case};
use super::client::Client;
use super::compare::{Difference, Happened};
use super::log::Line;
use super::project;
use super::proxy::{self, Subject};
use super::server::{self, Message, Reaction, Received, Script, Server};

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether what happens behind a request has happened.
const LOOK: Duration = Duration::from_millis(10);
/// Crossings that are shown of a failed case.
const TRACE_SHOWN: usize = 200;

/// Lines that were logged since they were last taken.
pub type Logged = Arc<Mutex<Vec<Line>>>;

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The file it stands in.
    pub file: PathBuf,
    /// What should hold.
    pub name: String,
    /// In what it does not.
    pub differences: Vec<Difference>,
    /// What was logged.
    pub logs: Vec<Line>,
    /// Every crossing between proxy and guest, since the filter got its first request.
    pub trace: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether all holds.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text.truncate(text.trim_end().len());
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let word = if self.passed() { "ok  " } else { "FAIL" };
        writeln!(text, "{word} {}: {}", self.file.display(), self.name)?;
        for difference in &self.differences {
            writeln!(text, "  {}", difference.field)?;
            lines(text, "- expected", &difference.expected)?;
            lines(text, "+ was     ", &difference.was)?;
        }
        if self.passed() {
            return Ok(());
        }
        let shown = self.logs.iter().filter(|line| line.level <= Level::INFO);
        let logs: Vec<String> = shown.map(ToString::to_string).collect();
        section(text, "log", logs.iter().map(String::as_str))?;
        let cut = self.trace.len().saturating_sub(TRACE_SHOWN);
        let shown = self.trace.iter().map(String::as_str).take(TRACE_SHOWN);
        section(text, "calls between proxy and filter", shown)?;
        if cut > 0 {
            writeln!(text, "    … and {cut} more; --output json has all")?;
        }
        Ok(())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "file": self.file.display().to_string(),
            "name": self.name,
            "passed": self.passed(),
            "milliseconds": self.took.as_millis(),
            "differences": self.differences.iter().map(Difference::json).collect::<Vec<_>>(),
            "logs": self.logs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "trace": self.trace,
        })
    }
}

fn lines(text: &mut String, title: &str, of: &str) -> std::fmt::Result {
    for (index, line) in of.lines().enumerate() {
        let title = if index == 0 { title } else { "          " };
        writeln!(text, "    {title} {line}")?;
    }
    if of.is_empty() {
        writeln!(text, "    {title} (empty)")?;
    }
    Ok(())
}

fn section<'a>(
    text: &mut String,
    title: &str,
    lines: impl Iterator<Item = &'a str>,
) -> std::fmt::Result {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            writeln!(text, "  {title}")?;
        }
        writeln!(text, "    {line}")?;
    }
    Ok(())
}

/// Runs one case.
///
/// # Errors
/// When this machine does not let it run; what does not hold is in the outcome.
pub async fn run(
    subject: &Subject,
    file: &Path,
    case: &Case,
    logged: &Logged,
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    logged.lock().clear();
    let crossings: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&crossings);
    let trace = Trace::new(move |line| sink.lock().push(line.to_owned()));

    let world = World::build(case).await?;
    let mut settings = proxy::settings(world.upstream, Some(trace));
    settings.services.extend(world.services.iter().cloned());
    let mut local = Local::start(&settings)?;
    let mut subject = subject.clone();
    if let Some(config) = &case.config {
        subject.configuration = project::configuration(config)?;
    }
    subject.environment.extend(case.environment.clone());

    let mut was = Happened::default();
    let swapped = local.swap(&subject.plugin(case.fail_strategy.into())).await;
    was.refused = swapped.err().map(|why| why.to_string());
    let mut differences;
    if was.refused.is_some() || case.expect.refused.is_some() {
        differences = case.expect.differences(&was);
    } else {
        local.open();
        was.response = Some(exchange(&local, case).await?);
        let deadline = Instant::now() + case.wait()?;
        loop {
            world.tell(&mut was);
            was.logs = logged.lock().iter().map(text_of).collect();
            was.metrics = proxy::metrics(&local.metrics(), |_| true);
            differences = case.expect.differences(&was);
            if differences.is_empty() || Instant::now() >= deadline {
                break;
            }
            sleep(LOOK).await;
        }
    }
    local.stop(Duration::from_secs(1)).await;
    let logs = mem::take(&mut *logged.lock());
    let trace = after_trial(mem::take(&mut *crossings.lock()));
    Ok(Outcome {
        file: file.to_owned(),
        name: case.name.clone(),
        differences,
        logs,
        trace,
        took: began.elapsed(),
    })
}

/// What a case compares: the line without who says it.
fn text_of(line: &Line) -> String {
    let level = line.level.as_str().to_ascii_lowercase();
    format!("{level} {}", line.message)
}

/// The crossings since the filter serves: before, an instance is tried and thrown away.
fn after_trial(mut trace: Vec<String>) -> Vec<String> {
    let begins = |line: &String| {
        line.starts_with("[host->vm] proxy_on_context_create(") && line.ends_with(", 0)")
    };
    let second = trace
        .iter()
        .enumerate()
        .filter(|(_, line)| begins(line))
        .nth(1);
    if let Some((second, _)) = second {
        trace.drain(..second);
    }
    trace
}

/// Sends the request and takes in the answer.
async fn exchange(local: &Local, case: &Case) -> anyhow::Result<Result<Message, String>> {
    let sent = case.sent()?;
    let mut client = Client::connect(local.address(), sent.http2).await?;
    let answer = timeout(PATIENCE, client.send(&sent)).await;
    Ok(match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(why)) => Err(runtime::report(&why)),
        Err(_) => Err(format!("nothing came within {} s", PATIENCE.as_secs())),
    })
}

/// The servers of a case.
struct World {
    upstream: std::net::SocketAddr,
    received: Received,
    services: Vec<Service>,
    calls: Rc<Callouts>,
    _servers: Vec<Server>,
}

/// What is answered to callouts, and what they were.
#[derive(Default)]
struct Callouts {
    waiting: RefCell<Vec<Call>>,
    made: RefCell<Vec<(String, Message)>>,
    unanswered: RefCell<Vec<String>>,
}

impl World {
    async fn build(case: &Case) -> anyhow::Result<Self> {
        let mut servers = vec![];
        let received = Received::default();
        let upstream = match case.answer()? {
            Answer::Refused => server::nobody()?,
            answer => {
                let noted = Rc::clone(&received);
                let script: Script = Rc::new(move |request| {
                    noted.borrow_mut().push(request);
                    reaction(answer.clone())
                });
                let server = Server::start(script).await?;
                let address = server.address;
                servers.push(server);
                address
            }
        };
        let waiting = case.calls()?;
        let mut places: BTreeMap<(String, u16), Vec<&Call>> = BTreeMap::new();
        for call in &waiting {
            let place = (call.host.clone(), call.port);
            places.entry(place).or_default().push(call);
        }
        let calls = Rc::new(Callouts {
            waiting: RefCell::new(waiting.clone()),
            ..Callouts::default()
        });
        let mut services = vec![];
        for ((host, port), of_place) in places {
            let refuses = of_place
                .iter()
                .any(|call| matches!(call.answer, Answer::Refused));
            let address = if refuses {
                server::nobody()?
            } else {
                let calls = Rc::clone(&calls);
                let place = (host.clone(), port);
                let script: Script = Rc::new(move |request| calls.answer(&place, request));
                let server = Server::start(script).await?;
                let address = server.address;
                servers.push(server);
                address
            };
            services.push(Service {
                host,
                port,
                address,
            });
        }
        Ok(Self {
            upstream,
            received,
            services,
            calls,
            _servers: servers,
        })
    }

    /// Tells what the servers have noted.
    fn tell(&self, was: &mut Happened) {
        was.received.clone_from(&self.received.borrow());
        was.calls.clone_from(&self.calls.made.borrow());
        was.unanswered.clone_from(&self.calls.unanswered.borrow());
    }
}

impl Callouts {
    /// Answers with the first answer that is meant for the request, which is used up by that.
    fn answer(&self, (host, port): &(String, u16), request: Message) -> Reaction {
        let mut waiting = self.waiting.borrow_mut();
        let found = waiting.iter().position(|call| {
            call.host == *host && call.port == *port && call.wanted.fits(&request)
        });
        let Some(found) = found else {
            let what = format!("{host}:{port} {} {}", request.method, request.path);
            self.unanswered.borrow_mut().push(what);
            return Reaction::Hangup;
        };
        let call = waiting.remove(found);
        self.made.borrow_mut().push((call.upstream, request));
        reaction(call.answer)
    }
}

fn reaction(answer: Answer) -> Reaction {
    match answer {
        Answer::Message(message) => Reaction::Answer(message),
        Answer::Timeout => Reaction::Silence,
        Answer::Hangup | Answer::Refused => Reaction::Hangup,
    }
}
