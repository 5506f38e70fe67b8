import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * Reads whole topics into the history, without a group: once, or with {@code --tail FILE} from the start and through every
 * fault until FILE is there and the end is reached. Notes the range that it read.
 */
public final class HistoryReader {
    private final Options options;
    private final String name;
    private final History history;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private long polls;

    private HistoryReader(Options options, History history, KafkaConsumer<byte[], byte[]> consumer) {
        this.options = options;
        this.history = history;
        this.consumer = consumer;
        name = options.text("reader");
    }

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        try (History history = new History(options.text("history"));
                KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of("request.timeout.ms", 10_000))) {
            new HistoryReader(options, history, consumer).run();
        }
    }

    private void run() {
        List<TopicPartition> partitions = Clients.partitions(consumer, List.of(options.text("topics").split(",")));
        consumer.assign(partitions);
        Map<TopicPartition, Long> starts = new HashMap<>();
        String stop = options.text("tail", "");
        if (stop.isEmpty()) {
            starts.putAll(consumer.beginningOffsets(partitions, Clients.PATIENCE));
        } else {
            partitions.forEach(partition -> starts.put(partition, 0L));
        }
        starts.forEach(consumer::seek);
        while (!stop.isEmpty() && !Files.exists(Path.of(stop))) {
            poll();
        }
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions, Clients.PATIENCE);
        Clients.Deadline deadline = new Clients.Deadline(Clients.PATIENCE);
        while (!ends.entrySet().stream().allMatch(e -> consumer.position(e.getKey(), Clients.PATIENCE) >= e.getValue())) {
            if (poll() > 0) {
                deadline = new Clients.Deadline(Clients.PATIENCE);
            }
            deadline.check("reading to " + ends);
        }
        ends.forEach((p, end) -> history.range(name, p.topic(), p.partition(), starts.get(p), end));
    }

    private int poll() {
        polls++;
        int count = 0;
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
            count++;
            history.read(name, polls, record.topic(), record.partition(), record.offset(), record.leaderEpoch().orElse(-1),
                    record.timestamp(), record.key() == null ? "null" : new String(record.key(), StandardCharsets.UTF_8),
                    History.digest(record.key(), record.value(), record.headers(), record.timestamp()));
        }
        return count;
    }
}
