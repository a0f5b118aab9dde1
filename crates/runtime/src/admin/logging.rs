//! `/logging`: what is logged, and changing it. Answers and arguments are ztunnel's.

use http::StatusCode;

use super::reply::{Query, Reply};
use crate::log::Levels;

const USAGE: &str = "\
usage: POST /logging                               show what is logged
       POST /logging?level=LEVEL                   change the level of everything not named
       POST /logging?level=TARGET=LEVEL,…          change the level of targets
       POST /logging?reset                         go back to the level of the start
       POST /logging?reset&level=…                 go back, then change
LEVEL is one of off, error, warn, info, debug, trace.
";

pub(super) fn answer(levels: &Levels, query: &Query) -> Reply {
    if let Some(unknown) = query.keys().find(|key| !["level", "reset"].contains(key)) {
        return wrong(&format!("unknown argument {unknown}"));
    }
    let changed = match (query.get("reset"), query.get("level")) {
        (None, None) => Ok(()),
        (None, Some(level)) => levels.set(level),
        (Some(_), level) => levels.reset(level.unwrap_or("")),
    };
    match changed {
        Ok(()) => Reply::text(format!("active log level is {}\n", levels.current())),
        Err(error) => wrong(&error.to_string()),
    }
}

fn wrong(why: &str) -> Reply {
    Reply::status(StatusCode::BAD_REQUEST, format!("{why}\n{USAGE}"))
}
