//! Which pods a Deployment should have: the controller-manager's part, as a pure function.
//!
//! A changed template is rolled one pod by one: a new pod must be ready before an old one goes,
//! so that a Deployment never has fewer ready pods than asked for. What is broken goes first.

/// A pod, as far as its Deployment cares. Pods that are on their way out do not count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Member {
    /// The pod's uid.
    pub(super) uid: String,
    /// Whether it was made from the current template.
    pub(super) current: bool,
    /// Whether it is ready.
    pub(super) ready: bool,
    /// The order in which pods were made.
    pub(super) age: u64,
}

/// How a Deployment changes from one template to the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Strategy {
    /// A new pod is ready before an old one goes.
    RollingUpdate,
    /// All old pods go before a new one comes.
    Recreate,
}

/// What to do next.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    /// How many pods to make from the current template.
    pub(super) create: usize,
    /// Which pods to let go.
    pub(super) delete: Vec<String>,
}

/// The next steps for a Deployment that wants `replicas` pods and has `members`.
pub(super) fn plan(replicas: usize, strategy: Strategy, members: &[Member]) -> Plan {
    let (current, old): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.current);
    let mut plan = Plan::default();
    let surplus = current.len().saturating_sub(replicas);
    plan.delete.extend(expendable(&current).take(surplus));
    let kept = current.len() - surplus;

    if old.is_empty() {
        plan.create = replicas - kept;
        return plan;
    }
    if strategy == Strategy::Recreate {
        plan.delete
            .extend(old.iter().map(|member| member.uid.clone()));
        return plan;
    }
    // One more than asked for may exist while the template changes.
    let room = (replicas + 1).saturating_sub(kept + old.len());
    plan.create = room.min(replicas - kept);
    let broken = old.iter().filter(|member| !member.ready).count();
    let ready = members.iter().filter(|member| member.ready).count();
    let spare = broken + ready.saturating_sub(replicas);
    plan.delete.extend(expendable(&old).take(spare));
    plan
}

/// Pods in the order they can be spared: those not ready, then the youngest.
fn expendable(members: &[&Member]) -> impl Iterator<Item = String> {
    let mut order: Vec<&Member> = members.to_vec();
    order.sort_by_key(|member| (member.ready, std::cmp::Reverse(member.age)));
    order.into_iter().map(|member| member.uid.clone())
}

/// The node for the next pod of a Deployment: the one with the fewest of its pods, then with the
/// fewest of all, then the first.
///
/// `load` has, for each node in order, the number of the Deployment's pods and of all pods.
pub(super) fn place<'n>(
    load: impl IntoIterator<Item = (&'n str, usize, usize)>,
) -> Option<&'n str> {
    load.into_iter()
        .min_by_key(|(_, own, all)| (*own, *all))
        .map(|(node, ..)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` new, `o` old; upper case is ready. The younger stand to the right.
    fn check(replicas: usize, pods: &str, expected: &str) {
        let member = |(age, pod): (usize, char)| Member {
            uid: age.to_string(),
            current: pod.eq_ignore_ascii_case(&'n'),
            ready: pod.is_ascii_uppercase(),
            age: age as u64,
        };
        let members: Vec<Member> = pods.chars().enumerate().map(member).collect();
        let plan = plan(replicas, Strategy::RollingUpdate, &members);
        assert_eq!(
            format!("+{} -{}", plan.create, plan.delete.join(",")),
            expected,
            "{replicas} of {pods:?}"
        );
    }

    #[test]
    fn missing_pods_are_made_and_surplus_ones_go() {
        check(2, "", "+2 -");
        check(2, "N", "+1 -");
        check(2, "NN", "+0 -");
        check(1, "NN", "+0 -1");
        // One that does not work is spared before one that does.
        check(1, "nN", "+0 -0");
        check(0, "N", "+0 -0");
    }

    #[test]
    fn a_new_template_is_rolled_one_by_one() {
        check(2, "OO", "+1 -");
        check(2, "OOn", "+0 -");
        check(2, "OON", "+0 -1");
        check(2, "ON", "+1 -");
        check(2, "ONn", "+0 -");
        check(2, "ONN", "+0 -0");
        check(2, "NN", "+0 -");
    }

    #[test]
    fn a_broken_new_template_leaves_the_old_pods_running() {
        check(1, "On", "+0 -");
        check(3, "OOOn", "+0 -");
    }

    #[test]
    fn broken_old_pods_do_not_block_the_new_template() {
        check(1, "o", "+1 -0");
        check(2, "Oo", "+1 -1");
    }

    #[test]
    fn scaling_while_rolling_ends_where_it_should() {
        check(1, "OON", "+0 -1,0");
        check(3, "ON", "+2 -");
        check(0, "ON", "+0 -1,0");
    }

    #[test]
    fn recreate_waits_until_all_old_pods_are_gone() {
        let old = |age| Member {
            uid: format!("{age}"),
            current: false,
            ready: true,
            age,
        };
        let plan = plan(2, Strategy::Recreate, &[old(0), old(1)]);
        assert_eq!((plan.create, plan.delete.len()), (0, 2));
    }

    #[test]
    fn pods_of_one_deployment_spread_over_the_nodes() {
        assert_eq!(place([("node1", 1, 1), ("node2", 0, 5)]), Some("node2"));
        assert_eq!(place([("node1", 1, 3), ("node2", 1, 2)]), Some("node2"));
        assert_eq!(place([("node1", 0, 0), ("node2", 0, 0)]), Some("node1"));
        assert_eq!(place([]), None);
    }
}
