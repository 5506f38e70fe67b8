import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * A steady load with a reader at its tail. Any error of either client ends it with exit code 1; so does a record that is
 * missing, out of order or changed. Values are noise, so that no codec and no store makes them smaller.
 */
public final class Load {
    private static final int VALUE_BYTES = 8_192;

    private final Options options;
    private final String topic;
    private final int partitions;
    private final long total;
    private final byte[] noise = new byte[1 << 20];
    private final AtomicLong acked = new AtomicLong();
    private final AtomicLong slowestAckMs = new AtomicLong();
    private final AtomicReference<Throwable> failure = new AtomicReference<>();

    private Load(Options options) {
        this.options = options;
        topic = options.text("topic");
        partitions = options.number("partitions");
        total = options.number("mb-per-second") * 1_000_000L * options.number("seconds") / VALUE_BYTES;
        new Random(11).nextBytes(noise);
    }

    public static void main(String[] args) throws Exception {
        Load load = new Load(new Options(args));
        Thread reader = new Thread(load::guardedRead);
        reader.start();
        load.produce();
        reader.join();
        System.out.printf("load: %d records of %d bytes acknowledged and read, slowest acknowledgement %d ms%n",
                load.acked.get(), VALUE_BYTES, load.slowestAckMs.get());
        if (load.failure.get() != null) {
            throw new AssertionError("the load failed", load.failure.get());
        }
        Clients.expect("records acknowledged", load.total, load.acked.get());
    }

    private void produce() {
        long pauseNanos = options.number("seconds") * 1_000_000_000L / total;
        long startNanos = System.nanoTime();
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options, Map.of("linger.ms", 5, "batch.size", 131_072,
                "request.timeout.ms", 10_000, "delivery.timeout.ms", 20_000, "max.block.ms", 20_000))) {
            for (long n = 0; n < total && failure.get() == null; n++) {
                long sentNanos = System.nanoTime();
                producer.send(new ProducerRecord<>(topic, (int) (n % partitions), null, value(n)), (ack, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                        return;
                    }
                    acked.incrementAndGet();
                    slowestAckMs.accumulateAndGet((System.nanoTime() - sentNanos) / 1_000_000, Math::max);
                });
                LockSupport.parkNanos(startNanos + (n + 1) * pauseNanos - System.nanoTime());
            }
        } catch (RuntimeException error) {
            failure.compareAndSet(null, error);
        }
    }

    private void guardedRead() {
        try {
            read();
        } catch (Throwable error) {
            failure.compareAndSet(null, error);
        }
    }

    private void read() {
        List<TopicPartition> all = IntStream.range(0, partitions).mapToObj(p -> new TopicPartition(topic, p)).toList();
        long[] next = IntStream.range(0, partitions).asLongStream().toArray();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of("default.api.timeout.ms", 20_000))) {
            consumer.assign(all);
            all.forEach(partition -> consumer.seek(partition, 0));
            Clients.Deadline deadline = new Clients.Deadline(Clients.PATIENCE);
            for (long seen = 0; seen < total; ) {
                if (failure.get() != null) {
                    return;
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    int partition = record.partition();
                    Clients.expect("offset in " + topic + "-" + partition, next[partition] / partitions, record.offset());
                    if (!Arrays.equals(value(next[partition]), record.value())) {
                        throw new AssertionError("other bytes than were sent at " + topic + "-" + partition + " " + record.offset());
                    }
                    next[partition] += partitions;
                    seen++;
                    deadline = new Clients.Deadline(Clients.PATIENCE);
                }
                deadline.check("reading at the tail, " + seen + " of " + total);
            }
        }
    }

    private byte[] value(long n) {
        int from = (int) (n * 8_191 % (noise.length - VALUE_BYTES));
        byte[] value = Arrays.copyOfRange(noise, from, from + VALUE_BYTES);
        java.nio.ByteBuffer.wrap(value).putLong(n);
        return value;
    }
}
