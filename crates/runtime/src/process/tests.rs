use std::fs::File;

use prometheus_client::registry::Registry;

use crate::admin::stats::Metrics;

fn value(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.encode();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn open_files_are_counted_and_the_limit_can_be_raised() {
    super::raise_open_file_limit();
    let mut registry = Registry::default();
    super::register(&mut registry);
    let metrics = Metrics::new(registry);
    assert!(metrics.encode().contains("# TYPE process_open_fds gauge\n"));
    assert!(
        metrics
            .encode()
            .contains("# TYPE cairn_task_panics counter\ncairn_task_panics_total ")
    );
    let (soft, hard) = super::getrlimit(super::Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(soft, hard);
    assert_eq!(value(&metrics, "process_max_fds"), soft);

    let before = value(&metrics, "process_open_fds");
    // More than other tests may close meanwhile.
    let files: Vec<_> = (0..500).map(|_| File::open("/dev/null").unwrap()).collect();
    assert!(value(&metrics, "process_open_fds") > before);
    drop(files);
}
