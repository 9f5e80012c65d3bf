// Whether faces can be judged: sharpness, block grid, flatness, light and fine detail of their native luma.
//
// Reference: stream_detect.fusion.quality.measure_quality (NumPy); a test holds both kernels to it. The reference
// writes first and second differences and the spectra of lines to memory. Here each of the eight tiles that it looks at
// is read once and held in shared memory; eight lines of it are transformed, for the bins that are asked for only.
// Differences are the reference's to the last bit, so that no threshold falls on another side; sums are in another
// order, but a fixed one: the same bits on every run.
//
// quality_tiles: grid of (8, faces) blocks, blockDim.x a multiple of 32, at most 256.
//   tiles     (faces, TILES, 64, 64) float    luma in [0, 1], 16-byte aligned
//   waves     (3, 64) float                   the window of a line, then cos and sin of 2 pi n / 64
//   sums      (faces, 8, TILE_SUMS) float     out: of each tile, as named below
//   moves 16,384 bytes in and 44 out a tile, 131,424 a face; `waves` (768 bytes) stays in the caches.
// quality_measures: one thread a face, any grid and block that cover them.
//   sums          (faces, 8, TILE_SUMS) float
//   face_px       (faces,) float              geometric mean of the box's sides, in pixels
//   around_share  (faces,) float in [0, 1]
//   rounding      float                       power that rounding to 8 bits leaves in each bin of a windowed line
//   faces         int
//   measures      (faces, MEASURES) float     out: QUALITY_NAMES, in their order
//   moves 360 bytes in and 32 out a face.
//
// Shared memory of quality_tiles, and what orders its use (one tile a block: nothing is used twice around a loop):
//   tile, lines, cosine, sine   written by all, then barrier 1, then only read
//   columns, rows               after barrier 1, each cell written by the one thread that took it; barrier 2, only read
//   warps                       written by each warp's lanes after barrier 1, barrier 2, only read
//   phases                      after barrier 2, each by one thread; barrier 3, only read
//   deviations                  written by lane 0 of each warp after barrier 2, barrier 3, only read
// A row is 65 floats apart from the next, so that 32 lanes that walk 32 rows, or 32 columns, meet 32 different banks.

#define SIDE 64
#define LAST (SIDE - 1)
#define STRIDE (SIDE + 1)
#define STRIP 16  // a thread walks so many rows of a column, then so many columns of a row
#define STRIPS (SIDE / STRIP)
#define WARP 32
#define MOST_THREADS 256
#define EVERY_LANE 0xffffffffu

#define TILES 28
#define USED 8  // of the tiles on the face, every second one
#define MEASURES 8

#define GRAY_LEVEL ((float)(1.0 / 255))
#define HALF_LEVEL ((float)(1.0 / 255 / 2))
#define MOST_ROUNDED ((float)(1.5 * (1.0 / 255)))  // rounding leaves second differences of one gray level
#define LEAST_STEP ((float)(0.1 * (1.0 / 255)))    // added to mean first differences

#define LINES 8        // every eighth row is transformed
#define FIRST_BIN 4    // detail: above an eighth of Nyquist
#define FINE_BIN 17    // fine: above a half
#define END_BIN 33
#define DETAIL_BINS (END_BIN - FIRST_BIN)
#define FINE_BINS (END_BIN - FINE_BIN)

#define GRID_PX 8
#define GRIDS 7  // blocks of GRID_PX that are looked at along a tile
#define WAYS 2   // along rows, then down columns

// Sums over a thread's pixels; the first are also those of a tile.
#define BENT_RIGHT 0  // magnitudes of second differences along rows, above rounding's
#define BENT_BELOW 1
#define FLAT 2        // second differences along rows below half a gray level, counted
#define LUMA 3
#define THINNED 4     // luma of every second pixel of every second row
#define DETAIL 5      // power of the lines
#define FINE 6
#define STEPS 7       // magnitudes of first differences, along rows and down columns
#define THREAD_SUMS 8
#define DEVIATION 8  // squared, of the thinned luma from its own mean in the tile
#define EXCESS 9     // log2 of the strongest phase over the median one: along rows, then down columns
#define TILE_SUMS 11

__constant__ int USED_TILES[USED] = {0, 2, 5, 7, 8, 10, 13, 15};

// Lanes whose numbers differ by HALF swap half of the 2 * HALF values that each still holds. Told the compiler step by
// step: an array that is not indexed by constants would leave the registers.
template <int HALF, int COUNT>
__device__ __forceinline__ void swap_halves(float (&values)[COUNT], const int lane)
{
    if constexpr (HALF > 0) {
        const bool keeps_upper = lane & HALF;
#pragma unroll
        for (int k = 0; k < HALF; ++k) {
            const float sent = keeps_upper ? values[k] : values[k + HALF];
            const float kept = keeps_upper ? values[k + HALF] : values[k];
            values[k] = kept + __shfl_xor_sync(EVERY_LANE, sent, HALF);
        }
        swap_halves<HALF / 2>(values, lane);
    }
}

// Sums COUNT values (a power of two) over a warp: afterwards lane l holds the total of value l % COUNT. It takes
// COUNT - 1 shuffles and a few, where one value after the other would take 5 * COUNT.
template <int COUNT>
__device__ __forceinline__ float warp_totals(float (&values)[COUNT], const int lane)
{
    swap_halves<COUNT / 2>(values, lane);
#pragma unroll
    for (int distance = COUNT; distance < WARP; distance *= 2) {
        values[0] += __shfl_xor_sync(EVERY_LANE, values[0], distance);
    }
    return values[0];
}

// Reads a tile once, and writes every eighth row a second time, under the window.
__device__ __forceinline__ void load_tile(
    const float* __restrict__ source, const float* __restrict__ window, float* tile, float (&lines)[LINES][SIDE])
{
    const float4* quads = reinterpret_cast<const float4*>(source);
    for (int quad = threadIdx.x; quad < SIDE * SIDE / 4; quad += blockDim.x) {
        const float4 luma = __ldg(quads + quad);
        const int y = quad / (SIDE / 4), x = quad % (SIDE / 4) * 4;
        float* place = tile + y * STRIDE + x;
        place[0] = luma.x;
        place[1] = luma.y;
        place[2] = luma.z;
        place[3] = luma.w;
        if (y % (SIDE / LINES) == 0) {
            float* line = lines[y / (SIDE / LINES)] + x;
            line[0] = luma.x * __ldg(window + x);
            line[1] = luma.y * __ldg(window + x + 1);
            line[2] = luma.z * __ldg(window + x + 2);
            line[3] = luma.w * __ldg(window + x + 3);
        }
    }
}

__device__ __forceinline__ float above_rounding(const float bend)
{
    return bend > MOST_ROUNDED ? bend : 0.0f;
}

// Light and second differences at column x, in STRIP rows from `top` on; gives the sum of the first differences' sizes
// to the right.
__device__ __forceinline__ float walk_down(const float* tile, const int x, const int top, float* sums)
{
    const float* row = tile + top * STRIDE;
    float steps = 0.0f;
    for (int y = top; y < top + STRIP; ++y, row += STRIDE) {
        const float here = row[x], right = row[min(x + 1, LAST)] - here;
        steps += fabsf(right);
        sums[LUMA] += here;
        if (y % 2 != 0) {
            continue;
        }
        sums[THINNED] += x % 2 == 0 ? here : 0.0f;
        if (x < SIDE - 2) {
            const float bend = fabsf((row[x + 2] - row[x + 1]) - right);
            sums[BENT_RIGHT] += above_rounding(bend);
            sums[FLAT] += bend < HALF_LEVEL ? 1.0f : 0.0f;
        }
        if (y < SIDE - 2) {
            const float under = row[STRIDE + x];
            sums[BENT_BELOW] += above_rounding(fabsf((row[2 * STRIDE + x] - under) - (under - here)));
        }
    }
    return steps;
}

// Sum of the sizes of first differences from row y to the next, in STRIP columns from `left` on.
__device__ __forceinline__ float walk_along(const float* tile, const int y, const int left)
{
    const float* row = tile + y * STRIDE;
    const float* under = tile + min(y + 1, LAST) * STRIDE;
    float steps = 0.0f;
    for (int x = left; x < left + STRIP; ++x) {
        steps += fabsf(under[x] - row[x]);
    }
    return steps;
}

// |F|^2 of a line at one bin.
__device__ __forceinline__ float power_of(
    const float* line, const int bin, const float* cosine, const float* sine)
{
    float real = 0.0f, imaginary = 0.0f;
    for (int n = 0; n < SIDE; ++n) {
        const int turn = bin * n % SIDE;
        real += line[n] * cosine[turn];
        imaginary += line[n] * sine[turn];
    }
    return real * real + imaginary * imaginary;
}

// Squared deviations of a thread's thinned luma from the tile's mean.
__device__ __forceinline__ float deviation_from(const float mean, const float* tile)
{
    float sum = 0.0f;
    for (int place = threadIdx.x; place < SIDE * SIDE / 4; place += blockDim.x) {
        const float off = tile[place / (SIDE / 2) * 2 * STRIDE + place % (SIDE / 2) * 2] - mean;
        sum += off * off;
    }
    return sum;
}

// log2 of the strongest of eight phases over the median one.
__device__ __forceinline__ float excess_of(const float (&phases)[GRID_PX])
{
    float sorted[GRID_PX];
#pragma unroll
    for (int k = 0; k < GRID_PX; ++k) {
        sorted[k] = phases[k];
    }
#pragma unroll
    for (int round = 0; round < GRID_PX; ++round) {  // odd-even transposition sort
#pragma unroll
        for (int k = round % 2; k + 1 < GRID_PX; k += 2) {
            const float less = fminf(sorted[k], sorted[k + 1]);
            sorted[k + 1] = fmaxf(sorted[k], sorted[k + 1]);
            sorted[k] = less;
        }
    }
    return log2f(sorted[GRID_PX - 1] / ((sorted[GRID_PX / 2 - 1] + sorted[GRID_PX / 2]) / 2.0f));
}

// Mean step at one phase of the grid, over a tile's whole blocks.
__device__ __forceinline__ float phase_of(const float* steps, const int phase)
{
    float sum = 0.0f;
    for (int grid = 0; grid < GRIDS; ++grid) {
        for (int part = 0; part < STRIPS; ++part) {
            sum += steps[part * SIDE + grid * GRID_PX + phase];
        }
    }
    return sum / (GRIDS * SIDE) + LEAST_STEP;
}

__device__ __forceinline__ float total_of(const float* values, const int count, const int stride)
{
    float sum = 0.0f;
    for (int k = 0; k < count; ++k) {
        sum += values[k * stride];
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS) quality_tiles(
    const float* __restrict__ tiles,
    const float* __restrict__ waves,
    float* __restrict__ sums)
{
    __shared__ float tile[SIDE * STRIDE];
    __shared__ float lines[LINES][SIDE];
    __shared__ float cosine[SIDE], sine[SIDE];
    __shared__ float columns[STRIPS * SIDE], rows[STRIPS * SIDE];
    __shared__ float warps[MOST_THREADS / WARP * THREAD_SUMS];
    __shared__ float deviations[MOST_THREADS / WARP];
    __shared__ float phases[WAYS][GRID_PX];

    const size_t place = static_cast<size_t>(blockIdx.y) * TILES + USED_TILES[blockIdx.x];
    load_tile(tiles + place * SIDE * SIDE, waves, tile, lines);
    for (int n = threadIdx.x; n < SIDE; n += blockDim.x) {
        cosine[n] = __ldg(waves + SIDE + n);
        sine[n] = __ldg(waves + 2 * SIDE + n);
    }
    __syncthreads();  // barrier 1

    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, num_warps = blockDim.x / WARP;
    float mine[THREAD_SUMS] = {};
    for (int strip = threadIdx.x; strip < STRIPS * SIDE; strip += blockDim.x) {
        columns[strip] = walk_down(tile, strip % SIDE, strip / SIDE * STRIP, mine);
        rows[strip] = walk_along(tile, strip % SIDE, strip / SIDE * STRIP);
        mine[STEPS] += columns[strip] + rows[strip];
    }
    for (int wave = threadIdx.x; wave < LINES * DETAIL_BINS; wave += blockDim.x) {
        const int bin = FIRST_BIN + wave % DETAIL_BINS;
        const float power = power_of(lines[wave / DETAIL_BINS], bin, cosine, sine);
        mine[DETAIL] += power;
        mine[FINE] += bin >= FINE_BIN ? power : 0.0f;
    }
    const float total = warp_totals(mine, lane);
    if (lane < THREAD_SUMS) {
        warps[warp * THREAD_SUMS + lane] = total;
    }
    __syncthreads();  // barrier 2

    const float mean = total_of(warps + THINNED, num_warps, THREAD_SUMS) / (SIDE * SIDE / 4);
    float deviation[1] = {deviation_from(mean, tile)};
    deviation[0] = warp_totals(deviation, lane);
    if (lane == 0) {
        deviations[warp] = deviation[0];
    }
    if (threadIdx.x < WAYS * GRID_PX) {
        const int way = threadIdx.x / GRID_PX, phase = threadIdx.x % GRID_PX;
        phases[way][phase] = phase_of(way == 0 ? columns : rows, phase);
    }
    __syncthreads();  // barrier 3

    float* out = sums + (static_cast<size_t>(blockIdx.y) * USED + blockIdx.x) * TILE_SUMS;
    const int sum = threadIdx.x;
    if (sum < THREAD_SUMS) {
        out[sum] = total_of(warps + sum, num_warps, THREAD_SUMS);
    } else if (sum == DEVIATION) {
        out[sum] = total_of(deviations, num_warps, 1);
    } else if (sum < EXCESS + WAYS) {
        out[sum] = excess_of(phases[sum - EXCESS]);
    }
}

// Standard deviation of the thinned luma over all used tiles, from each one's mean and its deviations from that.
__device__ __forceinline__ float contrast_of(const float* sums)
{
    const float count = SIDE * SIDE / 4;
    const float mean = total_of(sums + THINNED, USED, TILE_SUMS) / (USED * count);
    float squares = total_of(sums + DEVIATION, USED, TILE_SUMS);
    for (int tile = 0; tile < USED; ++tile) {
        const float off = sums[tile * TILE_SUMS + THINNED] / count - mean;
        squares += count * off * off;
    }
    return sqrtf(squares / (USED * count));
}

__device__ __forceinline__ float sharpness_of(const float* sums)
{
    const float steps = total_of(sums + STEPS, USED, TILE_SUMS) / (USED * SIDE * LAST);
    const float bends = total_of(sums + BENT_RIGHT, USED, TILE_SUMS) / (USED * 32 * 62) +
                        total_of(sums + BENT_BELOW, USED, TILE_SUMS) / (USED * 31 * 64);
    const float least = -3.0f;  // SHARPNESS_FLOOR
    return fmaxf(log2f((bends + LEAST_STEP / 8.0f) / (steps + LEAST_STEP)), least);
}

__device__ __forceinline__ float fine_share_of(const float* sums, const float rounding)
{
    const float detail = total_of(sums + DETAIL, USED, TILE_SUMS) / (USED * LINES);
    const float fine = total_of(sums + FINE, USED, TILE_SUMS) / (USED * LINES);
    const float left = fmaxf(fine - 2.0f * rounding * FINE_BINS, 0.0f);
    const float lost = rounding * DETAIL_BINS / 1024.0f;  // 2 ** FINE_FLOOR
    return fmaxf(log2f((left + lost) / (detail + rounding * DETAIL_BINS)), -10.0f);
}

extern "C" __global__ void quality_measures(
    const float* __restrict__ sums,
    const float* __restrict__ face_px,
    const float* __restrict__ around_share,
    const float rounding,
    const int faces,
    float* __restrict__ measures)
{
    const int face = blockIdx.x * blockDim.x + threadIdx.x;
    if (face >= faces) {
        return;
    }
    const float* mine = sums + static_cast<size_t>(face) * USED * TILE_SUMS;
    float* out = measures + static_cast<size_t>(face) * MEASURES;
    out[0] = log2f(fmaxf(face_px[face], 1.0f));
    out[1] = sharpness_of(mine);
    out[2] = (total_of(mine + EXCESS, USED, TILE_SUMS) + total_of(mine + EXCESS + 1, USED, TILE_SUMS)) / (WAYS * USED);
    out[3] = total_of(mine + FLAT, USED, TILE_SUMS) / (USED * 32 * 62);
    out[4] = total_of(mine + LUMA, USED, TILE_SUMS) / (USED * SIDE * SIDE);
    out[5] = contrast_of(mine);
    out[6] = around_share[face];
    out[7] = fine_share_of(mine, rounding);
}
