package dogbreeds;

import com.amazonaws.ml.mms.wlm.Job;
import com.amazonaws.ml.mms.wlm.Model;
import com.amazonaws.ml.mms.wlm.ModelManager;
import io.netty.handler.codec.http.FullHttpResponse;
import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.DoubleAdder;
import java.util.concurrent.atomic.LongAdder;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.Worker;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/** GET /metrics in Prometheus's text format 0.0.4, which SageMaker scrapes. */
@Endpoint(
        urlPattern = "metrics",
        endpointType = EndpointTypes.INFERENCE,
        description = "Prometheus metrics")
public final class Metrics extends ModelServerEndpoint {

    static final LongAdder RETRIES = new LongAdder();

    private static final double[] SECONDS = {
        0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60
    };
    private static final double[] SIZES = {1, 2, 4, 8, 16};
    private static final Map<String, LongAdder> REQUESTS = new ConcurrentSkipListMap<>();
    private static final Map<String, Histogram> STAGES = new ConcurrentSkipListMap<>();
    private static final Histogram BATCHES = new Histogram(SIZES);
    // The workers tell in a Server-Timing header (W3C), e.g. "decode;dur=3.1, batch;desc=2".
    private static final Pattern TIMING = Pattern.compile("(\\w+);(dur|desc)=([0-9.]+)");
    private static volatile String modelVersion;

    /** Counts an answer to an invocation and its latency, in total and by stage. */
    static void record(FullHttpResponse response, double seconds) {
        String status = String.valueOf(response.status().code());
        REQUESTS.computeIfAbsent(status, key -> new LongAdder()).increment();
        stage("total", seconds);
        Map<String, Double> timing = timing(response);
        if (timing.isEmpty()) {
            return;
        }
        BATCHES.add(timing.remove("batch"));
        double inWorker = 0;
        for (Map.Entry<String, Double> part : timing.entrySet()) {
            stage(part.getKey().replace("_ms", ""), part.getValue() / 1e3);
            inWorker += part.getValue() / 1e3;
        }
        stage("wait", Math.max(0, seconds - inWorker)); // in the queue and on the way
        modelVersion = response.headers().get("x-model-version", modelVersion);
    }

    /** Returns what the worker tells of its batch: batch, and its stages as NAME_ms; or nothing. */
    static Map<String, Double> timing(FullHttpResponse response) {
        Map<String, Double> values = new LinkedHashMap<>();
        Matcher part = TIMING.matcher(response.headers().get("server-timing", ""));
        while (part.find()) {
            String unit = part.group(2).equals("dur") ? "_ms" : "";
            values.put(part.group(1) + unit, Double.valueOf(part.group(3)));
        }
        return values;
    }

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        StringBuilder text = new StringBuilder();
        head(text, "dogbreeds_requests_total", "counter", "Invocations answered, by status.");
        REQUESTS.forEach(
                (status, count) ->
                        line(text, "dogbreeds_requests_total{status=\"" + status + "\"}", count.sum()));
        head(text, "dogbreeds_retries_total", "counter", "Requests asked again: a worker died.");
        line(text, "dogbreeds_retries_total", RETRIES.sum());
        head(text, "dogbreeds_request_seconds", "histogram", "Latency in total and by stage.");
        STAGES.forEach(
                (stage, times) ->
                        times.write(text, "dogbreeds_request_seconds", "stage=\"" + stage + "\""));
        head(text, "dogbreeds_batch_size", "histogram", "Requests that a worker took at a time.");
        BATCHES.write(text, "dogbreeds_batch_size", "");
        head(text, "dogbreeds_in_flight", "gauge", "Requests not answered yet.");
        line(text, "dogbreeds_in_flight", Traffic.inFlight());
        head(text, "dogbreeds_queue_length", "gauge", "Requests that wait for a worker.");
        line(text, "dogbreeds_queue_length", queueLength());
        head(text, "dogbreeds_upload_bytes", "gauge", "Memory reserved for bodies of requests.");
        line(text, "dogbreeds_upload_bytes", Uploads.taken());
        long workers = 0;
        for (software.amazon.ai.mms.servingsdk.Model model : context.getModels().values()) {
            workers += model.getModelWorkers().stream().filter(Worker::isRunning).count();
        }
        head(text, "dogbreeds_workers", "gauge", "Workers with a loaded model.");
        line(text, "dogbreeds_workers", workers);
        if (modelVersion != null) {
            head(text, "dogbreeds_model_info", "gauge", "The model that answered last.");
            line(text, "dogbreeds_model_info{version=\"" + modelVersion + "\"}", 1);
        }
        response.setContentType("text/plain; version=0.0.4; charset=utf-8");
        response.getOutputStream().write(text.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static void stage(String name, double seconds) {
        STAGES.computeIfAbsent(name, key -> new Histogram(SECONDS)).add(seconds);
    }

    /** Counts MMS's waiting jobs, of which it tells nobody. */
    private static long queueLength() {
        long length = 0;
        try {
            Field queues = Model.class.getDeclaredField("jobsDb");
            queues.setAccessible(true);
            for (Model model : ModelManager.getInstance().getModels().values()) {
                @SuppressWarnings("unchecked")
                Map<String, ? extends Collection<Job>> jobs =
                        (Map<String, ? extends Collection<Job>>) queues.get(model);
                length += jobs.get(Model.DEFAULT_DATA_QUEUE).size();
            }
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error); // another MMS than the one compiled against
        }
        return length;
    }

    private static void head(StringBuilder text, String name, String type, String help) {
        text.append("# HELP ").append(name).append(' ').append(help).append('\n');
        text.append("# TYPE ").append(name).append(' ').append(type).append('\n');
    }

    private static void line(StringBuilder text, String name, long value) {
        text.append(name).append(' ').append(value).append('\n');
    }

    /** Counts values up to each bound, as Prometheus wants them. */
    private static final class Histogram {

        private final double[] bounds;
        private final LongAdder[] counts;
        private final DoubleAdder sum = new DoubleAdder();

        Histogram(double[] bounds) {
            this.bounds = bounds;
            counts = new LongAdder[bounds.length + 1];
            for (int i = 0; i < counts.length; i++) {
                counts[i] = new LongAdder();
            }
        }

        void add(double value) {
            int bucket = 0;
            while (bucket < bounds.length && value > bounds[bucket]) {
                bucket++;
            }
            counts[bucket].increment();
            sum.add(value);
        }

        void write(StringBuilder text, String name, String label) {
            String prefix = label.isEmpty() ? "" : label + ",";
            String braces = label.isEmpty() ? "" : "{" + label + "}";
            long total = 0;
            for (int i = 0; i < counts.length; i++) {
                total += counts[i].sum();
                String bound = i < bounds.length ? String.valueOf(bounds[i]) : "+Inf";
                line(text, name + "_bucket{" + prefix + "le=\"" + bound + "\"}", total);
            }
            text.append(String.format(Locale.ROOT, "%s_sum%s %.6f%n", name, braces, sum.sum()));
            line(text, name + "_count" + braces, total);
        }
    }
}
