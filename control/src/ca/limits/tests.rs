use std::time::Duration;

use super::{MAX_NODES, RateLimits};

fn taken(limits: &RateLimits, node: &str, attempts: usize) -> usize {
    (0..attempts).filter(|_| limits.take(node)).count()
}

#[tokio::test(start_paused = true)]
async fn c_07_a_node_gets_a_hundred_at_once_and_ten_a_second() {
    let limits = RateLimits::default();
    assert_eq!(taken(&limits, "node-1", 200), 100);
    assert_eq!(taken(&limits, "node-2", 1), 1, "others do not wait for it");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(taken(&limits, "node-1", 200), 30);
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(
        taken(&limits, "node-1", 200),
        100,
        "the reserve has a bound"
    );
}

#[tokio::test(start_paused = true)]
async fn c_07_all_together_get_five_hundred_a_second() {
    let limits = RateLimits::default();
    let nodes: Vec<_> = (0..10).map(|n| format!("node-{n}")).collect();
    let all = |attempts| {
        nodes
            .iter()
            .map(|node| taken(&limits, node, attempts))
            .sum::<usize>()
    };
    assert_eq!(all(100), 500);
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!(all(100), 50);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded() {
    let limits = RateLimits::default();
    for n in 0..2 * MAX_NODES {
        tokio::time::advance(Duration::from_millis(2)).await;
        limits.take(&format!("node-{n}"));
    }
    assert!(limits.0.lock().nodes.len() <= MAX_NODES);
}
