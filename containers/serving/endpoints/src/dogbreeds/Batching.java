package dogbreeds;

import com.amazonaws.ml.mms.wlm.Model;

/**
 * How many requests a worker takes at a time: half of its share of those in flight, up to a limit.
 *
 * <p>So no worker takes what another, idle one could do meanwhile; the other half is on its way
 * while the first is computed; and a request that is alone does not wait for company. Others may
 * wait a little: MMS fills a batch for as long as the delay says, and with a delay of 0 it would
 * look at its queue only once and never take more than two.
 */
final class Batching {

    private static final int LIMIT = Integer.getInteger("dogbreeds.batch_size", 1);
    private static final int DELAY_MS = Integer.getInteger("dogbreeds.batch_delay_ms", 1);

    private static Model model;

    private Batching() {}

    /** Sets up a model, which MMS fixes at a batch of one when it loads it at the start. */
    static synchronized void start(Model loaded) {
        model = loaded;
        model.setMaxBatchDelay(DELAY_MS);
    }

    /** Tells how many requests are in flight now. */
    static synchronized void adapt(int inFlight) {
        if (model != null) {
            double share = inFlight / (double) Math.max(1, model.getMinWorkers());
            int half = (int) Math.ceil(share / 2);
            model.setBatchSize(Math.max(1, Math.min(LIMIT, half)));
        }
    }
}
