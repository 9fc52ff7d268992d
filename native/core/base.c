/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of the lists in the public headers. */
#include "qstack/qs_base.h"
#include "qstack/qs_class.h"
#include "qstack/qs_residency.h"
#include "qstack/qs_stats.h"

const char *qs_strerror(qs_err code)
{
    switch (code) {
#define TEXT(name, value, text)                                                                    \
    case QS_ERR_##name:                                                                            \
        return text;
        QS_ERR_LIST(TEXT)
#undef TEXT
    default:
        return code >= 0 ? "success" : "unknown error";
    }
}

const char *qs_counter_name(size_t idx)
{
#define NAME(name, id, text) #id,
    static const char *const names[] = {QS_COUNTER_LIST(NAME)};
#undef NAME
    return idx < QS_N_COUNTERS ? names[idx] : NULL;
}

const char *qs_counter_text(size_t idx)
{
#define TEXT(name, id, text) text,
    static const char *const texts[] = {QS_COUNTER_LIST(TEXT)};
#undef TEXT
    return idx < QS_N_COUNTERS ? texts[idx] : NULL;
}

const char *qs_class_counter_name(size_t idx)
{
#define NAME(name, id, text) #id,
    static const char *const names[] = {QS_CLASS_COUNTER_LIST(NAME)};
#undef NAME
    return idx < QS_N_CLASS_COUNTERS ? names[idx] : NULL;
}

const char *qs_class_counter_text(size_t idx)
{
#define TEXT(name, id, text) text,
    static const char *const texts[] = {QS_CLASS_COUNTER_LIST(TEXT)};
#undef TEXT
    return idx < QS_N_CLASS_COUNTERS ? texts[idx] : NULL;
}

const char *qs_stage_name(size_t idx)
{
#define NAME(name, id, text) #id,
    static const char *const names[] = {QS_STAGE_LIST(NAME)};
#undef NAME
    return idx < QS_N_STAGES ? names[idx] : NULL;
}

const char *qs_stage_text(size_t idx)
{
#define TEXT(name, id, text) text,
    static const char *const texts[] = {QS_STAGE_LIST(TEXT)};
#undef TEXT
    return idx < QS_N_STAGES ? texts[idx] : NULL;
}
