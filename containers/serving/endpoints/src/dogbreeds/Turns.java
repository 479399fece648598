package dogbreeds;

import com.amazonaws.ml.mms.wlm.Job;
import com.amazonaws.ml.mms.wlm.Model;
import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.WeakHashMap;

/**
 * Which idle worker gets the next requests: the one that became idle last.
 *
 * <p>MMS lets idle workers take turns, so that a client that is alone finds a model that has left
 * the processor's caches: a fifth slower for a ResNet-18 on two cores. Here one idle worker waits
 * at the model's queue, for all, and keeps what comes only if no other is idle.
 */
public final class Turns {

    private static final Map<Model, Turns> OF_MODELS =
            Collections.synchronizedMap(new WeakHashMap<>());

    private final Deque<Idle> idle = new ArrayDeque<>(); // but for the one at the queue
    private boolean queueTaken;

    private Turns() {}

    /** Returns those of a model's workers. */
    public static Turns of(Model model) {
        return OF_MODELS.computeIfAbsent(model, unused -> new Turns());
    }

    /**
     * Waits for requests.
     *
     * @param jobs gets them; if the worker is interrupted, those that it already had got
     */
    public void take(Model model, String worker, Map<String, Job> jobs)
            throws InterruptedException {
        if (!waitForQueue(jobs)) {
            return;
        }
        while (true) {
            Map<String, Job> polled = new LinkedHashMap<>();
            try {
                model.pollBatch(worker, 0, polled);
            } catch (InterruptedException | RuntimeException stopped) {
                jobs.putAll(polled);
                passQueueOn();
                throw stopped;
            }
            synchronized (this) {
                Idle last = idle.poll();
                if (last == null) {
                    jobs.putAll(polled);
                    queueTaken = false;
                    return;
                }
                last.jobs.putAll(polled);
                last.called = true;
                notifyAll();
            }
        }
    }

    /** Returns whether this worker is to wait at the queue; else it has got requests. */
    private synchronized boolean waitForQueue(Map<String, Job> jobs) throws InterruptedException {
        if (!queueTaken) {
            queueTaken = true;
            return true;
        }
        Idle me = new Idle(jobs);
        idle.push(me);
        try {
            while (!me.called) {
                wait();
            }
        } catch (InterruptedException stopped) {
            idle.remove(me);
            if (me.called && jobs.isEmpty()) {
                passQueueOn();
            }
            throw stopped;
        }
        return jobs.isEmpty();
    }

    private synchronized void passQueueOn() {
        Idle next = idle.pollLast();
        queueTaken = next != null;
        if (next != null) {
            next.called = true;
            notifyAll();
        }
    }

    /** A worker that waits to be called: to requests, or to the queue. */
    private static final class Idle {
        private final Map<String, Job> jobs;
        private boolean called;

        Idle(Map<String, Job> jobs) {
            this.jobs = jobs;
        }
    }
}
