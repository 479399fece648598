package dogbreeds;

import com.amazonaws.ml.mms.ModelServer;
import com.amazonaws.ml.mms.ServerInitializer;
import com.amazonaws.ml.mms.servingsdk.impl.PluginsManager;
import com.amazonaws.ml.mms.util.ConfigManager;
import com.amazonaws.ml.mms.util.Connector;
import com.amazonaws.ml.mms.util.ConnectorType;
import com.amazonaws.ml.mms.wlm.Model;
import com.amazonaws.ml.mms.wlm.ModelManager;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;
import org.apache.commons.cli.DefaultParser;

/**
 * Multi Model Server with a {@link Gate} in front of its request handler and with
 * batches.
 *
 * <p>The gate knows which requests are in flight, so that SIGTERM lets them finish. Everything else
 * is MMS's own: its configuration, workers, queue and endpoint plugins.
 */
public final class Server extends ModelServer {

    private static final Duration DRAIN_TIMEOUT =
            Duration.ofSeconds(Long.getLong("dogbreeds.drain_seconds", 20));

    static final boolean MULTI_MODEL = Boolean.getBoolean("dogbreeds.multi_model");

    private static final int MAX_REQUEST = Integer.getInteger("dogbreeds.max_request_bytes");

    private static volatile boolean restarting;
    private static volatile long restarted = System.nanoTime();

    private Server(ConfigManager config) {
        super(config);
    }

    /** Does what MMS's main does, with this class in the place of ModelServer. */
    public static void main(String[] args) {
        try {
            ConfigManager.init(
                    new ConfigManager.Arguments(
                            new DefaultParser().parse(ConfigManager.Arguments.getOptions(), args)));
            PluginsManager.getInstance().initialize();
            // The JVM runs this on SIGTERM, and all other threads go on serving meanwhile.
            Runtime.getRuntime()
                    .addShutdownHook(new Thread(() -> Traffic.drain(DRAIN_TIMEOUT), "drain"));
            new Server(ConfigManager.getInstance()).startAndWait();
        } catch (Throwable error) {
            giveUp(String.valueOf(error.getMessage()));
        } finally {
            System.exit(1);
        }
    }

    /** As in MMS, with batches and with a keeper of the process that workers are forked from. */
    @Override
    public List<ChannelFuture> start()
            throws InterruptedException, IOException, GeneralSecurityException {
        List<ChannelFuture> channels = super.start();
        for (Model model : ModelManager.getInstance().getModels().values()) {
            Batching.start(model);
            Thread keeper = new Thread(() -> keepAlive(model), "keeper-" + model.getModelName());
            keeper.setDaemon(true);
            keeper.start();
        }
        return channels;
    }

    /**
     * Starts the process that workers are forked from anew whenever it ends, with new workers. MMS
     * would go on with the workers it has, and never replace one again.
     */
    private static void keepAlive(Model model) {
        ModelManager manager = ModelManager.getInstance();
        int workers = model.getMinWorkers();
        try {
            while (true) {
                int code = model.getServerThread().getLifeCycle().getProcess().waitFor();
                if (Traffic.isDraining()) {
                    return;
                }
                System.err.println("The preloaded process ended with " + code + "; starting it anew");
                restarting = true;
                manager.updateModel(model.getModelName(), 0, 0).get();
                manager.startBackendServer(model);
                manager.updateModel(model.getModelName(), workers, workers);
                restarted = System.nanoTime();
                restarting = false;
            }
        } catch (InterruptedException | ExecutionException | TimeoutException error) {
            giveUp("the preloaded process ended and could not be started anew: " + error);
            System.exit(1);
        }
    }

    /** Tells whether there was a time since then, by System.nanoTime, when all were started anew. */
    static boolean wasWithoutWorkers(long since) {
        return restarting || restarted - since > 0;
    }

    /** Tells the process that started this one why it ends; see serving/server.py. */
    private static void giveUp(String reason) {
        System.err.println(reason);
        try {
            String file = System.getenv("DOGBREEDS_FAILURE_FILE");
            Files.write(Paths.get(file), reason.getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            System.err.println(error);
        }
    }

    /** As in MMS, but with the gate and with a receive buffer that grows with large photos. */
    @Override
    public ChannelFuture initializeServer(
            Connector connector,
            EventLoopGroup serverGroup,
            EventLoopGroup workerGroup,
            ConnectorType type)
            throws InterruptedException, IOException {
        ServerInitializer pipeline =
                new ServerInitializer(null, type) {
                    @Override
                    public void initChannel(Channel channel) {
                        super.initChannel(channel);
                        channel.pipeline().replace("aggregator", "body", new Body(MAX_REQUEST));
                        channel.pipeline().addBefore("handler", "gate", new Gate());
                    }
                };
        Channel listening;
        try {
            listening =
                    new ServerBootstrap()
                            .group(serverGroup, workerGroup)
                            .channel(connector.getServerChannel())
                            .option(ChannelOption.SO_BACKLOG, 1024)
                            .childHandler(pipeline)
                            .bind(connector.getSocketAddress())
                            .sync()
                            .channel();
        } catch (Exception error) { // Netty throws the checked BindException undeclared
            throw new IOException("cannot listen on " + connector + ": " + error.getMessage());
        }
        return listening.closeFuture();
    }
}
