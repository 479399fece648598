package dogbreeds;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Answers to requests that no worker answered, in the form of the workers' own errors. */
final class Refusal {

    private static final List<String> WORKER_DEATHS =
            Arrays.asList("Worker died.", "Worker scaled down.");
    private static final String NOT_TAKEN = "No worker is available";
    private static final Gson JSON = new GsonBuilder().disableHtmlEscaping().create();
    private static final Map<String, String> METHODS = new LinkedHashMap<>();

    static {
        METHODS.put("/ping", "GET, HEAD");
        METHODS.put("/metrics", "GET, HEAD");
        if (Server.MULTI_MODEL) { // SageMaker's contract for several models behind one endpoint
            METHODS.put("/models", "GET, POST");
            METHODS.put("/models/NAME", "GET, DELETE");
            METHODS.put("/models/NAME/invoke", "POST");
        } else {
            METHODS.put("/invocations", "POST");
            METHODS.put("/execution-parameters", "GET, HEAD");
        }
    }

    private Refusal() {}

    /** Returns why MMS must not see this request, or null. */
    static FullHttpResponse of(FullHttpRequest request) {
        if (!request.decoderResult().isSuccess()) {
            return response(
                    HttpResponseStatus.BAD_REQUEST,
                    "request not understood",
                    "HTTP/1.1",
                    String.valueOf(request.decoderResult().cause().getMessage()));
        }
        String path;
        try {
            path = path(request);
            new QueryStringDecoder(request.uri()).parameters();
        } catch (IllegalArgumentException error) {
            return response(
                    HttpResponseStatus.BAD_REQUEST,
                    "request not understood",
                    "a percent-encoded URL",
                    request.uri());
        }
        String methods = METHODS.get(path.replaceFirst("^/models/[^/]+", "/models/NAME"));
        if (methods == null) {
            return response(
                    HttpResponseStatus.NOT_FOUND,
                    "no such path",
                    String.join(", ", METHODS.keySet()),
                    path);
        }
        if (!Arrays.asList(methods.split(", ")).contains(request.method().name())) {
            FullHttpResponse refusal =
                    response(
                            HttpResponseStatus.METHOD_NOT_ALLOWED,
                            "wrong method",
                            methods,
                            request.method().name());
            refusal.headers().set(HttpHeaderNames.ALLOW, methods);
            return refusal;
        }
        CharSequence type = HttpUtil.getMimeType(request);
        String form = type == null ? "" : type.toString().trim().toLowerCase(Locale.ROOT);
        // MMS would take such a body apart, and answer 500 where it cannot.
        if (form.startsWith("multipart/") || form.equals("application/x-www-form-urlencoded")) {
            return response(
                    HttpResponseStatus.UNSUPPORTED_MEDIA_TYPE,
                    "unsupported content type",
                    "the photo itself as the body: curl --data-binary @photo.jpg"
                            + " -H 'Content-Type: image/jpeg' http://HOST"
                            + path,
                    form + " (curl's -F and -d send forms)");
        }
        return null;
    }

    static boolean isInvocation(FullHttpRequest request) {
        return path(request).equals("/invocations") || path(request).endsWith("/invoke");
    }

    private static String path(FullHttpRequest request) {
        return new QueryStringDecoder(request.uri()).path();
    }

    /** Returns what to answer instead of an error of MMS itself, or null for any other answer. */
    static FullHttpResponse insteadOf(FullHttpResponse response) {
        JsonObject error = errorOfMms(response);
        if (error == null) {
            return null;
        }
        String message = error.get("message").getAsString();
        if (isNotTaken(response)) {
            return busy("a place in the queue", "a full queue");
        }
        if (isWorkerDeath(response)) {
            return response(
                    HttpResponseStatus.SERVICE_UNAVAILABLE,
                    "no answer",
                    "an answer of the model in time",
                    "a worker that ended or hung, twice or for too long");
        }
        boolean ours = response.status().code() >= 500;
        return response(
                response.status(),
                ours ? "the server failed" : "request refused",
                ours ? "an answer" : "a request for a model that is there",
                message);
    }

    /** Tells whether MMS says that a worker ended, or did not answer in time. */
    static boolean isWorkerDeath(FullHttpResponse response) {
        JsonObject error = errorOfMms(response);
        return error != null && WORKER_DEATHS.contains(error.get("message").getAsString());
    }

    /** Tells whether MMS found no place in its queue, or no worker at all: it says the same. */
    static boolean isNotTaken(FullHttpResponse response) {
        JsonObject error = errorOfMms(response);
        return error != null && error.get("message").getAsString().startsWith(NOT_TAKEN);
    }

    private static JsonObject errorOfMms(FullHttpResponse response) {
        if (response.status().code() < 400) {
            return null;
        }
        try {
            String body = response.content().toString(StandardCharsets.UTF_8);
            JsonObject error = new Gson().fromJson(body, JsonObject.class);
            return error != null && error.has("code") && error.has("message") ? error : null;
        } catch (JsonParseException notOfMms) {
            return null;
        }
    }

    /** Returns the answer to a body over the limit. */
    static FullHttpResponse tooLarge(long limit) {
        return response(
                HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE,
                "request too large",
                "at most " + limit + " bytes",
                "more");
    }

    /** Returns the answer to a body of which nothing came for too long. */
    static FullHttpResponse stalled(long seconds) {
        return response(
                HttpResponseStatus.REQUEST_TIMEOUT,
                "request too slow",
                "the rest of the body within " + seconds + " seconds",
                "nothing");
    }

    /** Returns the answer to a body for which there is no memory beside those of others. */
    static FullHttpResponse noMemory() {
        return busy("memory for the request's body", "too many large requests at a time");
    }

    /** Returns the answer to a request that has waited too long for workers to be started anew. */
    static FullHttpResponse noWorkers() {
        return busy("a worker", "none yet, for all are being started anew");
    }

    private static FullHttpResponse busy(String expected, String got) {
        FullHttpResponse busy =
                response(
                        HttpResponseStatus.SERVICE_UNAVAILABLE,
                        "the server is busy",
                        expected,
                        got + "; send the request again later");
        busy.headers().set(HttpHeaderNames.RETRY_AFTER, 1);
        return busy;
    }

    /** Returns the answer to a request that came after the stop. */
    static FullHttpResponse stopping() {
        return response(
                HttpResponseStatus.SERVICE_UNAVAILABLE,
                "the server is stopping",
                "a request before its stop",
                "a request after it; send it to another server");
    }

    static FullHttpResponse response(
            HttpResponseStatus status, String error, String expected, String got) {
        Map<String, String> body = new LinkedHashMap<>();
        body.put("error", error);
        body.put("expected", expected);
        body.put("got", got.length() > 200 ? got.substring(0, 200) : got);
        FullHttpResponse response =
                new DefaultFullHttpResponse(
                        HttpVersion.HTTP_1_1,
                        status,
                        Unpooled.copiedBuffer(JSON.toJson(body) + "\n", StandardCharsets.UTF_8));
        HttpUtil.setContentLength(response, response.content().readableBytes());
        response.headers()
                .set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_JSON)
                .set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
        return response;
    }
}
