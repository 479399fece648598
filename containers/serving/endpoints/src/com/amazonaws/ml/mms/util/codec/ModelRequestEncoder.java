package com.amazonaws.ml.mms.util.codec;

import com.amazonaws.ml.mms.util.messages.BaseModelRequest;
import com.amazonaws.ml.mms.util.messages.InputParameter;
import com.amazonaws.ml.mms.util.messages.ModelInferenceRequest;
import com.amazonaws.ml.mms.util.messages.ModelLoadModelRequest;
import com.amazonaws.ml.mms.util.messages.RequestInput;
import dogbreeds.Bodies;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.MessageToMessageEncoder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/**
 * Writes a message to a worker, with the bodies as they were received.
 *
 * <p>It takes the place of MMS's own class of this name, which comes later on the class path and
 * which copies a large photo three times, and those before it again for each further one of a batch.
 */
@ChannelHandler.Sharable
public class ModelRequestEncoder extends MessageToMessageEncoder<BaseModelRequest> {

    private static final int END = -1;

    public ModelRequestEncoder(boolean preferDirect) {} // the native transport wants them direct

    @Override
    protected void encode(ChannelHandlerContext context, BaseModelRequest message, List<Object> out) {
        if (message instanceof ModelLoadModelRequest) {
            ModelLoadModelRequest load = (ModelLoadModelRequest) message;
            ByteBuf buffer = next(context, out).writeByte('L');
            text(buffer, load.getModelName());
            text(buffer, load.getModelPath());
            buffer.writeInt(Math.max(1, load.getBatchSize()));
            text(buffer, load.getHandler());
            buffer.writeInt(load.getGpuId());
            text(buffer, load.getIoFileDescriptor());
        } else if (message instanceof ModelInferenceRequest) {
            ByteBuf buffer = next(context, out).writeByte('I');
            for (RequestInput request : ((ModelInferenceRequest) message).getRequestBatch()) {
                List<InputParameter> parameters = request.getParameters();
                if (parameters.stream().noneMatch(input -> Bodies.isKept(input.getValue()))) {
                    continue; // nobody waits for the answer any more
                }
                text(buffer, request.getRequestId());
                for (Map.Entry<String, String> header : request.getHeaders().entrySet()) {
                    text(buffer, header.getKey());
                    text(buffer, header.getValue());
                }
                buffer.writeInt(END);
                for (InputParameter parameter : parameters) {
                    text(buffer, parameter.getName());
                    text(buffer, parameter.getContentType());
                    ByteBuf body = Bodies.retained(parameter.getValue());
                    if (body == null) {
                        bytes(buffer, parameter.getValue());
                    } else {
                        buffer.writeInt(body.readableBytes());
                        out.add(body);
                        buffer = next(context, out);
                    }
                }
                buffer.writeInt(END);
            }
            buffer.writeInt(END);
        }
    }

    private static ByteBuf next(ChannelHandlerContext context, List<Object> out) {
        ByteBuf buffer = context.alloc().directBuffer();
        out.add(buffer);
        return buffer;
    }

    private static void text(ByteBuf buffer, CharSequence text) {
        bytes(buffer, (text == null ? "" : text.toString()).getBytes(StandardCharsets.UTF_8));
    }

    private static void bytes(ByteBuf buffer, byte[] bytes) {
        buffer.writeInt(bytes.length).writeBytes(bytes);
    }
}
