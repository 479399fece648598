package com.amazonaws.ml.mms.util.codec;

import com.amazonaws.ml.mms.util.messages.ModelWorkerResponse;
import com.amazonaws.ml.mms.util.messages.Predictions;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.ByteToMessageDecoder;
import io.netty.handler.codec.CorruptedFrameException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Reads a worker's response, whole or in parts.
 *
 * <p>It takes the place of MMS's own class of this name, which comes later on the class path and
 * which loses the worker when a read from the socket ends within a status or a header. That is rare
 * for one answer and common for a batch of them. It also kills a worker whose connection is closed:
 * MMS replaces one that hangs, but leaves its process behind.
 */
public class ModelResponseDecoder extends ByteToMessageDecoder {

    private static final int END = -1;

    private static final Pattern PID = Pattern.compile("\\[PID\\]: *(\\d+)");

    private final int maxFieldSize;
    private String pid; // told in the answer to "load"

    public ModelResponseDecoder(int maxFieldSize) {
        this.maxFieldSize = maxFieldSize;
    }

    @Override
    protected void decode(ChannelHandlerContext context, ByteBuf in, List<Object> out) {
        int start = in.readerIndex();
        try {
            out.add(read(in));
        } catch (IndexOutOfBoundsException incomplete) {
            in.readerIndex(start); // to be called again with what comes next
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) throws Exception {
        super.channelInactive(context);
        if (pid != null) { // Java 8 cannot signal a process itself
            new ProcessBuilder("sh", "-c", "kill -KILL " + pid + " 2>/dev/null").start();
        }
    }

    private ModelWorkerResponse read(ByteBuf in) {
        ModelWorkerResponse response = new ModelWorkerResponse();
        response.setCode(in.readInt());
        response.setMessage(text(in, in.readInt()));
        Matcher told = PID.matcher(response.getMessage());
        if (told.find()) {
            pid = told.group(1);
        }
        List<Predictions> predictions = new ArrayList<>();
        for (int length; (length = in.readInt()) != END; ) {
            Predictions prediction = new Predictions();
            prediction.setRequestId(text(in, length));
            prediction.setContentType(text(in, in.readInt()));
            prediction.setStatusCode(in.readInt());
            prediction.setReasonPhrase(text(in, in.readInt()));
            Map<String, String> headers = new HashMap<>();
            for (int left = in.readInt(); left > 0; left--) {
                String name = text(in, in.readInt());
                headers.put(name, text(in, in.readInt()));
            }
            prediction.setHeaders(headers);
            prediction.setResp(field(in, in.readInt()));
            predictions.add(prediction);
        }
        response.setPredictions(predictions);
        return response;
    }

    private String text(ByteBuf in, int length) {
        return new String(field(in, length), StandardCharsets.UTF_8);
    }

    private byte[] field(ByteBuf in, int length) {
        if (length < 0 || length > maxFieldSize) {
            throw new CorruptedFrameException("Field of " + length + " bytes from a worker");
        }
        if (length > in.readableBytes()) {
            throw new IndexOutOfBoundsException();
        }
        byte[] value = new byte[length];
        in.readBytes(value);
        return value;
    }
}
