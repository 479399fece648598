package dogbreeds;

import java.util.concurrent.atomic.AtomicLong;

/** Bounds the memory that the bodies of all requests take together. */
final class Uploads {

    private static final long LIMIT = Long.getLong("dogbreeds.max_upload_bytes");
    private static final AtomicLong TAKEN = new AtomicLong();

    private Uploads() {}

    /**
     * Reserves memory for a body, or for more of one that has some already, or refuses it. One alone
     * always finds its place, and nothing too.
     */
    static boolean take(long bytes, long already) {
        long after = TAKEN.addAndGet(bytes);
        if (bytes > 0 && after > LIMIT && after > bytes + already) {
            TAKEN.addAndGet(-bytes);
            return false;
        }
        return true;
    }

    static void giveBack(long bytes) {
        TAKEN.addAndGet(-bytes);
    }

    static long taken() {
        return TAKEN.get();
    }
}
