import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;

/** Writes the lines of {@code history.py}, with the same clock and the same digest. Safe for several threads. */
final class History implements AutoCloseable {
    private final BufferedWriter file;

    History(String path) throws IOException {
        file = Files.newBufferedWriter(Path.of(path));
    }

    void invoke(String producer, long n, String topic, int partition, String digest) {
        write("invoke", "\"producer\":\"%s\",\"n\":%d,\"topic\":\"%s\",\"partition\":%d,\"digest\":\"%s\""
                .formatted(producer, n, topic, partition, digest));
    }

    void ok(String producer, long n, String topic, int partition, long offset) {
        write("ok", "\"producer\":\"%s\",\"n\":%d,\"topic\":\"%s\",\"partition\":%d,\"offset\":%d"
                .formatted(producer, n, topic, partition, offset));
    }

    /** {@code outcome} is fail (definitely not written) or info (unknown). */
    void error(String outcome, String producer, long n, Exception error) {
        String text = error.toString().replaceAll("[\"\\\\\\p{Cntrl}]", " ");
        write(outcome, "\"producer\":\"%s\",\"n\":%d,\"error\":\"%s\"".formatted(producer, n, text));
    }

    void read(String reader, String topic, int partition, long offset, String id, String digest) {
        write("read", "\"reader\":\"%s\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%d,\"id\":\"%s\",\"digest\":\"%s\""
                .formatted(reader, topic, partition, offset, id.replaceAll("[^ -~]|[\"\\\\]", "?"), digest));
    }

    void range(String reader, String topic, int partition, long start, long end) {
        write("range", "\"reader\":\"%s\",\"topic\":\"%s\",\"partition\":%d,\"start\":%d,\"end\":%d"
                .formatted(reader, topic, partition, start, end));
    }

    private synchronized void write(String event, String fields) {
        try {
            file.write("{\"event\":\"%s\",\"ms\":%d,%s}%n".formatted(event, System.nanoTime() / 1_000_000, fields));
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
