package dogbreeds;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import software.amazon.ai.mms.servingsdk.Context;
import software.amazon.ai.mms.servingsdk.Model;
import software.amazon.ai.mms.servingsdk.ModelServerEndpoint;
import software.amazon.ai.mms.servingsdk.Worker;
import software.amazon.ai.mms.servingsdk.annotations.Endpoint;
import software.amazon.ai.mms.servingsdk.annotations.helpers.EndpointTypes;
import software.amazon.ai.mms.servingsdk.http.Request;
import software.amazon.ai.mms.servingsdk.http.Response;

/** An honest GET /ping: 200 only while a worker with a loaded model can answer (MMS: always). */
@Endpoint(
        urlPattern = "ping",
        endpointType = EndpointTypes.INFERENCE,
        description = "200 when the model is loaded and warmed up, 503 otherwise")
public final class Ping extends ModelServerEndpoint {

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        String status = Traffic.isDraining() ? "Stopping" : isReady(context) ? "Healthy" : "Loading";
        response.setStatus(status.equals("Healthy") ? 200 : 503);
        response.setContentType("application/json");
        response.getOutputStream()
                .write(("{\"status\": \"" + status + "\"}\n").getBytes(StandardCharsets.UTF_8));
    }

    /** With several models each is loaded on demand, and none is needed to be ready. */
    private static boolean isReady(Context context) {
        if (Server.MULTI_MODEL) {
            return true;
        }
        for (Model model : context.getModels().values()) {
            if (model.getModelWorkers().stream().noneMatch(Worker::isRunning)) {
                return false;
            }
        }
        return !context.getModels().isEmpty();
    }
}
