package com.amazonaws.ml.mms.wlm;

import com.amazonaws.ml.mms.util.messages.BaseModelRequest;
import com.amazonaws.ml.mms.util.messages.ModelInferenceRequest;
import com.amazonaws.ml.mms.util.messages.ModelLoadModelRequest;
import com.amazonaws.ml.mms.util.messages.ModelWorkerResponse;
import com.amazonaws.ml.mms.util.messages.Predictions;
import dogbreeds.Turns;
import io.netty.handler.codec.http.HttpResponseStatus;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The requests that one worker is busy with.
 *
 * <p>It takes the place of MMS's own class of this name, which comes later on the class path and
 * which forgets requests, so that their clients wait in vain: those of a batch that was still being
 * filled when the worker died, and all but one where an error is the answer to a whole batch.
 */
public class BatchAggregator {

    private final Model model;
    private final Map<String, Job> jobs = new LinkedHashMap<>();

    public BatchAggregator(Model model) {
        this.model = model;
    }

    /** Waits for work, and returns it as a message to the worker. */
    public BaseModelRequest getRequest(String threadName, WorkerState state)
            throws InterruptedException {
        Map<String, Job> polled = new LinkedHashMap<>();
        try {
            if (state == WorkerState.WORKER_MODEL_LOADED) {
                Turns.of(model).take(model, threadName, polled);
            } else { // its own queue has the order to load
                model.pollBatch(threadName, Long.MAX_VALUE, polled);
            }
        } catch (InterruptedException | RuntimeException stopped) {
            giveBack(polled.values());
            throw stopped;
        }
        ModelInferenceRequest request = new ModelInferenceRequest(model.getModelName());
        synchronized (jobs) {
            jobs.clear();
            jobs.putAll(polled);
        }
        for (Job job : polled.values()) {
            if (job.isControlCmd()) { // always alone
                String gpu = job.getPayload().getStringParameter("gpu");
                return new ModelLoadModelRequest(
                        model, gpu == null ? -1 : Integer.parseInt(gpu), threadName);
            }
            job.setScheduled();
            request.addRequest(job.getPayload());
        }
        return request;
    }

    /** Passes the worker's answer on. */
    public void sendResponse(ModelWorkerResponse message) {
        if (message.getCode() != HttpResponseStatus.OK.code()) {
            fail(HttpResponseStatus.valueOf(message.getCode()), message.getMessage());
            return;
        }
        for (Predictions prediction : message.getPredictions()) {
            Job job;
            synchronized (jobs) {
                job = jobs.remove(prediction.getRequestId());
            }
            if (job == null) {
                throw new IllegalStateException("Unexpected job: " + prediction.getRequestId());
            }
            job.response(
                    prediction.getResp(),
                    prediction.getContentType(),
                    prediction.getStatusCode(),
                    prediction.getReasonPhrase(),
                    prediction.getHeaders());
        }
    }

    /**
     * Tells that the worker is no more.
     *
     * @param message what it was busy with; null if it was stopped on purpose, and others shall go
     *     on with it
     */
    public void sendError(BaseModelRequest message, String error, HttpResponseStatus status) {
        if (message == null) {
            giveBack(take());
        } else if (message instanceof ModelInferenceRequest) {
            fail(status, error);
        }
    }

    private void fail(HttpResponseStatus status, String error) {
        for (Job job : take()) {
            job.sendError(status, error);
        }
    }

    private Collection<Job> take() {
        synchronized (jobs) {
            Collection<Job> taken = new ArrayDeque<>(jobs.values());
            jobs.clear();
            return taken;
        }
    }

    /** Puts requests back to where they were, first in the queue. */
    private void giveBack(Collection<Job> taken) {
        Deque<Job> waiting = new ArrayDeque<>(taken);
        while (!waiting.isEmpty()) {
            Job job = waiting.removeLast();
            try {
                if (!job.isControlCmd()) {
                    model.addFirst(job);
                }
            } catch (IllegalStateException full) {
                job.sendError(HttpResponseStatus.SERVICE_UNAVAILABLE, "The queue is full.");
            }
        }
    }
}
