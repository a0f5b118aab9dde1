//! The thin waypoint binary: the library with the process around it.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    let ran = waypoint::app::run(&|name| std::env::var(name).ok());
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the log may not exist yet")]
            {
                eprintln!("waypoint: {error:#}");
            }
            ExitCode::from(64)
        }
    }
}
