use super::*;

fn waits(backoff: &mut Backoff, n: usize) -> Vec<u128> {
    (0..n).map(|_| backoff.next().as_millis()).collect()
}

#[test]
fn doubles_from_ten_milliseconds_to_fifteen_seconds() {
    let mut backoff = Backoff::new(Box::new(|| 1.0));
    assert_eq!(
        waits(&mut backoff, 13),
        [
            10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 15000, 15000
        ]
    );
    backoff.reset();
    assert_eq!(waits(&mut backoff, 2), [10, 20]);
}

#[test]
fn a_wait_is_anything_between_nothing_and_the_bound() {
    let mut draws = [0.0, 0.5, 0.25].into_iter();
    let mut backoff = Backoff::new(Box::new(move || draws.next().unwrap()));
    assert_eq!(waits(&mut backoff, 3), [0, 10, 10]);
}

#[test]
fn the_systems_jitter_stays_in_range_and_varies() {
    let mut jitter = system_jitter();
    let draws: Vec<f64> = (0..64).map(|_| jitter()).collect();
    assert!(
        draws.iter().all(|draw| (0.0..1.0).contains(draw)),
        "{draws:?}"
    );
    assert!(
        draws
            .windows(2)
            .any(|pair| pair[0].to_bits() != pair[1].to_bits()),
        "{draws:?}"
    );
}
