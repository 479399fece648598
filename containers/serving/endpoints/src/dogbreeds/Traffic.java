package dogbreeds;

import java.time.Duration;

/** The requests in flight, and whether the server still takes new ones. */
final class Traffic {

    private static int inFlight;
    private static boolean draining;

    private Traffic() {}

    /** Admits a request, or refuses it because the server is stopping. */
    static synchronized boolean enter() {
        if (draining) {
            return false;
        }
        Batching.adapt(++inFlight);
        return true;
    }

    /** Tells that an admitted request was answered, or that its client went away. */
    static synchronized void leave() {
        Batching.adapt(--inFlight);
        Traffic.class.notifyAll();
    }

    static synchronized int inFlight() {
        return inFlight;
    }

    static synchronized boolean isDraining() {
        return draining;
    }

    /** Refuses new requests and waits until those in flight are answered. */
    static synchronized void drain(Duration timeout) {
        draining = true;
        long deadline = System.nanoTime() + timeout.toNanos();
        try {
            long left;
            while (inFlight > 0 && (left = (deadline - System.nanoTime()) / 1_000_000) > 0) {
                Traffic.class.wait(left);
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        if (inFlight > 0) {
            System.err.println("Stopping with " + inFlight + " requests unanswered");
        }
    }
}
