package dogbreeds;

import com.google.gson.JsonObject;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpUtil;
import java.time.OffsetDateTime;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Stands before MMS's request handler, one for each connection.
 *
 * <p>It refuses what MMS would answer with a 5xx, counts what is in flight, asks once more where a
 * worker died, waits where all are being started anew, gives MMS's own errors the form of ours, and
 * lets one request at a time through, because MMS would answer pipelined ones in any order.
 */
final class Gate extends ChannelDuplexHandler {

    private static final Logger INVOCATIONS = LoggerFactory.getLogger("dogbreeds.invocations");
    private static final double RETRY_WITHIN_SECONDS = 20;
    private static final int WAIT_MS = 50;

    // All of this is touched by the connection's event loop only.
    private final Queue<FullHttpRequest> next = new ArrayDeque<>();
    private FullHttpRequest current;
    private byte[] key; // of the current one's body
    private long begin;
    private long passed; // when it was last passed on
    private boolean admitted;
    private boolean retried;
    private boolean keepAlive;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof FullHttpRequest) {
            next.add((FullHttpRequest) message);
            context.channel().config().setAutoRead(false);
            proceed(context);
        } else {
            context.fireChannelRead(message);
        }
    }

    private void proceed(ChannelHandlerContext context) {
        if (current != null) {
            return;
        }
        current = next.poll();
        if (current == null) {
            context.channel().config().setAutoRead(true);
            return;
        }
        keepAlive = HttpUtil.isKeepAlive(current);
        // RFC 9112, 3.2.2: a server accepts a URL in absolute form.
        current.setUri(current.uri().replaceFirst("^(?i:https?)://[^/?#]*(?=[/?#]|$)", ""));
        begin = System.nanoTime();
        retried = false;
        FullHttpResponse refusal = Refusal.of(current);
        if (refusal == null && Refusal.isInvocation(current)) {
            admitted = Traffic.enter();
            refusal = admitted ? null : Refusal.stopping();
        }
        if (refusal == null) {
            if (current.method().equals(HttpMethod.HEAD)) {
                current.setMethod(HttpMethod.GET); // Netty's codec leaves the body out
            }
            key = admitted ? Bodies.keep(current.content()) : null;
            pass(context);
        } else {
            write(context, refusal, context.newPromise());
            context.flush();
        }
    }

    /** Passes the current request on to MMS, which releases it. */
    private void pass(ChannelHandlerContext context) {
        passed = System.nanoTime();
        context.fireChannelRead(
                key == null
                        ? current.retainedDuplicate()
                        : current.replace(Unpooled.wrappedBuffer(key)));
    }

    /** Does so in a moment, if the client is still there. */
    private void passLater(ChannelHandlerContext context) {
        FullHttpRequest waiting = current;
        Runnable again =
                () -> {
                    if (current == waiting) {
                        pass(context);
                    }
                };
        context.executor().schedule(again, WAIT_MS, TimeUnit.MILLISECONDS);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!(message instanceof FullHttpResponse) || current == null) {
            context.write(message, promise);
            return;
        }
        FullHttpResponse response = (FullHttpResponse) message;
        String notLoaded = Models.notLoaded(current, response);
        if (notLoaded != null) { // the answer has to wait until no trace of the model is left
            Models.forget(
                    notLoaded,
                    () -> context.executor().execute(() -> answer(context, response, promise)));
        } else {
            answer(context, response, promise);
        }
    }

    private void answer(
            ChannelHandlerContext context, FullHttpResponse response, ChannelPromise promise) {
        if (current == null) { // the client is gone
            response.release();
            return;
        }
        double seconds = (System.nanoTime() - begin) / 1e9;
        FullHttpResponse better = Refusal.insteadOf(response);
        if (better != null) {
            boolean died = Refusal.isWorkerDeath(response);
            boolean noWorkers = Refusal.isNotTaken(response) && Server.wasWithoutWorkers(passed);
            response.release();
            if (noWorkers && seconds < RETRY_WITHIN_SECONDS) {
                passLater(context);
                return;
            }
            if (died && !retried && seconds < RETRY_WITHIN_SECONDS) {
                retried = true;
                Metrics.RETRIES.increment();
                // The promise is left alone: MMS closes the connection when it is kept.
                pass(context);
                return;
            }
            response = noWorkers ? Refusal.noWorkers() : better;
        }
        if (admitted) {
            Metrics.record(response, seconds);
            log(response, seconds);
        }
        boolean counted = admitted;
        // After an error MMS closes the connection.
        boolean last = response.status().code() >= 400 || !keepAlive;
        HttpUtil.setKeepAlive(response.headers(), current.protocolVersion(), !last);
        promise.addListener(
                done -> {
                    if (counted) { // only when the answer has left may the server stop
                        Traffic.leave();
                    }
                    if (last) {
                        context.close();
                    } else {
                        proceed(context);
                    }
                });
        forget();
        context.writeAndFlush(response, promise);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        next.forEach(Gate::release);
        next.clear();
        if (admitted) {
            Traffic.leave();
        }
        if (current != null) {
            forget();
        }
        context.fireChannelInactive();
    }

    /** Writes a line for each invocation: sizes and times, nothing of the photo. */
    private void log(FullHttpResponse response, double seconds) {
        JsonObject line = new JsonObject();
        line.addProperty("time", OffsetDateTime.now().toString());
        line.addProperty("event", "invocation");
        line.addProperty("request_id", response.headers().get("x-request-id"));
        line.addProperty("path", current.uri());
        line.addProperty("status", response.status().code());
        line.addProperty("content_type", current.headers().get(HttpHeaderNames.CONTENT_TYPE));
        line.addProperty("bytes", current.content().readableBytes());
        line.addProperty("total_ms", Math.round(seconds * 1e5) / 1e2);
        Metrics.timing(response).forEach(line::addProperty);
        line.addProperty("retried", retried);
        INVOCATIONS.info(line.toString());
    }

    private void forget() {
        if (key != null) {
            Bodies.drop(key);
        }
        release(current);
        current = null;
        admitted = false;
    }

    private static void release(FullHttpRequest request) {
        Uploads.giveBack(request.content().readableBytes());
        request.release();
    }
}
