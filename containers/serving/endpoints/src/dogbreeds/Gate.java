package dogbreeds;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import java.util.ArrayDeque;
import java.util.Queue;

/**
 * Stands before MMS's request handler, one for each connection: refuses what MMS would answer with
 * a 5xx, counts what is in flight, and lets one request at a time through, because MMS would answer
 * pipelined ones in any order.
 */
final class Gate extends ChannelDuplexHandler {

    // All of this is touched by the connection's event loop only.
    private final Queue<FullHttpRequest> next = new ArrayDeque<>();
    private boolean busy;
    private boolean admitted;

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
        if (busy) {
            return;
        }
        FullHttpRequest request = next.poll();
        if (request == null) {
            context.channel().config().setAutoRead(true);
            return;
        }
        busy = true;
        FullHttpResponse refusal = Refusal.of(request);
        if (refusal == null && !request.uri().startsWith("/ping")) {
            admitted = Traffic.enter();
            refusal = admitted ? null : Refusal.stopping();
        }
        if (refusal == null) {
            context.fireChannelRead(request); // which releases it
        } else {
            request.release();
            write(context, refusal, context.newPromise());
            context.flush();
        }
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (message instanceof FullHttpResponse) {
            boolean counted = admitted;
            boolean last = ((FullHttpResponse) message).status().code() >= 400; // so does MMS
            admitted = false;
            promise.addListener(
                    done -> {
                        if (counted) { // only when the answer has left may the server stop
                            Traffic.leave();
                        }
                        busy = false;
                        if (last) {
                            context.close();
                        } else {
                            proceed(context);
                        }
                    });
        }
        context.write(message, promise);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        next.forEach(FullHttpRequest::release);
        next.clear();
        if (admitted) {
            admitted = false;
            Traffic.leave();
        }
        context.fireChannelInactive();
    }
}
