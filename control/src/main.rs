//! Objects in; resources, statuses, deployments and certificates out.

fn main() {}
