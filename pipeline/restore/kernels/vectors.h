// Vectors of 16 lanes for the kernels, in float32 whatever they are stored as.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;
typedef float Vector __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef uint16_t Half __attribute__((vector_size(32)));
typedef uint16_t Bfloat16;

#if defined(__clang__) || __GNUC__ >= 12
#define FOLD(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define FOLD(v, ...) __builtin_shuffle(v, Bits{__VA_ARGS__})
#endif

// What an entry point gives.
constexpr int DONE = 0, NO_MEMORY = 1;

// Values that a step needs for itself, 0 at first; nullptr where there is no memory. No exception says so: one that leaves
// a thread or an entry point ends the process.
struct Room {
    float* const at;
    explicit Room(size_t values) : at(static_cast<float*>(std::calloc(values, sizeof(float)))) {}
    ~Room() { std::free(at); }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
};

inline Vector all(float x) { return x - Vector{}; }

inline Vector total(Vector v) {  // in every lane
    v += FOLD(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += FOLD(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += FOLD(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v += FOLD(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return v;
}

inline Vector load(const float* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline Vector load(const Bfloat16* p) {
    Half h;
    std::memcpy(&h, p, sizeof h);
    return (Vector)(__builtin_convertvector(h, Bits) << 16);
}

inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

#ifdef __AVX512BF16__
inline void store(Bfloat16* p, Vector v) {  // as below, but for values under 2^-126, which become 0
    auto h = __builtin_ia32_cvtneps2bf16_v16sf(v);
    std::memcpy(p, &h, sizeof(Half));
}
#else
inline void store(Bfloat16* p, Vector v) {  // to the nearest, ties to even; NaN stays NaN
    Bits b = (Bits)v;
    Bits rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    Bits nan = (Bits)(v != v);
    Half h = __builtin_convertvector((nan & 0x7fc0) | (~nan & rounded), Half);
    std::memcpy(p, &h, sizeof h);
}
#endif

// Fewer than 16 values: the rest of the lanes is 0.
template <typename T>
inline Vector load_some(const T* p, int n) {
    T padded[LANES] = {};
    std::memcpy(padded, p, n * sizeof(T));
    return load(padded);
}

template <typename T>
inline void store_some(T* p, Vector v, int n) {
    T padded[LANES];
    store(padded, v);
    std::memcpy(p, padded, n * sizeof(T));
}

// a * b + c, rounded once: the same bits on every processor.
inline Vector fused(Vector a, Vector b, Vector c) {
#ifdef __AVX512F__
    return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
    for (int i = 0; i < LANES; i++) c[i] = std::fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

}  // namespace
