import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** One member of a consumer group, with the events of {@code tests/clients/member.py} on its output. SIGTERM: it leaves. */
public final class GroupMember {
    private static final Duration POLL = Duration.ofMillis(200);
    private static final Map<String, String> STRATEGIES = Map.of(
            "range", "org.apache.kafka.clients.consumer.RangeAssignor",
            "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    private GroupMember() {}

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", options.text("bootstrap"));
        settings.put("group.id", options.text("group"));
        settings.put("session.timeout.ms", options.number("session-ms", 6000));
        settings.put("heartbeat.interval.ms", 500);
        settings.put("auto.offset.reset", options.text("reset", "earliest"));
        settings.put("enable.auto.commit", false);
        settings.put("reconnect.backoff.max.ms", 500);
        settings.put("metadata.max.age.ms", 1000);
        settings.put("partition.assignment.strategy", STRATEGIES.get(options.text("strategy", "range")));
        String instance = options.text("instance", "");
        if (!instance.isEmpty()) {
            settings.put("group.instance.id", instance);
        }
        CountDownLatch ended = new CountDownLatch(1);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                consumer.wakeup();
                try {
                    ended.await();
                } catch (InterruptedException error) {
                    Thread.currentThread().interrupt();
                }
            }));
            consumer.subscribe(List.of(options.text("topics").split(",")), new Listener());
            while (true) {
                step(consumer);
            }
        } catch (WakeupException stop) {
            System.out.println("{\"event\":\"closed\"}");
        } catch (KafkaException error) {
            tell(error);
        } finally {
            ended.countDown();
        }
    }

    private static void step(KafkaConsumer<byte[], byte[]> consumer) {
        ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
        Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            TopicPartition partition = new TopicPartition(record.topic(), record.partition());
            System.out.printf("{\"event\":\"record\",\"partition\":\"%s\",\"offset\":%d}%n", name(partition), record.offset());
            ends.put(partition, new OffsetAndMetadata(record.offset() + 1));
        }
        if (ends.isEmpty()) {
            return;
        }
        try {
            consumer.commitSync(ends);
            System.out.println("{\"event\":\"committed\",\"offsets\":{" + ends.entrySet().stream()
                    .map(end -> "\"" + name(end.getKey()) + "\":" + end.getValue().offset()).collect(Collectors.joining(",")) + "}}");
        } catch (WakeupException | FencedInstanceIdException error) {
            throw error;
        } catch (KafkaException error) {
            // A rebalance came between; the records are read again by whoever has the partition then.
            tell(error);
        }
    }

    private static void tell(KafkaException error) {
        String words = String.valueOf(error.getMessage()).replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " ");
        System.out.printf("{\"event\":\"error\",\"name\":\"%s\",\"words\":\"%s\"}%n", error.getClass().getSimpleName(), words);
    }

    private static String name(TopicPartition partition) {
        return partition.topic() + ":" + partition.partition();
    }

    private static final class Listener implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            say("assigned", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            say("revoked", partitions);
        }

        private static void say(String event, Collection<TopicPartition> partitions) {
            System.out.println("{\"event\":\"" + event + "\",\"partitions\":["
                    + partitions.stream().map(p -> "\"" + name(p) + "\"").sorted().collect(Collectors.joining(",")) + "]}");
        }
    }
}
