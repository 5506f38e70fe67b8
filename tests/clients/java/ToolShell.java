import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools one after another in one process, which saves the second that each takes to start.
 *
 * <p>A line of input is a tool and its arguments, with the character 1F between them. The answer is what the tool
 * prints, on both of its streams in their order, and then a line of the character 1E and its exit status. What a tool leaves running (a
 * shutdown hook, a thread) lives until the end of input.
 */
public final class ToolShell {
    private static final Map<String, String> TOOLS = Map.ofEntries(
            Map.entry("kafka-acls", "org.apache.kafka.tools.AclCommand"),
            Map.entry("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
            Map.entry("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
            Map.entry("kafka-configs", "kafka.admin.ConfigCommand"),
            Map.entry("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
            Map.entry("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
            Map.entry("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
            Map.entry("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
            Map.entry("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
            Map.entry("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
            Map.entry("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
            Map.entry("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
            Map.entry("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
            Map.entry("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
            Map.entry("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
            Map.entry("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
            Map.entry("kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer"),
            Map.entry("kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer"));

    /** A tool asked for the end of the process. */
    private static final class Ended extends RuntimeException {
        private static final long serialVersionUID = 1L;
    }

    private static Integer firstStatus;

    private ToolShell() {}

    /** A tool may catch what is thrown here, and go on: it has ended all the same, and says no more. */
    private static void end(int status, String message) {
        if (firstStatus == null) {
            firstStatus = status;
            System.setOut(new PrintStream(OutputStream.nullOutputStream()));
            System.setErr(System.out);
        }
        throw new Ended();
    }

    public static void main(String[] args) throws Exception {
        Exit.setExitProcedure(ToolShell::end);
        Exit.setHaltProcedure(ToolShell::end);
        PrintStream answer = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split("\u001f", -1);
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            PrintStream both = new PrintStream(said, true, StandardCharsets.UTF_8);
            System.setOut(both);
            System.setErr(both);
            int status = run(words[0], Arrays.copyOfRange(words, 1, words.length), both);
            both.flush();
            answer.write(said.toByteArray());
            answer.print("\n\u001e" + status + "\n");
            answer.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static int run(String tool, String[] args, PrintStream said) throws ReflectiveOperationException {
        String name = TOOLS.get(tool);
        if (name == null) {
            said.println("no tool " + tool);
            return 127;
        }
        firstStatus = null;
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException wrapped) {
            if (firstStatus == null) {
                // As the virtual machine does with what main throws.
                wrapped.getCause().printStackTrace(said);
                return 1;
            }
        }
        return firstStatus == null ? 0 : firstStatus;
    }
}
