/* The work of a CRC-32C, for what is compared with a library that does it. */
#ifndef BENCH_CRC_H
#define BENCH_CRC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#define HAVE_CRC32C 1
#include <nmmintrin.h>

/* The checksums of a block's three thirds in step, which is as fast as the instruction goes. Left out are joining them
 * into that of the whole, and what is no multiple of 24 bytes. */
__attribute__((target("sse4.2"))) static inline uint64_t crc32c_thirds(const uint8_t *bytes, size_t len)
{
    size_t third = len / 24 * 8;
    uint64_t a = 0, b = 0, c = 0;
    for (const uint8_t *end = bytes + third; bytes < end; bytes += 8) {
        uint64_t words[3];
        memcpy(&words[0], bytes, 8);
        memcpy(&words[1], bytes + third, 8);
        memcpy(&words[2], bytes + 2 * third, 8);
        a = _mm_crc32_u64(a, words[0]);
        b = _mm_crc32_u64(b, words[1]);
        c = _mm_crc32_u64(c, words[2]);
    }
    return a ^ b ^ c;
}
#else
#define HAVE_CRC32C 0
static inline uint64_t crc32c_thirds(const uint8_t *bytes, size_t len)
{
    (void)bytes;
    return len;
}
#endif

#endif
