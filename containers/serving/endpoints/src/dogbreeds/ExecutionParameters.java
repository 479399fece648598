package dogbreeds;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/** GET /execution-parameters, by which SageMaker tunes a batch transform job. */
@Endpoint(
        urlPattern = "execution-parameters",
        endpointType = EndpointTypes.INFERENCE,
        description = "What a batch transform job should send")
public final class ExecutionParameters extends ModelServerEndpoint {

    // SageMaker's limit for the product of the two numbers.
    private static final long MAX_PRODUCT_MB = 100;

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        long payload =
                Math.min(MAX_PRODUCT_MB, Long.getLong("dogbreeds.max_request_bytes") >> 20);
        long useful = 2L * Integer.getInteger("dogbreeds.parallel"); // one at work, one waiting
        String body =
                String.format(
                        Locale.ROOT,
                        "{\"MaxConcurrentTransforms\": %d, \"BatchStrategy\": \"SINGLE_RECORD\","
                                + " \"MaxPayloadInMB\": %d}%n",
                        Math.min(useful, MAX_PRODUCT_MB / payload),
                        payload);
        response.setContentType("application/json");
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }
}
