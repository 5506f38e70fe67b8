import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.internals.RecordHeader;

/**
 * The kill loop's Java producers: idempotent, at a steady rate, each record and its outcome in the history. One is
 * patient; one is hasty and gives up after three seconds, so that some of its records end with an unknown outcome.
 */
public final class KillProducer {
    private KillProducer() {}

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        try (History history = new History(options.text("history"))) {
            List<Thread> threads = List.of(
                    new Thread(() -> run(options, history, "java0", Map.of(
                            "compression.type", "zstd", "delivery.timeout.ms", 180_000, "request.timeout.ms", 10_000))),
                    new Thread(() -> run(options, history, "hasty0", Map.of(
                            "compression.type", "snappy", "delivery.timeout.ms", 3_000, "request.timeout.ms", 2_000,
                            "max.block.ms", 1_000))));
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join();
            }
        }
    }

    private static void run(Options options, History history, String name, Map<String, Object> settings) {
        long pauseNanos = 1_000_000_000L / options.number("rate");
        long startNanos = System.nanoTime();
        long stopNanos = startNanos + options.number("seconds") * 1_000_000_000L;
        Map<String, Object> all = new java.util.HashMap<>(settings);
        all.put("linger.ms", 5);
        // close() waits for every outcome, at most delivery.timeout.ms.
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options, all)) {
            for (long n = 0; System.nanoTime() < stopNanos; n++) {
                send(producer, history, name, n);
                LockSupport.parkNanos(startNanos + (n + 1) * pauseNanos - System.nanoTime());
            }
        }
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, History history, String name, long n) {
        // The last of every four goes to a topic of its own.
        String topic = n % 4 == 3 ? "kill-b" : "kill-a";
        int partition = n % 4 == 3 ? 0 : (int) (n % 4);
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                topic, partition, System.currentTimeMillis(), bytes(name + "-" + n), value(name, n),
                List.of(new RecordHeader("sent-by", bytes(name))));
        history.invoke(name, n, topic, partition,
                History.digest(record.key(), record.value(), record.headers(), record.timestamp()));
        try {
            producer.send(record, (sent, error) -> {
                if (error == null) {
                    history.ok(name, n, topic, partition, sent.offset());
                } else {
                    history.error(error instanceof RecordTooLargeException ? "fail" : "info", name, n, error);
                }
            });
        } catch (org.apache.kafka.common.KafkaException error) {
            // Thrown by send() itself, and so without a callback: no metadata or no memory in time.
            history.error("info", name, n, error);
        }
    }

    /** As in history.py: a few tombstones, mostly small values, some large, half of each compressible. */
    private static byte[] value(String name, long n) {
        Random seeded = new Random(name.hashCode() * 31L + n);
        double kind = seeded.nextDouble();
        if (kind < 0.02) {
            return null;
        }
        int size = kind < 0.92 ? 1 + seeded.nextInt(2_000) : 2_000 + seeded.nextInt(18_000);
        if (kind > 0.995) {
            size = 100_000 + seeded.nextInt(200_000);
        }
        byte[] value = new byte[size];
        byte[] noise = new byte[size / 2 + 1];
        seeded.nextBytes(noise);
        for (int at = 0; at < size; at++) {
            value[at] = noise[at % noise.length];
        }
        return value;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
