import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Creates many topics, writes to and reads from every one, and deletes them again. */
public final class ManyTopics {
    private static final int CREATED_AT_ONCE = 250;

    private ManyTopics() {}

    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        List<String> names = IntStream.range(0, options.number("topics")).mapToObj("many-%05d"::formatted).toList();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", options.text("bootstrap")))) {
            for (int from = 0; from < names.size(); from += CREATED_AT_ONCE) {
                List<NewTopic> topics = names.subList(from, Math.min(from + CREATED_AT_ONCE, names.size())).stream()
                        .map(name -> new NewTopic(name, 1, (short) 1)).toList();
                admin.createTopics(topics).all().get(Clients.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            }
            until("every created topic is listed", () -> listed(admin).containsAll(names));
            writeAndRead(options, names);
            admin.deleteTopics(names).all().get(Clients.PATIENCE.toSeconds(), TimeUnit.SECONDS);
            until("no deleted topic is listed", () -> listed(admin).stream().noneMatch(name -> name.startsWith("many-")));
        }
        System.out.println("many topics: " + names.size());
    }

    /** Kafka answers an admin call before each broker knows of it. */
    private static void until(String what, Callable<Boolean> holds) throws Exception {
        Clients.Deadline deadline = new Clients.Deadline(Clients.PATIENCE);
        while (!holds.call()) {
            deadline.check(what);
            Thread.sleep(50);
        }
    }

    private static Set<String> listed(Admin admin) throws Exception {
        return admin.listTopics().names().get(Clients.PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private static void writeAndRead(Options options, List<String> names) throws Exception {
        List<Exception> errors = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(options, Map.of("linger.ms", 20))) {
            for (String name : names) {
                producer.send(new ProducerRecord<>(name, 0, name.getBytes(), name.getBytes()), (ack, error) -> {
                    if (error != null) {
                        errors.add(error);
                    }
                });
            }
            producer.flush();
        }
        Clients.expect("errors of the producer", List.of(), errors);
        Set<String> read = new HashSet<>();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(options, Map.of())) {
            List<TopicPartition> partitions = names.stream().map(name -> new TopicPartition(name, 0)).toList();
            Clients.readAll(consumer, partitions, record -> {
                Clients.expect("value in " + record.topic(), record.topic(), new String(record.value()));
                read.add(record.topic());
            });
        }
        Clients.expect("topics that gave their record back", names.size(), read.size());
    }
}
