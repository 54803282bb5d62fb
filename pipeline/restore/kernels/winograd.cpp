// 3x3 convolutions in float32 with 4/9 of the multiplications: F(2x2, 3x3) of Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks" (CVPR 2016), after Winograd. Plain C entry points. Maps are channels_last: (batch,
// height, width, channels), dense.
//
// A tile of 2x2 values comes from the 4x4 values around it. Those are transformed (additions only), multiplied with the
// transformed taps at each of 16 places (a product of matrices over the channels), and transformed back. Some tiles of
// a row at a time, so that all of it stays in the second cache. Each value is one sum in the order of the input's
// channels, whatever tiles and threads there are.

#include <algorithm>

#include "vectors.h"

namespace {

constexpr int PLACES = 16;
constexpr int64_t CACHE = 768 << 10;  // bytes of the second cache that tiles and taps may take
constexpr int LEAST = 32, MOST = 96;  // tiles at a time
constexpr int WIDEST = 5;             // vectors of output channels at a time

int up(int n, int to) { return (n + to - 1) / to * to; }

// Rows of so many vectors that their sums fit into 32 registers, with the taps beside them.
constexpr int rows_of(int vectors) { return vectors == 5 ? 5 : vectors == 4 ? 6 : 8; }

// to (rows, ..) = from (rows, depth) x taps (depth, ..), of V vectors of columns. Strides in values.
template <int V>
void product(const float* from, int from_stride, const float* taps, int taps_stride, float* to, int to_stride, int rows,
             int depth) {
    constexpr int R = rows_of(V);
    for (int first = 0; first < rows; first += R) {  // there is room for whole groups of rows
        Vector sum[R][V] = {};
        const float* a = from + (int64_t)first * from_stride;
        const float* b = taps;
        for (int k = 0; k < depth; k++, b += taps_stride) {
            Vector tap[V];
            for (int v = 0; v < V; v++) tap[v] = load(b + v * LANES);
            for (int r = 0; r < R; r++) {
                const Vector x = all(a[(int64_t)r * from_stride + k]);
                for (int v = 0; v < V; v++) sum[r][v] = fused(x, tap[v], sum[r][v]);
            }
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) store(to + (int64_t)(first + r) * to_stride + v * LANES, sum[r][v]);
    }
}

void multiply(const float* from, int from_stride, const float* taps, float* to, int wide, int rows, int depth) {
    const int vectors = wide / LANES, parts = (vectors + WIDEST - 1) / WIDEST;
    for (int part = 0, done = 0; part < parts; part++) {
        const int count = (vectors - done + parts - part - 1) / (parts - part);
        const float* b = taps + done * LANES;
        float* c = to + done * LANES;
        switch (count) {
            case 1: product<1>(from, from_stride, b, wide, c, wide, rows, depth); break;
            case 2: product<2>(from, from_stride, b, wide, c, wide, rows, depth); break;
            case 3: product<3>(from, from_stride, b, wide, c, wide, rows, depth); break;
            case 4: product<4>(from, from_stride, b, wide, c, wide, rows, depth); break;
            default: product<5>(from, from_stride, b, wide, c, wide, rows, depth); break;
        }
        done += count;
    }
}

struct Map {
    const float* x;
    int height, width, channels;
    const float* end;  // of all pictures
};

// The 4x4 values around each of `count` tiles, transformed: to is (16, room, deep).
void transform(const Map& map, const float* picture, int row, int first, int count, float* to, int room, int deep) {
    const int64_t place = (int64_t)room * deep;
    for (int c = 0; c < map.channels; c += LANES) {
        const int lanes = std::min(LANES, map.channels - c);
        Vector column[4][4];  // [column][row], rows transformed
        auto take = [&](Vector* found, int x) {
            Vector d[4];
            for (int i = 0; i < 4; i++) {
                const int y = row - 1 + i;
                const float* at = picture + ((int64_t)y * map.width + x) * map.channels + c;
                if (x < 0 || x >= map.width || y < 0 || y >= map.height)
                    d[i] = Vector{};
                else  // lanes beyond the channels hold the next place's, which nobody reads; there is none after the end
                    d[i] = at + LANES <= map.end ? load(at) : load_some(at, lanes);
            }
            found[0] = d[0] - d[2], found[1] = d[1] + d[2], found[2] = d[2] - d[1], found[3] = d[1] - d[3];
        };
        take(column[0], 2 * first - 1);
        take(column[1], 2 * first);
        for (int t = 0; t < count; t++) {
            take(column[2], 2 * (first + t) + 1);
            take(column[3], 2 * (first + t) + 2);
            float* out = to + (int64_t)t * deep + c;
            for (int i = 0; i < 4; i++) {
                store(out + (4 * i + 0) * place, column[0][i] - column[2][i]);
                store(out + (4 * i + 1) * place, column[1][i] + column[2][i]);
                store(out + (4 * i + 2) * place, column[2][i] - column[1][i]);
                store(out + (4 * i + 3) * place, column[1][i] - column[3][i]);
            }
            for (int i = 0; i < 4; i++) column[0][i] = column[2][i], column[1][i] = column[3][i];
        }
    }
}

// Back to 2x2 values a tile, with bias and PReLU: from is (16, room, wide); y a picture of (height, width, channels).
void finish(const float* from, int room, int wide, int row, int first, int count, const float* bias, float slope,
            float* y, int height, int width, int channels) {
    const int64_t place = (int64_t)room * wide;
    for (int t = 0; t < count; t++)
        for (int c = 0; c < channels; c += LANES) {
            const int lanes = std::min(LANES, channels - c);
            const float* in = from + (int64_t)t * wide + c;
            Vector half[2][4];
            for (int j = 0; j < 4; j++) {
                const Vector m[4] = {load(in + j * place), load(in + (4 + j) * place), load(in + (8 + j) * place),
                                     load(in + (12 + j) * place)};
                half[0][j] = m[0] + m[1] + m[2];
                half[1][j] = m[1] - m[2] - m[3];
            }
            const Vector add = load(bias + c);
            for (int i = 0; i < 2 && row + i < height; i++) {
                const Vector two[2] = {half[i][0] + half[i][1] + half[i][2] + add,
                                       half[i][1] - half[i][2] - half[i][3] + add};
                for (int j = 0; j < 2 && 2 * (first + t) + j < width; j++) {
                    const Vector v = two[j] > 0.0f ? two[j] : two[j] * slope;
                    float* out = y + ((int64_t)(row + i) * width + 2 * (first + t) + j) * channels + c;
                    if (lanes == LANES)
                        store(out, v);
                    else
                        store_some(out, v, lanes);
                }
            }
        }
}

}  // namespace

// x (batch, height, width, deep), taps (16, deep, wide) transformed, bias (wide) -> y (batch, height, width, channels);
// wide is channels, rounded up to 16. Values below 0 come out times slope. Gives DONE or NO_MEMORY.
extern "C" int winograd_float32(const float* x, const float* taps, const float* bias, float slope, float* y, int batch,
                                int height, int width, int deep, int channels, int threads) {
    const int wide = up(channels, LANES), depth = up(deep, LANES);
    const int64_t a_tile = PLACES * sizeof(float) * (depth + wide), all_taps = PLACES * sizeof(float) * deep * wide;
    const int tiles = (width + 1) / 2, lines = (height + 1) / 2;
    const int at_most = (int)std::min<int64_t>(MOST, std::max<int64_t>(LEAST, (CACHE - all_taps) / a_tile));
    const int parts = (tiles + at_most - 1) / at_most, some = (tiles + parts - 1) / parts, room = up(some, 40) + 8;
    const int64_t picture = (int64_t)height * width;
    const float* end = x + batch * picture * deep;
    int told = DONE;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Room values((size_t)PLACES * room * depth), products((size_t)PLACES * room * wide);
        const bool ready = values.at && products.at;
        if (!ready) {
#pragma omp atomic write
            told = NO_MEMORY;
        }
#pragma omp for schedule(static)
        for (int64_t line = 0; line < (int64_t)batch * lines; line++) {
            if (!ready) continue;
            const int row = (int)(line % lines) * 2;
            const int64_t n = line / lines;
            const Map map{x, height, width, deep, end};
            for (int first = 0; first < tiles; first += some) {
                const int count = std::min(some, tiles - first);
                transform(map, x + n * picture * deep, row, first, count, values.at, room, depth);
                for (int p = 0; p < PLACES; p++)
                    multiply(values.at + (int64_t)p * room * depth, depth, taps + (int64_t)p * deep * wide,
                             products.at + (int64_t)p * room * wide, wide, count, deep);
                finish(products.at, room, wide, row, first, count, bias, slope, y + n * picture * channels, height,
                       width, channels);
            }
        }
    }
    return told;
}
