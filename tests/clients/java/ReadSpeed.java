import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/** What kafka-consumer-perf-test measures, with fixed partitions instead of a group: reads topics whole and counts. */
public final class ReadSpeed {
    private ReadSpeed() {}

    public static void main(String[] args) {
        Options options = new Options(args);
        long[] sum = new long[2];
        long startNanos = System.nanoTime();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of())) {
            Clients.readAll(consumer, Clients.partitions(consumer, List.of(options.text("topics").split(","))), record -> {
                sum[0]++;
                sum[1] += record.serializedValueSize();
            });
        }
        double seconds = (System.nanoTime() - startNanos) / 1e9;
        System.out.printf("read %d records, %d bytes of values in %.1f s (%.1f MB/s)%n", sum[0], sum[1], seconds, sum[1] / 1e6 / seconds);
        Clients.expect("records read", (long) options.number("records"), sum[0]);
    }
}
