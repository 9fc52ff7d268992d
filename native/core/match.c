/* SPDX-License-Identifier: Apache-2.0 */
/* Which class a message or a connection is of: the first match that holds, else a function. */
#include <string.h>

#include "addr.h"
#include "framing.h"

#define VLAN_MAX 4094u
#define OF_OCTETS (QS_MATCH_OCTETS | QS_MATCH_HTTP_PATH | QS_MATCH_HTTP_HEADER)
#define OF_TAG (QS_MATCH_VLAN | QS_MATCH_PCP)
#define ALL (QS_MATCH_REMOTE | QS_MATCH_REMOTE_PORT | QS_MATCH_DSCP | OF_TAG | OF_OCTETS)

void qs_classifier_opts_init(struct qs_classifier_opts *o)
{
    *o = (struct qs_classifier_opts){.size = sizeof *o};
}

static bool ends(const char *text, size_t room)
{
    return memchr(text, 0, room) != NULL;
}

/* Octets of a text that ends within `room`. */
static size_t octets_of(const char *text, size_t room)
{
    return (size_t)((const char *)memchr(text, 0, room) - text);
}

static bool match_fine(const struct qs_match *m)
{
    const uint32_t text = QS_MATCH_HTTP_PATH | QS_MATCH_HTTP_HEADER;
    if (m->what & ~ALL || m->prio >= QS_N_PRIO || (m->what & text) == text)
        return false;
    if (m->what & QS_MATCH_REMOTE && m->remote_bits > 128)
        return false;
    if (m->what & QS_MATCH_REMOTE_PORT && m->port_first > m->port_last)
        return false;
    if (m->what & QS_MATCH_DSCP && m->dscp > 63)
        return false;
    if ((m->what & QS_MATCH_VLAN && m->vlan > VLAN_MAX) || (m->what & QS_MATCH_PCP && m->pcp > 7))
        return false;
    if (m->what & QS_MATCH_OCTETS && (m->n_octets < 1 || m->n_octets > sizeof m->octets ||
                                      m->at > QS_MESSAGE_HEAD_MAX - sizeof m->octets))
        return false;
    if (m->what & text && !ends(m->text, sizeof m->text))
        return false;
    return !(m->what & QS_MATCH_HTTP_HEADER) || (m->name[0] && ends(m->name, sizeof m->name));
}

bool qs_classifier_from(struct qs_classifier *to, const struct qs_classifier_opts *o)
{
    if (o->size != sizeof *o || o->n_matches > QS_MATCHES_MAX || (o->n_matches && !o->matches))
        return false;
    *to = (struct qs_classifier){.n_matches = o->n_matches, .fn = o->fn, .ctx = o->ctx};
    for (uint32_t i = 0; i < o->n_matches; i++) {
        if (!match_fine(&o->matches[i]))
            return false;
        to->matches[i] = o->matches[i];
    }
    return true;
}

uint32_t qs_classifier_classes(const struct qs_classifier *k)
{
    uint32_t classes = k->fn ? (1u << QS_N_PRIO) - 1 : 0;
    for (uint32_t i = 0; i < k->n_matches; i++)
        classes |= 1u << k->matches[i].prio;
    return classes;
}

static bool in_prefix(const qs_addr *a, const qs_addr *prefix, uint32_t bits)
{
    uint32_t whole = bits / 8, rest = bits % 8;
    if (memcmp(a->b, prefix->b, whole) != 0)
        return false;
    return rest == 0 || (uint8_t)(a->b[whole] ^ prefix->b[whole]) >> (8 - rest) == 0;
}

static bool flow_holds(const struct qs_match *m, const struct qs_flow *flow)
{
    if (m->what & QS_MATCH_REMOTE && !in_prefix(&flow->remote, &m->remote, m->remote_bits))
        return false;
    if (m->what & QS_MATCH_REMOTE_PORT &&
        (flow->remote_port < m->port_first || flow->remote_port > m->port_last))
        return false;
    if (m->what & QS_MATCH_VLAN && flow->vlan != m->vlan)
        return false;
    if (m->what & QS_MATCH_PCP && flow->pcp != m->pcp)
        return false;
    return !(m->what & QS_MATCH_DSCP) || flow->dscp == m->dscp;
}

static bool octets_hold(const struct qs_match *m, const uint8_t *data, size_t len)
{
    if (len < (size_t)m->at + m->n_octets)
        return false;
    for (uint32_t i = 0; i < m->n_octets; i++)
        if ((data[m->at + i] ^ m->octets[i]) & m->mask[i])
            return false;
    return true;
}

/* ---- HTTP/1.1 ---- */

static bool path_holds(const struct qs_match *m, const uint8_t *data, size_t len)
{
    const uint8_t *space = memchr(data, ' ', len);
    size_t n = octets_of(m->text, sizeof m->text);
    return space && (size_t)(data + len - (space + 1)) >= n && memcmp(space + 1, m->text, n) == 0;
}

static bool same_name(const uint8_t *at, const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t a = at[i], b = (uint8_t)name[i];
        if ((a ^ b) & ~0x20 || (a != b && !((a | 0x20) >= 'a' && (a | 0x20) <= 'z')))
            return false;
    }
    return true;
}

/* The value of a field line of `len` octets that begins behind the colon is that of the match. */
static bool value_holds(const struct qs_match *m, const uint8_t *at, size_t len)
{
    while (len && (*at == ' ' || *at == '\t'))
        at++, len--;
    while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    return len == octets_of(m->text, sizeof m->text) && memcmp(at, m->text, len) == 0;
}

static bool header_holds(const struct qs_match *m, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len, *at = data;
    size_t n = octets_of(m->name, sizeof m->name);
    for (const uint8_t *cr; (cr = memchr(at, '\r', (size_t)(end - at))); at = cr + 2) {
        size_t line = (size_t)(cr - at);
        if (at != data && line == 0) /* the head is over */
            return false;
        if (at != data && line > n && at[n] == ':' && same_name(at, m->name, n) &&
            value_holds(m, at + n + 1, line - n - 1))
            return true;
        if (end - cr < 2)
            return false;
    }
    return false;
}

static bool holds(const struct qs_match *m, const struct qs_flow *flow, const uint8_t *data,
                  size_t len)
{
    if (!flow_holds(m, flow))
        return false;
    if (m->what & OF_OCTETS && !data)
        return false;
    if (m->what & QS_MATCH_OCTETS && !octets_hold(m, data, len))
        return false;
    if (m->what & QS_MATCH_HTTP_PATH && !path_holds(m, data, len))
        return false;
    return !(m->what & QS_MATCH_HTTP_HEADER) || header_holds(m, data, len);
}

int qs_classifier_class(const struct qs_classifier *k, const struct qs_flow *flow,
                        const uint8_t *data, size_t len)
{
    for (uint32_t i = 0; i < k->n_matches; i++)
        if (holds(&k->matches[i], flow, data, len))
            return k->matches[i].prio;
    return k->fn ? k->fn(flow, data, len, k->ctx) : flow->prio;
}
