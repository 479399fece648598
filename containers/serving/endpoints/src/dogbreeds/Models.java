package dogbreeds;

import com.amazonaws.ml.mms.wlm.ModelManager;
import com.google.gson.Gson;
import com.google.gson.JsonObject;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import java.nio.charset.StandardCharsets;

/**
 * Takes back the registration of a model that could not be loaded. MMS tries to, but interrupts
 * itself: the model would stay listed, and SageMaker would take the next 409 for "loaded".
 */
final class Models {

    private static final int MAX_CHECKS = 50;
    private static final int CHECKS_GONE = 5;
    private static final int PAUSE_MS = 100;

    private Models() {}

    /** Returns the name of the model if this answer says that it could not be loaded, or null. */
    static String notLoaded(FullHttpRequest request, FullHttpResponse response) {
        boolean failedLoad =
                Server.MULTI_MODEL
                        && request.method().equals(HttpMethod.POST)
                        && request.uri().equals("/models")
                        && response.status().code() >= 500;
        if (!failedLoad) {
            return null;
        }
        try {
            String body = request.content().toString(StandardCharsets.UTF_8);
            JsonObject document = new Gson().fromJson(body, JsonObject.class);
            return document.get("model_name").getAsString();
        } catch (RuntimeException noName) { // then there is nothing that was registered
            return null;
        }
    }

    /** Removes a model, then runs what comes after; returns at once. */
    static void forget(String name, Runnable after) {
        ModelManager manager = ModelManager.getInstance();
        manager.submitTask(
                () -> {
                    try {
                        // MMS removes it at the same time, and puts it back when interrupted.
                        int gone = 0;
                        for (int i = 0; i < MAX_CHECKS && gone < CHECKS_GONE; i++) {
                            gone = manager.getModels().containsKey(name) ? 0 : gone + 1;
                            if (gone == 0) {
                                manager.unregisterModel(name);
                            }
                            Thread.sleep(PAUSE_MS);
                        }
                    } catch (InterruptedException error) {
                        Thread.currentThread().interrupt();
                    } finally {
                        after.run();
                    }
                });
    }
}
