package dogbreeds;

import com.google.gson.Gson;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/** Answers to requests that never reach a worker, in the form of the workers' own errors. */
final class Refusal {

    private static final Map<String, HttpMethod> PATHS = new LinkedHashMap<>();

    static {
        PATHS.put("/ping", HttpMethod.GET);
        PATHS.put("/invocations", HttpMethod.POST);
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
            QueryStringDecoder decoder = new QueryStringDecoder(request.uri());
            path = decoder.path();
            decoder.parameters();
        } catch (IllegalArgumentException error) {
            return response(
                    HttpResponseStatus.BAD_REQUEST,
                    "request not understood",
                    "a percent-encoded URL",
                    request.uri());
        }
        HttpMethod method = PATHS.get(path);
        if (method == null) {
            return response(
                    HttpResponseStatus.NOT_FOUND,
                    "no such path",
                    String.join(", ", PATHS.keySet()),
                    path);
        }
        if (!method.equals(request.method())) {
            return response(
                    HttpResponseStatus.METHOD_NOT_ALLOWED,
                    "wrong method",
                    method.name(),
                    request.method().name());
        }
        CharSequence type = HttpUtil.getMimeType(request);
        String form = type == null ? "" : type.toString().trim().toLowerCase(Locale.ROOT);
        // MMS would take such a body apart, and answer 500 where it cannot.
        if (form.startsWith("multipart/") || form.equals("application/x-www-form-urlencoded")) {
            return response(
                    HttpResponseStatus.UNSUPPORTED_MEDIA_TYPE,
                    "unsupported content type",
                    "a photo's type such as image/jpeg, application/json or application/jsonlines",
                    form);
        }
        return null;
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
                        Unpooled.copiedBuffer(new Gson().toJson(body) + "\n", StandardCharsets.UTF_8));
        HttpUtil.setContentLength(response, response.content().readableBytes());
        response.headers()
                .set(HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_JSON)
                .set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
        return response;
    }
}
