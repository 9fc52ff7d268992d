/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the whole inside of an engine and says which invariant does not hold. One checker for the
 * rig, the simulator, the sweep and the fuzz targets. It changes nothing. */
#ifndef QS_TEST_AUDIT_H
#define QS_TEST_AUDIT_H

#include "qstack/qs_engine.h"

/* Between two calls into the engine. @return NULL when all holds, else the first that does not, in
 * words that are valid until the next call. */
const char *audit(const qs_engine *e);

/* What a connection must not take back. Start with zeros. */
struct audit_past {
    uint32_t conns_max;
    struct audit_conn *conns; /* one for each block */
};

/* audit(), and compared with the last call: SND.UNA, SND.MAX, RCV.NXT and the right edge of the
 * receive window never go back while a connection lives. */
const char *audit_since(const qs_engine *e, struct audit_past *past);
void audit_past_free(struct audit_past *past);

#endif
