package dogbreeds;

import io.netty.buffer.ByteBuf;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The bodies of requests in flight, as they were received.
 *
 * <p>MMS copies a body to its heap and from there to a buffer for the worker. So it is given a short
 * key in the place of the body, by which the body itself is sent.
 */
public final class Bodies {

    private static final Map<byte[], ByteBuf> KEPT = new ConcurrentHashMap<>(); // by identity

    private Bodies() {}

    /** Keeps a body until it is dropped, and returns its key. */
    static byte[] keep(ByteBuf body) {
        byte[] key = new byte[1];
        KEPT.put(key, body);
        return key;
    }

    /** Tells whether this is the key of a body; it is none when the client has left. */
    public static boolean isKept(byte[] key) {
        return KEPT.containsKey(key);
    }

    static void drop(byte[] key) {
        KEPT.remove(key);
    }

    /** Returns the body of a key, retained, or null if it was dropped or this is no key. */
    public static ByteBuf retained(byte[] key) {
        ByteBuf[] found = new ByteBuf[1];
        KEPT.computeIfPresent( // not while it is dropped and released
                key,
                (same, body) -> {
                    found[0] = body.retainedDuplicate();
                    return body;
                });
        return found[0];
    }
}
