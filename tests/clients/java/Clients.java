import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Producers and consumers of bytes as the tests want them: idempotent ones, and consumers without a group. */
final class Clients {
    /** No wait of a test is longer; what is not there by then is missing. */
    static final Duration PATIENCE = Duration.ofSeconds(60);

    private Clients() {}

    static KafkaProducer<byte[], byte[]> producer(Options options, Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", options.text("bootstrap"));
        all.put("acks", "all");
        all.put("enable.idempotence", true);
        all.put("reconnect.backoff.max.ms", 500);
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Options options, Map<String, ?> settings) {
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", options.text("bootstrap"));
        all.put("enable.auto.commit", false);
        all.put("auto.offset.reset", "none");
        all.put("reconnect.backoff.max.ms", 500);
        all.put("allow.auto.create.topics", false);
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, Collection<String> topics) {
        List<TopicPartition> found = new ArrayList<>();
        for (String topic : topics) {
            consumer.partitionsFor(topic, PATIENCE).forEach(p -> found.add(new TopicPartition(p.topic(), p.partition())));
        }
        return found;
    }

    /** Reads each partition from its log start to the end that it has now, and hands every record on. Returns the ends. */
    static Map<TopicPartition, Long> readAll(
            KafkaConsumer<byte[], byte[]> consumer,
            Collection<TopicPartition> partitions,
            Consumer<ConsumerRecord<byte[], byte[]>> taker) {
        consumer.assign(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions, PATIENCE);
        consumer.beginningOffsets(partitions, PATIENCE).forEach(consumer::seek);
        Deadline deadline = new Deadline(PATIENCE);
        while (!ends.entrySet().stream().allMatch(e -> consumer.position(e.getKey(), PATIENCE) >= e.getValue())) {
            int count = 0;
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                count++;
                if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                    taker.accept(record);
                }
            }
            if (count > 0) {
                // Patience is for standing still: a long log may take as long as it likes.
                deadline = new Deadline(PATIENCE);
            }
            deadline.check("reading to the end of " + partitions.size() + " partitions");
        }
        return ends;
    }

    /** A point in time by which a thing must have happened. */
    static final class Deadline {
        private final long endNanos;

        Deadline(Duration patience) {
            endNanos = System.nanoTime() + patience.toNanos();
        }

        boolean passed() {
            return System.nanoTime() - endNanos > 0;
        }

        void check(String what) {
            if (passed()) {
                throw new AssertionError("no progress within the deadline: " + what);
            }
        }
    }

    static void expect(String what, Object wanted, Object got) {
        if (!java.util.Objects.equals(wanted, got)) {
            throw new AssertionError(what + ": expected " + wanted + ", got " + got);
        }
    }
}
