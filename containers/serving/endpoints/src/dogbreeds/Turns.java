package dogbreeds;

import com.amazonaws.ml.mms.wlm.Job;
import com.amazonaws.ml.mms.wlm.Model;
import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.WeakHashMap;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;

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
    private static final Map<String, Job> GO_TO_QUEUE = Collections.emptyMap();

    // Those who are not at the queue. Each waits for requests, or for the call to go there.
    private final Deque<BlockingQueue<Map<String, Job>>> idle = new ArrayDeque<>();
    private boolean queueTaken;

    private Turns() {}

    /** Returns the turns of a model's workers. */
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
        BlockingQueue<Map<String, Job>> me = new ArrayBlockingQueue<>(1);
        if (!goToQueue(me)) {
            try {
                jobs.putAll(me.take());
            } catch (InterruptedException stopped) {
                leave(me, jobs);
                throw stopped;
            }
        }
        while (jobs.isEmpty()) { // at the queue
            Map<String, Job> polled = new LinkedHashMap<>();
            try {
                model.pollBatch(worker, 0, polled);
            } catch (InterruptedException | RuntimeException stopped) {
                jobs.putAll(polled);
                leaveQueue();
                throw stopped;
            }
            if (!giveToLast(polled)) {
                jobs.putAll(polled);
            }
        }
    }

    private synchronized boolean goToQueue(BlockingQueue<Map<String, Job>> me) {
        if (queueTaken) {
            idle.push(me);
            return false;
        }
        queueTaken = true;
        return true;
    }

    /** Returns whether another was idle; otherwise the one at the queue has left it. */
    private synchronized boolean giveToLast(Map<String, Job> jobs) {
        BlockingQueue<Map<String, Job>> last = idle.poll();
        queueTaken = last != null;
        return last != null && last.add(jobs);
    }

    private synchronized void leaveQueue() {
        BlockingQueue<Map<String, Job>> first = idle.pollLast();
        queueTaken = first != null && first.add(GO_TO_QUEUE);
    }

    private synchronized void leave(
            BlockingQueue<Map<String, Job>> me, Map<String, Job> jobs) {
        if (idle.remove(me)) {
            return;
        }
        jobs.putAll(me.remove());
        if (jobs.isEmpty()) {
            leaveQueue();
        }
    }
}
