import io.trino.plugin.memory.MemoryPlugin;
import io.trino.server.testing.TestingTrinoServer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** A whole Trino with tables in memory: `java -cp 'JARS/*' TrinoServer.java PORT FILE`. It makes FILE when it is ready. */
public class TrinoServer {
    public static void main(String[] arguments) throws Exception {
        TestingTrinoServer server = TestingTrinoServer.builder()
            .setProperties(Map.of("http-server.http.port", arguments[0], "node-scheduler.include-coordinator", "true"))
            .build();
        server.installPlugin(new MemoryPlugin());
        server.createCatalog("memory", "memory", Map.of());
        Files.createFile(Path.of(arguments[1]));
        Thread.currentThread().join();
    }
}
