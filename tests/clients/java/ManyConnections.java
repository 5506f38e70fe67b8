import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** Many producers at once, all connected over all rounds: each is served, and each keeps its own order. */
public final class ManyConnections {
    private static final int ROUNDS = 5;

    private ManyConnections() {}

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        int connections = options.number("connections");
        String topic = options.text("topic");
        List<KafkaProducer<byte[], byte[]>> producers = new ArrayList<>();
        try {
            for (int i = 0; i < connections; i++) {
                producers.add(Clients.producer(options, Map.of("buffer.memory", 1 << 20, "compression.type", "lz4")));
            }
            for (int round = 0; round < ROUNDS; round++) {
                List<Future<RecordMetadata>> acks = new ArrayList<>();
                for (int i = 0; i < connections; i++) {
                    acks.add(producers.get(i).send(new ProducerRecord<>(topic, 0, ("p" + i).getBytes(), ("r" + round).getBytes())));
                }
                Set<Long> offsets = new HashSet<>();
                for (Future<RecordMetadata> ack : acks) {
                    offsets.add(ack.get(Clients.PATIENCE.toSeconds(), TimeUnit.SECONDS).offset());
                }
                Clients.expect("distinct offsets of round " + round, connections, offsets.size());
            }
        } finally {
            producers.forEach(KafkaProducer::close);
        }
        Map<String, List<String>> read = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of())) {
            Clients.readAll(consumer, List.of(new TopicPartition(topic, 0)),
                    r -> read.computeIfAbsent(new String(r.key()), k -> new ArrayList<>()).add(new String(r.value())));
        }
        Clients.expect("producers that were read", connections, read.size());
        read.forEach((key, rounds) -> Clients.expect("rounds of " + key, List.of("r0", "r1", "r2", "r3", "r4"), rounds));
        System.out.println("many connections: " + connections);
    }
}
