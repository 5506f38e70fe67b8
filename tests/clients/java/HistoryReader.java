import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** Reads whole topics at the end of a run, without a group, into the history. */
public final class HistoryReader {
    private HistoryReader() {}

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String name = options.text("reader");
        try (History history = new History(options.text("history"));
                KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of())) {
            List<TopicPartition> partitions = Clients.partitions(consumer, List.of(options.text("topics").split(",")));
            consumer.assign(partitions);
            Map<TopicPartition, Long> starts = consumer.beginningOffsets(partitions, Clients.PATIENCE);
            Map<TopicPartition, Long> ends = Clients.readAll(consumer, partitions, record -> history.read(
                    name, record.topic(), record.partition(), record.offset(),
                    record.key() == null ? "null" : new String(record.key(), StandardCharsets.UTF_8),
                    History.digest(record.key(), record.value(), record.headers(), record.timestamp())));
            ends.forEach((p, end) -> history.range(name, p.topic(), p.partition(), starts.get(p), end));
        }
    }
}
