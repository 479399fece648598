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

/**
 * Reads a worker's response, whole or in parts.
 *
 * <p>It takes the place of MMS's own class of this name, which comes later on the class path and
 * which loses the worker when a read from the socket ends within a status or a header. That is rare
 * for one answer and common for a batch of them.
 */
public class ModelResponseDecoder extends ByteToMessageDecoder {

    private static final int END = -1;

    private final int maxFieldSize;

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

    private ModelWorkerResponse read(ByteBuf in) {
        ModelWorkerResponse response = new ModelWorkerResponse();
        response.setCode(in.readInt());
        response.setMessage(text(in, in.readInt()));
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
