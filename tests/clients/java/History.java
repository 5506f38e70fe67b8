import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.regex.Pattern;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;

/** Writes the lines of {@code history.py}, with the same clock and the same digest. Safe for several threads. */
final class History implements AutoCloseable {
    private static final Pattern UNPLAIN = Pattern.compile("[^ -~]|[\"\\\\]");

    private final BufferedWriter file;

    History(String path) throws IOException {
        file = Files.newBufferedWriter(Path.of(path));
    }

    /** A patient producer waits for each outcome as long as it takes; an unknown one is then a finding. */
    void producer(String producer, boolean idempotent, boolean patient) {
        write("producer", "\"producer\":\"" + producer + "\",\"idempotent\":" + idempotent + ",\"patient\":" + patient);
    }

    void invoke(String producer, long n, String topic, int partition, String digest) {
        write("invoke", record(producer, n) + place(topic, partition) + ",\"digest\":\"" + digest + "\"");
    }

    /** Offset -1: the client was not told where the record is. */
    void ok(String producer, long n, String topic, int partition, long offset) {
        write("ok", record(producer, n) + place(topic, partition) + ",\"offset\":" + offset);
    }

    /** {@code outcome} is fail (definitely not written) or info (unknown). */
    void error(String outcome, String producer, long n, Exception error) {
        String text = error.toString().replaceAll("[\"\\\\\\p{Cntrl}]", " ");
        write(outcome, record(producer, n) + "\"error\":\"" + text + "\"");
    }

    void read(String reader, long poll, String topic, int partition, long offset, int epoch, long timestampMs, String id,
            String digest) {
        write("read", "\"reader\":\"" + reader + "\",\"poll\":" + poll + "," + place(topic, partition) + ",\"offset\":" + offset
                + ",\"epoch\":" + epoch + ",\"ts\":" + timestampMs + ",\"id\":\"" + UNPLAIN.matcher(id).replaceAll("?")
                + "\",\"digest\":\"" + digest + "\"");
    }

    void range(String reader, String topic, int partition, long start, long end) {
        write("range", "\"reader\":\"" + reader + "\"," + place(topic, partition) + ",\"start\":" + start + ",\"end\":" + end);
    }

    private static String record(String producer, long n) {
        return "\"producer\":\"" + producer + "\",\"n\":" + n + ",";
    }

    private static String place(String topic, int partition) {
        return "\"topic\":\"" + topic + "\",\"partition\":" + partition;
    }

    private synchronized void write(String event, String fields) {
        try {
            file.write("{\"event\":\"" + event + "\",\"us\":" + System.nanoTime() / 1_000 + "," + fields + "}\n");
        } catch (IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    @Override
    public synchronized void close() throws IOException {
        file.close();
    }

    static String digest(byte[] key, byte[] value, Headers headers, long timestampMs) {
        MessageDigest sha;
        try {
            sha = MessageDigest.getInstance("SHA-1");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException("every Java platform has SHA-1", error);
        }
        sha.update(ByteBuffer.allocate(8).putLong(0, timestampMs));
        add(sha, key);
        add(sha, value);
        for (Header header : headers) {
            add(sha, header.key().getBytes(java.nio.charset.StandardCharsets.UTF_8));
            add(sha, header.value());
        }
        return java.util.HexFormat.of().formatHex(sha.digest()).substring(0, 16);
    }

    private static void add(MessageDigest sha, byte[] field) {
        sha.update(ByteBuffer.allocate(4).putInt(0, field == null ? -1 : field.length));
        if (field != null) {
            sha.update(field);
        }
    }
}
