/* ASD_PAIRS: multiplications of 32 x 32 bits to 32 bits; included by kernels.h only.
 *
 * A word holds a column of four rows, each w + 128 in a byte. With Q = word >> 8 & 0x00FF00FF and
 * P = word - 256 * Q, each is two rows at a distance of 16 bits, so a multiplication by x serves
 * two. In a group of columns the generator keeps the sums of w * x within 16 bits: there the sums
 * of P * x and Q * x and C = 0x8000 - 0x00800080 * sum(x) are 0x8000 + low + 0x10000 * high,
 * exactly. P itself is never made: its sum is that of word * x less 256 times that of Q * x. What
 * the generator had to take off large weights follows the words of four rows: a number of words,
 * in each twice 16 bits: the row, by how many columns this one is after the last << 5, and a signed
 * multiple of 32 << 13. */
#ifndef ASD_KERNELS_PAIRS_H
#define ASD_KERNELS_PAIRS_H

#if ASD_PAIRS_IN_THUMB

/* The sums of four rows: P's, Q's, those of their high halves; returns the end of their words. x:
 * for each group its C and its columns, a word each.
 * r1 words, r2 x, r3 0x00FF00FF, r6 Q, r7 P, r8-r11 the sums, r12 the end of x. */
ASD_ASSEMBLY static const uint32_t *asd_pairs(
    __attribute__((unused)) uint32_t *sums, __attribute__((unused)) const uint32_t *w,
    __attribute__((unused)) const uint32_t *x, __attribute__((unused)) const uint32_t *end,
    __attribute__((unused)) uint32_t group)
{
    __asm__ volatile(
        ".macro asd_group columns\n"
        "1:\n"
        "  ldmia r2!, {r6}\n"
        "  lsls r7, r6, #8\n"
        "  adds r7, r7, r6\n"
        ".rept \\columns\n"
        "  ldmia r1!, {r0}\n"
        "  ldmia r2!, {r4}\n"
        "  lsrs r5, r0, #8\n"
        "  ands r5, r5, r3\n"
        "  muls r5, r4, r5\n"
        "  muls r0, r4, r0\n"
        "  adds r6, r6, r5\n"
        "  adds r7, r7, r0\n"
        ".endr\n"
        "  lsls r5, r6, #8\n"
        "  subs r7, r7, r5\n"
        "  add r8, r8, r7\n"
        "  asrs r7, r7, #16\n"
        "  add r10, r10, r7\n"
        "  add r9, r9, r6\n"
        "  asrs r6, r6, #16\n"
        "  add r11, r11, r6\n"
        "  cmp r2, r12\n"
        "  bne 1b\n"
        ".endm\n"
        ".syntax unified\n"
        "  push {r0, r4-r7, lr}\n"
        "  mov r4, r8\n"
        "  mov r5, r9\n"
        "  mov r6, r10\n"
        "  mov r7, r11\n"
        "  push {r4-r7}\n"
        "  mov r12, r3\n"
        "  ldr r5, [sp, #40]\n" /* group */
        "  movs r3, #255\n"
        "  lsls r4, r3, #16\n"
        "  orrs r3, r3, r4\n"
        "  movs r0, #0\n"
        "  mov r8, r0\n"
        "  mov r9, r0\n"
        "  mov r10, r0\n"
        "  mov r11, r0\n"
        "  cmp r5, #4\n"
        "  beq 4f\n"
        "  bhi 8f\n"
        "  asd_group 2\n"
        "  b 9f\n"
        "4:\n"
        "  asd_group 4\n"
        "  b 9f\n"
        "8:\n"
        "  asd_group 8\n"
        "9:\n"
        "  ldr r3, [sp, #16]\n" /* sums */
        "  mov r4, r8\n"
        "  mov r5, r9\n"
        "  mov r6, r10\n"
        "  mov r7, r11\n"
        "  stmia r3!, {r4-r7}\n"
        "  pop {r4-r7}\n"
        "  mov r8, r4\n"
        "  mov r9, r5\n"
        "  mov r10, r6\n"
        "  mov r11, r7\n"
        "  mov r0, r1\n"
        "  pop {r1, r4-r7, pc}\n"
        ".purgem asd_group\n");
}

/* The groups of x, each after its C, with zeros up to a whole group; returns the end. */
static uint32_t *asd_groups(const int8_t *x, uint32_t n, uint32_t group, uint32_t *expanded)
{
    const int8_t *end = x + n;
    while (x != end) {
        uint32_t *first = expanded++, *next = expanded + group, sum = 0;
        for (; expanded != next && x != end; x++) {
            sum += *expanded++ = (uint32_t)*x;
        }
        for (; expanded != next; expanded++) {
            *expanded = 0;
        }
        *first = 0x8000U - (uint32_t)0x00800080 * sum;
    }
    return expanded;
}

#else

/* The same of the columns themselves, with C alone for each group. */
static const uint32_t *asd_pairs(uint32_t *sums, const uint32_t *w, const int8_t *x, uint32_t n,
                                 const uint32_t *c, uint32_t group)
{
    const uint32_t mask = 0x00FF00FF;
    const int8_t *end = x + n, *whole = end - n % group;
    uint32_t p, q, p_sum = 0, p_high = 0, q_sum = 0, q_high = 0;
#define ASD_COLUMN(i)                                     \
    {                                                     \
        const uint32_t word = w[i], value = (uint32_t)x[i]; \
        q += (word >> 8 & mask) * value;                  \
        p += word * value;                                \
        ASD_IN_ORDER                                      \
    }
#define ASD_BEGIN_GROUP \
    q = *c++;           \
    p = 257 * q;
#define ASD_END_GROUP                           \
    p -= q << 8;                                \
    p_sum += p;                                 \
    p_high += (uint32_t)((int32_t)p >> 16);     \
    q_sum += q;                                 \
    q_high += (uint32_t)((int32_t)q >> 16);
    if (group == 8) {
        for (; x != whole; x += 8, w += 8) {
            ASD_BEGIN_GROUP
            ASD_COLUMN(0) ASD_COLUMN(1) ASD_COLUMN(2) ASD_COLUMN(3)
            ASD_COLUMN(4) ASD_COLUMN(5) ASD_COLUMN(6) ASD_COLUMN(7)
            ASD_END_GROUP
        }
    } else if (group == 4) {
        for (; x != whole; x += 4, w += 4) {
            ASD_BEGIN_GROUP
            ASD_COLUMN(0) ASD_COLUMN(1) ASD_COLUMN(2) ASD_COLUMN(3)
            ASD_END_GROUP
        }
    } else {
        for (; x != whole; x += 2, w += 2) {
            ASD_BEGIN_GROUP
            ASD_COLUMN(0) ASD_COLUMN(1)
            ASD_END_GROUP
        }
    }
    if (x != end) {
        const uint32_t *next = w + group;
        ASD_BEGIN_GROUP
        for (; x != end; x++, w++) {
            ASD_COLUMN(0)
        }
        ASD_END_GROUP
        w = next;
    }
#undef ASD_COLUMN
    sums[0] = p_sum;
    sums[1] = q_sum;
    sums[2] = p_high;
    sums[3] = q_high;
    return w;
}

/* C of each group. */
static void asd_groups(const int8_t *x, uint32_t n, uint32_t group, uint32_t *c)
{
    uint32_t i = 0, j;
    for (; i < n; i += group) {
        int32_t sum = 0;
        for (j = i; j < n && j < i + group; j++) {
            sum += x[j];
        }
        *c++ = 0x8000U - (uint32_t)0x00800080 * (uint32_t)sum;
    }
}

#endif

/* What was taken off a weight, times its x, by the upper half of an entry; returns that x. */
static inline const int8_t *asd_pairs_rest(uint32_t *sums, const int8_t *at, uint32_t entry)
{
    at += entry << 3 >> 24;
    sums[entry >> 16 & 3] += (uint32_t)((int32_t)entry >> 29) * (uint32_t)*at << 5;
    return at;
}

ASD_APART static int8_t asd_pairs_output(const asd_layer *layer, uint32_t row, int32_t acc)
{
    return asd_requantise(layer, row, asd_add(acc, layer->bias[row]));
}

static void asd_packed(const asd_layer *layer, const int8_t *x, int8_t *y, uint32_t *expanded)
{
    const uint32_t *w = (const uint32_t *)layer->weights;
    uint32_t n = layer->inputs, group = layer->packed, row, j;
    uint32_t offset = (n + group - 1) / group * 0x8000U;
#if ASD_PAIRS_IN_THUMB
    const uint32_t *end = asd_groups(x, n, group, expanded);
#else
    asd_groups(x, n, group, expanded);
#endif
    for (row = 0; row < layer->outputs; row += 4) {
        uint32_t sums[4];
        const uint32_t *end_of_rows;
        const int8_t *at = x;
#if ASD_PAIRS_IN_THUMB
        w = asd_pairs(sums, w, expanded, end, group);
#else
        w = asd_pairs(sums, w, x, n, expanded, group);
#endif
        sums[0] -= (sums[2] << 16) + offset;
        sums[1] -= (sums[3] << 16) + offset;
        for (end_of_rows = w + 1 + *w, w++; w != end_of_rows; w++) {
            at = asd_pairs_rest(sums, at, *w << 16);
            at = asd_pairs_rest(sums, at, *w);
        }
        for (j = 0; j < 4 && row + j < layer->outputs; j++) {
            y[row + j] = asd_pairs_output(layer, row + j, (int32_t)sums[j]);
        }
    }
}

#endif
