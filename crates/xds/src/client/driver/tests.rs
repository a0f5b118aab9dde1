use std::io;

use super::*;

fn ending(status: Status) -> Termination {
    Ending::broken(status).why
}

#[test]
fn statuses_that_mean_come_again_are_no_errors() {
    let reconnect = [
        Status::unknown("broken pipe"),
        Status::cancelled(""),
        Status::deadline_exceeded(""),
        Status::unavailable("transport is closing"),
        Status::unavailable("closing transport due to: received prior goaway: code: NO_ERROR"),
    ];
    for status in reconnect {
        let shown = format!("{status:?}");
        assert_eq!(ending(status), Termination::Reconnect, "{shown}");
    }
    let errors = [
        Status::unavailable("no healthy upstream"),
        Status::unauthenticated("no token"),
        Status::permission_denied(""),
        Status::internal(""),
        Status::resource_exhausted("too many streams are open"),
    ];
    for status in errors {
        let shown = format!("{status:?}");
        assert_eq!(ending(status), Termination::Error, "{shown}");
    }
}

#[test]
fn a_refusal_made_on_this_side_is_a_connection_error() {
    let mut local = Status::unavailable("tcp connect error");
    local.set_source(Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)));
    assert_eq!(Ending::refused(local).why, Termination::ConnectionError);
    assert_eq!(
        Ending::refused(Status::unauthenticated("")).why,
        Termination::Error
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_stream_that_worked_lets_the_next_one_come_at_once() {
    let started = Instant::now();
    let after = |why, productive| {
        Ending {
            productive,
            ..Ending::new(why, None)
        }
        .calms(started)
    };
    assert!(after(Termination::Complete, true));
    assert!(after(Termination::Reconnect, true));
    assert!(
        !after(Termination::Complete, false),
        "a server that hangs up at once is not hammered"
    );
    assert!(!after(Termination::Error, true));
    assert!(!after(Termination::ConnectionError, false));
    tokio::time::advance(CAP).await;
    assert!(
        after(Termination::Error, true),
        "an error after a long time is not one of a series"
    );
}
