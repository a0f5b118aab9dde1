use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::Histogram;

#[test]
fn values_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
    let histogram = Histogram::default();
    let mut registry = Registry::default();
    registry.register("t", "T", histogram.clone());
    for value in [0.0, 0.5, 0.6, 5.0, 1e9] {
        histogram.observe(value);
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "t_bucket{le=\"0.5\"} 2",
        "t_bucket{le=\"1.0\"} 3",
        "t_bucket{le=\"5.0\"} 4",
        "t_bucket{le=\"3600000.0\"} 4",
        "t_bucket{le=\"+Inf\"} 5",
        "t_sum 1000000006.1",
        "t_count 5",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no `{line}` in\n{text}"
        );
    }
}

#[test]
fn threads_do_not_lose_values() {
    let histogram = Histogram::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| histogram.observe(2.0)));
        }
    });
    let mut registry = Registry::default();
    registry.register("t", "T", histogram);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("t_sum 8000.0\n") && text.contains("t_count 4000\n"),
        "{text}"
    );
}
