import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.internals.RecordHeader;

/**
 * The Java producers of a fault run: at a steady rate, each record and its outcome in the history.
 *
 * <p>{@code --producers NAME:MODE:CODEC,...}, where MODE is {@code idempotent}, {@code hasty} (idempotent, and gives up
 * after three seconds, so that some records end with an unknown outcome) or {@code plain} (without idempotence, one
 * request in flight). {@code --topics NAME:PARTITIONS,...}: each producer writes to all of the partitions in turn.
 */
public final class Producers {
    private static final byte[] NOISE = new byte[1 << 20];

    private final Options options;
    private final History history;
    private final List<TopicPartition> places = new ArrayList<>();
    private final boolean small;
    private final AtomicReference<Throwable> failure = new AtomicReference<>();

    private Producers(Options options, History history) {
        this.options = options;
        this.history = history;
        small = options.text("sizes", "mixed").equals("small");
        new Random(11).nextBytes(NOISE);
        for (String topic : options.text("topics").split(",")) {
            String[] words = topic.split(":");
            for (int partition = 0; partition < Integer.parseInt(words[1]); partition++) {
                places.add(new TopicPartition(words[0], partition));
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        try (History history = new History(options.text("history"))) {
            Producers producers = new Producers(options, history);
            List<Thread> threads = new ArrayList<>();
            for (String words : options.text("producers").split(",")) {
                threads.add(new Thread(() -> producers.guarded(words)));
            }
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join();
            }
            if (producers.failure.get() != null) {
                throw new AssertionError("a producer failed", producers.failure.get());
            }
        }
    }

    private void guarded(String words) {
        try {
            String[] parts = words.split(":");
            run(parts[0], parts[1], parts[2]);
        } catch (Throwable error) {
            failure.compareAndSet(null, error);
        }
    }

    private void run(String name, String mode, String codec) {
        Map<String, Object> settings = new HashMap<>(Map.of("linger.ms", 5, "batch.size", 65_536, "compression.type", codec));
        switch (mode) {
            case "idempotent" -> settings.putAll(
                    Map.of("delivery.timeout.ms", 180_000, "max.block.ms", 180_000, "request.timeout.ms", 10_000));
            case "hasty" -> settings.putAll(
                    Map.of("delivery.timeout.ms", 3_000, "max.block.ms", 1_000, "request.timeout.ms", 2_000));
            case "plain" -> settings.putAll(Map.of("delivery.timeout.ms", 180_000, "max.block.ms", 180_000,
                    "request.timeout.ms", 10_000, "enable.idempotence", false, "max.in.flight.requests.per.connection", 1));
            default -> throw new IllegalArgumentException("no such mode: " + mode);
        }
        history.producer(name, !mode.equals("plain"), !mode.equals("hasty"));
        long pauseNanos = 1_000_000_000L / options.number("rate");
        long startNanos = System.nanoTime();
        long stopNanos = startNanos + options.number("seconds") * 1_000_000_000L;
        // close() waits for every outcome, at most delivery.timeout.ms.
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options, settings)) {
            for (long n = 0; System.nanoTime() < stopNanos; n++) {
                send(producer, name, n);
                long ahead = startNanos + (n + 1) * pauseNanos - System.nanoTime();
                // Not for each record: a timer is no better than this.
                if (ahead > 200_000) {
                    LockSupport.parkNanos(ahead);
                }
            }
        }
    }

    private void send(KafkaProducer<byte[], byte[]> producer, String name, long n) {
        TopicPartition place = places.get((int) (n % places.size()));
        String topic = place.topic();
        int partition = place.partition();
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                topic, partition, System.currentTimeMillis(), bytes(name + "-" + n), value(name, n),
                List.of(new RecordHeader("sent-by", bytes(name))));
        history.invoke(name, n, topic, partition,
                History.digest(record.key(), record.value(), record.headers(), record.timestamp()));
        try {
            producer.send(record, (sent, error) -> {
                if (error == null) {
                    history.ok(name, n, topic, partition, sent.hasOffset() ? sent.offset() : -1);
                } else {
                    history.error(error instanceof RecordTooLargeException ? "fail" : "info", name, n, error);
                }
            });
        } catch (org.apache.kafka.common.KafkaException error) {
            // Thrown by send() itself, and so without a callback: no metadata or no memory in time.
            history.error("info", name, n, error);
        }
    }

    /** As in history.py: a few tombstones, mixed or small sizes, half of each compressible. */
    private byte[] value(String name, long n) {
        Random seeded = new Random(name.hashCode() * 31L + n * 0x9E3779B97F4A7C15L);
        double kind = seeded.nextDouble();
        if (kind < 0.02) {
            return null;
        }
        int size;
        if (small) {
            size = 100 + seeded.nextInt(924);
        } else if (kind < 0.92) {
            size = 1 + seeded.nextInt(2_000);
        } else if (kind < 0.995) {
            size = 2_000 + seeded.nextInt(18_000);
        } else {
            size = 100_000 + seeded.nextInt(200_000);
        }
        byte[] value = new byte[size];
        int half = size / 2;
        int from = seeded.nextInt(NOISE.length - size);
        System.arraycopy(NOISE, from, value, 0, half);
        System.arraycopy(NOISE, from, value, half, size - half);
        return value;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
