import io.trino.plugin.memory.MemoryPlugin;
import io.trino.server.testing.TestingTrinoServer;
import java.util.Map;

/** A whole Trino with tables in memory: `java -cp 'JARS/*' TrinoServer.java PORT`. */
public class TrinoServer {
    public static void main(String[] arguments) throws Exception {
        TestingTrinoServer server = TestingTrinoServer.builder()
            .setProperties(Map.of("http-server.http.port", arguments[0], "node-scheduler.include-coordinator", "true"))
            .build();
        server.installPlugin(new MemoryPlugin());
        server.createCatalog("memory", "memory", Map.of());
        Thread.currentThread().join();
    }
}
