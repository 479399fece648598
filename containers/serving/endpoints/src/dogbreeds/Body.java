package dogbreeds;

import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPipeline;
import io.netty.handler.codec.http.FullHttpMessage;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.util.ReferenceCountUtil;
import java.util.concurrent.TimeUnit;

/**
 * Gathers a request's body. One that is too large, or that finds no memory beside the others, is
 * told so in the form of our errors before it is read.
 *
 * <p>What a whole request takes is given back by the {@link Gate}.
 */
final class Body extends HttpObjectAggregator {

    private static final long STALL_SECONDS = Long.getLong("dogbreeds.stall_seconds", 20);
    private static final long SLOWEST_SECONDS = 300; // for a whole body

    private long reserved; // for the request that is being read
    private boolean chunked; // so memory is reserved as the body comes
    private boolean refused; // in the middle of the body; the connection is being closed
    private long started;
    private long heard;

    Body(int limit) {
        super(limit);
    }

    /** Called first for each request, whether it waits for "100 Continue" or not. */
    @Override
    protected Object newContinueResponse(HttpMessage start, int limit, ChannelPipeline pipeline) {
        giveBack();
        Object response = super.newContinueResponse(start, limit, pipeline);
        if (isRefusal(response)) {
            return Refusal.tooLarge(limit);
        }
        long length = length(start);
        if (length > limit) {
            return response; // refused next, in handleOversizedMessage
        }
        if (!Uploads.take(length, 0)) {
            return Refusal.noMemory();
        }
        reserved = length;
        chunked = HttpUtil.isTransferEncodingChunked(start);
        started = System.nanoTime();
        watch(pipeline.lastContext());
        return response;
    }

    private static long length(HttpMessage start) {
        boolean broken = !start.decoderResult().isSuccess(); // refused by the gate
        boolean unknown = broken || HttpUtil.isTransferEncodingChunked(start);
        return unknown ? 0 : HttpUtil.getContentLength(start, 0L);
    }

    /** Gives up on a body that stalls, so that its memory serves others. */
    private void watch(ChannelHandlerContext context) {
        long watched = started;
        context.executor().schedule(
                () -> {
                    if (started != watched) { // it arrived, or its client is gone
                        return;
                    }
                    long now = System.nanoTime();
                    if (!context.channel().config().isAutoRead()) { // it is us who do not read
                        heard = now;
                    }
                    boolean silent = now - heard > TimeUnit.SECONDS.toNanos(STALL_SECONDS);
                    boolean slow = now - started > TimeUnit.SECONDS.toNanos(SLOWEST_SECONDS);
                    if (silent || slow) {
                        context.writeAndFlush(Refusal.stalled(STALL_SECONDS))
                                .addListener(ChannelFutureListener.CLOSE);
                    } else {
                        watch(context);
                    }
                },
                Math.max(1, STALL_SECONDS / 2),
                TimeUnit.SECONDS);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) throws Exception {
        heard = System.nanoTime();
        if (refused || !finds(message)) {
            ReferenceCountUtil.release(message);
            if (!refused) {
                refused = true;
                giveBack();
                context.writeAndFlush(Refusal.noMemory()).addListener(ChannelFutureListener.CLOSE);
            }
            return;
        }
        super.channelRead(context, message);
    }

    /** Reserves memory for a part of a chunked body; tells whether there is any. */
    private boolean finds(Object message) {
        if (!chunked || !(message instanceof HttpContent)) {
            return true;
        }
        long more = ((HttpContent) message).content().readableBytes();
        if (reserved + more > maxContentLength()) {
            return true; // refused next, in handleOversizedMessage
        }
        boolean found = Uploads.take(more, reserved);
        reserved += found ? more : 0;
        return found;
    }

    private static boolean isRefusal(Object response) {
        return response instanceof FullHttpResponse
                && ((FullHttpResponse) response).status().code() >= 400;
    }

    @Override
    protected boolean ignoreContentAfterContinueResponse(Object response) {
        return isRefusal(response);
    }

    @Override
    protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage message) {
        giveBack();
        // Not closed here: the rest of the body is read and dropped, so that a client that is
        // still sending gets to read this.
        context.writeAndFlush(Refusal.tooLarge(maxContentLength()));
    }

    @Override
    protected void finishAggregation(FullHttpMessage whole) throws Exception {
        super.finishAggregation(whole);
        Uploads.giveBack(reserved - whole.content().readableBytes());
        reserved = 0;
        started = 0;
        chunked = false;
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) throws Exception {
        giveBack();
        super.channelInactive(context);
    }

    private void giveBack() {
        Uploads.giveBack(reserved);
        reserved = 0;
        started = 0;
        chunked = false;
    }
}
