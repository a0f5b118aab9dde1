//! Budgets for the size of futures: what one connection costs while it idles is, for the most
//! part, the future that serves it.

/// Asserts, in a test, that a future takes at most `budget` bytes.
///
/// An array or a large value held across an await shows here before it shows in production as
/// memory per connection.
///
/// # Panics
/// When it takes more, with the number it takes.
#[track_caller]
pub fn assert_within<F>(name: &str, future: &F, budget: usize) {
    let size = size_of_val(future);
    assert!(
        size <= budget,
        "{name} takes {size} bytes; its budget is {budget}"
    );
}

#[cfg(test)]
mod tests {
    async fn frugal() {
        std::future::pending::<()>().await;
    }

    async fn hoarder() -> u8 {
        let hoard = [1; 4096];
        std::future::pending::<()>().await;
        hoard[17]
    }

    #[test]
    fn what_is_held_across_an_await_counts() {
        super::assert_within("frugal", &frugal(), 64);
        let over = std::panic::catch_unwind(|| super::assert_within("hoarder", &hoarder(), 4000));
        let message = *over.unwrap_err().downcast::<String>().unwrap();
        assert!(message.ends_with("its budget is 4000"), "{message}");
    }
}
