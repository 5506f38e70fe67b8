import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/**
 * Everything about a record comes back as it went in: for every codec, sizes from nothing to 1 MiB, keys, tombstones,
 * headers, timestamps. Offsets are dense, a read may begin inside a batch, and times lead to offsets.
 *
 * <p>{@code --topic}: exists, one partition, the default limits, empty. {@code --large-topic}: takes 2 MiB.
 */
public final class RoundTrip {
    private static final int[] SIZES = {1, 2, 10, 100, 1_000, 10_000, 100_000, 900_000};
    private static final int SMALL_RECORDS = 300;
    private static final int MIB = 1 << 20;
    /** Of today, or retention might take the records away. */
    private static final long FIRST_TIMESTAMP_MS = System.currentTimeMillis() - 60_000;

    private final Options options;
    private final TopicPartition partition;
    private final Random random = new Random(7);
    private final List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();

    private RoundTrip(Options options) {
        this.options = options;
        partition = new TopicPartition(options.text("topic"), 0);
    }

    public static void main(String[] args) throws Exception {
        RoundTrip test = new RoundTrip(new Options(args));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            test.produce(codec);
        }
        test.tooLargeAtTheDefaults();
        test.readBack();
        test.readInsideBatches();
        test.offsetsForTimes();
        test.largest();
        System.out.println("round trip: " + test.sent.size() + " records in 5 codecs");
    }

    private void produce(String codec) throws Exception {
        List<Future<RecordMetadata>> acks = new ArrayList<>();
        int first = sent.size();
        // A long linger makes batches of many records; a large record is a batch of its own.
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options,
                Map.of("compression.type", codec, "linger.ms", 50, "batch.size", 16_384))) {
            for (int i = 0; i < SMALL_RECORDS; i++) {
                acks.add(send(producer, "k" + i % 7, text(codec + " value " + i)));
            }
            acks.add(send(producer, "tombstone", null));
            acks.add(send(producer, null, new byte[0]));
            for (int size : SIZES) {
                acks.add(send(producer, "size" + size, noise(size)));
            }
            producer.flush();
        }
        for (int i = 0; i < acks.size(); i++) {
            RecordMetadata ack = acks.get(i).get();
            Clients.expect("offset of record " + i + " in " + codec, (long) first + i, ack.offset());
        }
    }

    private Future<RecordMetadata> send(KafkaProducer<byte[], byte[]> producer, String key, byte[] value) {
        List<Header> headers = switch (sent.size() % 3) {
            case 0 -> List.of();
            case 1 -> List.of(new RecordHeader("a", text("1")), new RecordHeader("a", text("2")));
            default -> List.of(new RecordHeader("empty", new byte[0]), new RecordHeader("null", (byte[]) null));
        };
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(partition.topic(), 0,
                FIRST_TIMESTAMP_MS + sent.size(), key == null ? null : text(key), value, headers);
        sent.add(record);
        return producer.send(record);
    }

    /** The client would let the record pass; the broker answers MESSAGE_TOO_LARGE and writes nothing. */
    private void tooLargeAtTheDefaults() throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options, Map.of("max.request.size", 8 * MIB))) {
            producer.send(new ProducerRecord<>(partition.topic(), 0, text("k"), noise(MIB))).get();
            throw new AssertionError("a record of 1 MiB was taken at the default limits");
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof RecordTooLargeException)) {
                throw error;
            }
        }
    }

    private void readBack() {
        List<ConsumerRecord<byte[], byte[]>> read = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of())) {
            Clients.readAll(consumer, List.of(partition), read::add);
        }
        Clients.expect("number of records", sent.size(), read.size());
        for (int i = 0; i < read.size(); i++) {
            compare(i, sent.get(i), read.get(i));
        }
    }

    private static void compare(int offset, ProducerRecord<byte[], byte[]> sent, ConsumerRecord<byte[], byte[]> read) {
        Clients.expect("offset", (long) offset, read.offset());
        Clients.expect("timestamp at " + offset, sent.timestamp(), read.timestamp());
        Clients.expect("headers at " + offset, Arrays.asList(sent.headers().toArray()), Arrays.asList(read.headers().toArray()));
        if (!Arrays.equals(sent.key(), read.key()) || !Arrays.equals(sent.value(), read.value())) {
            throw new AssertionError("key or value at offset " + offset + " differs from what was sent");
        }
    }

    private void readInsideBatches() {
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of("max.poll.records", 1))) {
            consumer.assign(List.of(partition));
            for (int start = 1; start < sent.size(); start += 97) {
                consumer.seek(partition, start);
                Clients.Deadline deadline = new Clients.Deadline(Clients.PATIENCE);
                ConsumerRecord<byte[], byte[]> first = null;
                while (first == null) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                        first = record;
                    }
                    deadline.check("a record at offset " + start);
                }
                compare(start, sent.get(start), first);
            }
        }
    }

    private void offsetsForTimes() {
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of())) {
            for (int at : new int[] {0, 1, 150, SMALL_RECORDS + 5, sent.size() - 1}) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, FIRST_TIMESTAMP_MS + at), Clients.PATIENCE).get(partition);
                Clients.expect("offset for the time of record " + at, (long) at, found.offset());
                Clients.expect("timestamp there", FIRST_TIMESTAMP_MS + at, found.timestamp());
            }
            Clients.expect("offset for a time after the last record", null,
                    consumer.offsetsForTimes(Map.of(partition, FIRST_TIMESTAMP_MS + sent.size()), Clients.PATIENCE).get(partition));
        }
    }

    /** With raised limits 1 MiB goes in, and comes out past a fetch limit that is smaller than the batch. */
    private void largest() throws Exception {
        TopicPartition large = new TopicPartition(options.text("large-topic"), 0);
        byte[] value = noise(MIB);
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options, Map.of("max.request.size", 8 * MIB))) {
            producer.send(new ProducerRecord<>(large.topic(), 0, text("first"), value)).get();
            producer.send(new ProducerRecord<>(large.topic(), 0, text("second"), text("after it"))).get();
        }
        List<ConsumerRecord<byte[], byte[]>> read = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of("max.partition.fetch.bytes", 1_000))) {
            Clients.readAll(consumer, List.of(large), read::add);
        }
        Clients.expect("records in " + large, 2, read.size());
        Clients.expect("the 1 MiB value is equal", true, Arrays.equals(value, read.get(0).value()));
    }

    private byte[] noise(int size) {
        byte[] bytes = new byte[size];
        random.nextBytes(bytes);
        return bytes;
    }

    private static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
