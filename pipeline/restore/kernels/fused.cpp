// The steps of NAFNet and MPRNet between their large products, each in one pass over memory. Plain C entry points, no
// headers of torch or Python. Maps are channels_last: (batch, height, width, channels), dense.
//
// Every sum has an order of its own, written down here: vectors of 16 lanes, folded 8, 4, 2, 1, and rows added from the
// top. No compiler may change it (-ffp-contract=off, no -ffast-math), and neither does the number of threads, so that
// the same picture comes from every compiler and every processor. Each gives DONE or NO_MEMORY.

#include "vectors.h"

namespace {

constexpr int STRIP = 64;

// y = (x - mean) / sqrt(variance + eps) * w + b over the last axis; c a multiple of 16.
template <typename T>
int layer_norm(const T* x, const float* w, const float* b, T* y, int64_t rows, int c, float eps, int threads) {
    const float share = 1.0f / (float)c;
    int told = DONE;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Room room(c);
        float* row = room.at;  // the row in float32
        if (!row) {
#pragma omp atomic write
            told = NO_MEMORY;
        }
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; r++) {
            if (!row) continue;
            const T* from = x + r * c;
            T* to = y + r * c;
            Vector sum{}, squares{};
            for (int i = 0; i < c; i += LANES) {
                Vector v = load(from + i);
                store(row + i, v);
                sum += v;
            }
            const Vector mean = total(sum) * share;
            for (int i = 0; i < c; i += LANES) {
                Vector apart = load(row + i) - mean;
                store(row + i, apart);
                squares += apart * apart;
            }
            const Vector scale = all(1.0f / std::sqrt(total(squares)[0] * share + eps));
            for (int i = 0; i < c; i += LANES) store(to + i, load(row + i) * scale * load(w + i) + load(b + i));
        }
    }
    return told;
}

// Depthwise 3x3 with zeros around, over 2c channels, and its gate: the product of the two halves. Also the mean of what
// comes out, by channel. weight is (9, 2c), c a multiple of 16.
template <typename T>
int depthwise_gate(const T* x, const float* weight, const float* bias, T* y, float* means, int batch, int height,
                   int width, int c, int threads) {
    const int64_t line = (int64_t)width * 2 * c;
    const Room nothing(line), sums((size_t)batch * height * c);
    if (!nothing.at || !sums.at) return NO_MEMORY;
    const T* zeros = reinterpret_cast<const T*>(nothing.at);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t row = 0; row < (int64_t)batch * height; row++) {
        const int number = (int)(row % height);
        const T* lines[3] = {number ? x + (row - 1) * line : zeros, x + row * line,
                             number + 1 < height ? x + (row + 1) * line : zeros};
        // Strips of columns stay in the nearest cache while all channels go over them.
        for (int first = 0; first < width; first += STRIP) {
            const int last = first + STRIP < width ? first + STRIP : width;
            for (int i = 0; i < c; i += LANES) {
                Vector tap[2][9];
                for (int k = 0; k < 9; k++)
                    for (int half = 0; half < 2; half++) tap[half][k] = load(weight + k * 2 * c + half * c + i);
                const Vector start[2] = {load(bias + i), load(bias + c + i)};
                // Three places are under way: a column serves the one to its left, its own, and the one to its right.
                Vector left[2], here[2] = {start[0], start[1]}, right[2], sum{};
                T* out = y + row * width * c + i;
#define COLUMN(column, half)                                                                                           \
    const int64_t from = (int64_t)(column)*2 * c + half * c + i;                                                       \
    const Vector up = load(lines[0] + from), at = load(lines[1] + from), down = load(lines[2] + from);
#define ADD(place, half, k) place[half] = place[half] + up * tap[half][k] + at * tap[half][k + 3] + down * tap[half][k + 6];
#define GIVE(column)                                                                                                   \
    const Vector product = left[0] * left[1];                                                                          \
    store(out + (int64_t)(column)*c, product);                                                                         \
    sum += product;
                if (first)
                    for (int half = 0; half < 2; half++) {
                        COLUMN(first - 1, half)
                        ADD(here, half, 0)
                    }
                for (int half = 0; half < 2; half++) {
                    COLUMN(first, half)
                    ADD(here, half, 1)
                    left[half] = here[half], here[half] = start[half];
                    ADD(here, half, 0)
                }
                for (int column = first + 1; column < last; column++) {
                    for (int half = 0; half < 2; half++) {
                        COLUMN(column, half)
                        ADD(left, half, 2)
                        ADD(here, half, 1)
                        right[half] = start[half];
                        ADD(right, half, 0)
                    }
                    GIVE(column - 1)
                    for (int half = 0; half < 2; half++) left[half] = here[half], here[half] = right[half];
                }
                if (last < width)
                    for (int half = 0; half < 2; half++) {
                        COLUMN(last, half)
                        ADD(left, half, 2)
                    }
                GIVE(last - 1)
                store(sums.at + row * c + i, load(sums.at + row * c + i) + sum);
            }
        }
    }
    for (int n = 0; n < batch; n++)
        for (int k = 0; k < c; k++) {
            double sum = 0;
            for (int at = 0; at < height; at++) sum += sums.at[((int64_t)n * height + at) * c + k];
            means[(int64_t)n * c + k] = (float)(sum / ((double)height * width));
        }
    return DONE;
}

// The mean of every channel of a map. Rows are run through in vectors that may begin at any channel: after `period`
// values they begin at the first one again.
template <typename T>
int mean(const T* x, float* means, int batch, int height, int width, int c, int period, int threads) {
    const int64_t line = (int64_t)width * c;
    const Room sums((size_t)batch * height * c);
    int told = sums.at ? DONE : NO_MEMORY;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Room lanes(period);
        const bool ready = lanes.at && sums.at;
        if (!ready) {
#pragma omp atomic write
            told = NO_MEMORY;
        }
#pragma omp for schedule(static)
        for (int64_t row = 0; row < (int64_t)batch * height; row++) {
            if (!ready) continue;
            std::memset(lanes.at, 0, period * sizeof(float));
            const T* from = x + row * line;
            for (int64_t i = 0, j = 0; i < line; i += LANES, j = j + LANES == period ? 0 : j + LANES) {
                Vector v = line - i < LANES ? load_some(from + i, (int)(line - i)) : load(from + i);
                store(lanes.at + j, load(lanes.at + j) + v);
            }
            float* to = sums.at + row * c;
            for (int j = 0; j < period; j++) to[j % c] += lanes.at[j];
        }
    }
    if (told != DONE) return told;
    for (int n = 0; n < batch; n++)
        for (int k = 0; k < c; k++) {
            double sum = 0;
            for (int at = 0; at < height; at++) sum += sums.at[((int64_t)n * height + at) * c + k];
            means[(int64_t)n * c + k] = (float)(sum / ((double)height * width));
        }
    return DONE;
}

// y = x * scale, or add + x * scale; scale by picture and channel, repeated to `period` values.
template <typename T>
int scaled(const T* x, const T* add, const float* scale, T* y, int batch, int height, int width, int period,
           int64_t line, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t row = 0; row < (int64_t)batch * height; row++) {
        const float* by = scale + row / height * period;
        const int64_t first = row * line;
        for (int64_t i = 0, j = 0; i < line; i += LANES, j = j + LANES == period ? 0 : j + LANES) {
            const int64_t at = first + i;
            const int n = line - i < LANES ? (int)(line - i) : LANES;
            const Vector s = load(by + j);
            if (n == LANES) {
                Vector v = load(x + at) * s;
                store(y + at, add ? load(add + at) + v : v);
            } else {
                Vector v = load_some(x + at, n) * s;
                store_some(y + at, add ? load_some(add + at, n) + v : v, n);
            }
        }
    }
    return DONE;
}

// In place: values below 0 times a slope.
template <typename T>
int prelu(T* x, float slope, int64_t size, int threads) {
    const int64_t vectors = size / LANES;
    auto one = [slope](Vector v) { return v > 0.0f ? v : v * slope; };
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < vectors; i++) store(x + i * LANES, one(load(x + i * LANES)));
    const int rest = (int)(size - vectors * LANES);
    if (rest) store_some(x + vectors * LANES, one(load_some(x + vectors * LANES, rest)), rest);
    return DONE;
}

}  // namespace

#define ENTRIES(T, name)                                                                                               \
    extern "C" int layer_norm_##name(const T* x, const float* w, const float* b, T* y, int64_t rows, int c, float eps, \
                                     int threads) {                                                                    \
        return layer_norm(x, w, b, y, rows, c, eps, threads);                                                          \
    }                                                                                                                  \
    extern "C" int depthwise_gate_##name(const T* x, const float* weight, const float* bias, T* y, float* means,       \
                                         int batch, int height, int width, int c, int threads) {                       \
        return depthwise_gate(x, weight, bias, y, means, batch, height, width, c, threads);                            \
    }                                                                                                                  \
    extern "C" int mean_##name(const T* x, float* means, int batch, int height, int width, int c, int period,          \
                               int threads) {                                                                          \
        return mean(x, means, batch, height, width, c, period, threads);                                               \
    }                                                                                                                  \
    extern "C" int scaled_##name(const T* x, const T* add, const float* scale, T* y, int batch, int height, int width, \
                                 int period, int64_t line, int threads) {                                              \
        return scaled(x, add, scale, y, batch, height, width, period, line, threads);                                  \
    }                                                                                                                  \
    extern "C" int prelu_##name(T* x, float slope, int64_t size, int threads) { return prelu(x, slope, size, threads); }

ENTRIES(float, float32)
ENTRIES(Bfloat16, bfloat16)
