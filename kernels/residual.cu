// The residual fingerprint of a batch of faces: high-pass statistics of every tile, then each face's features.
//
// Reference: stream_detect.experts.residual.residual_features (NumPy); a test holds both kernels to it. The reference
// writes nine residuals, their truncated magnitudes and products to memory. Here a tile is read once, everything else
// stays in registers and shared memory. Filters are the reference's, operation by operation: each output is the same to
// the last bit, and only sums are taken in another order. Sums are in a fixed order: the same bits on every run.
//
// residual_tiles: grid of one block a tile, blockDim.x a multiple of 32, at most 256.
//   tiles       (blocks, 64, 64) float        luma in [0, 1], 16-byte aligned
//   waves       (63, 6) float                 stream_detect.experts.residual.period_waves()
//   statistics  (blocks, STATISTICS) float    out: the statistics that the features begin with, in their order
//   moves 16,384 bytes in and 184 out a tile; `waves` (1.5 kB) stays in the caches.
// residual_features: grid of one block a face, any blockDim.x.
//   statistics  (faces, TILES, STATISTICS) float
//   features    (faces, FEATURES) float       out: RESIDUAL_NAMES, in their order
//   moves 5,152 bytes in and 800 out a face.
//
// Shared memory of residual_tiles, and what orders its use (one tile a block: nothing is used twice around a loop):
//   tile    written by all, then barrier 1, then only read
//   lines   each partial sum written by the thread that took it, barrier 2, four partial sums folded into the first by
//           the one thread that reads them, barrier 3, then only read
//   warps   written by each warp's lanes, barrier 2, then only read
//   totals  written after barrier 2, barrier 3, then only read
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
#define INSIDE 16  // of the tiles, the first lie on the face
#define STATISTICS 46
#define FEATURES 200

#define STEP ((float)(1.0 / 255))    // one gray level
#define LIMIT ((float)(4.0 / 255))   // edges count no more than this
#define FLOOR ((float)(1e-3 / 255))  // a thousandth of a gray level
#define FLOOR_SQUARED ((float)(1e-3 / 255 * (1e-3 / 255)))

// Places in the sums of a tile; of each filter three in a row: finely and coarsely truncated magnitude, its square.
#define FILTERS 9
#define FIRST_H 0
#define FIRST_V 3
#define SECOND_H 6
#define SECOND_V 9
#define THIRD_H 12
#define THIRD_V 15
#define FIRST_H_LAG_V 18
#define FIRST_V_LAG_H 19
#define RIGHT_ENERGY 20
#define BELOW_ENERGY 21
#define DIAGONAL_ENERGY 22
#define RIGHT_BELOW 23
#define RIGHT_DIAGONAL 24
#define BELOW_DIAGONAL 25
#define SLOPE_SUMS 32  // the sums above, up to a power of two
#define EDGE3 0        // from here on within the sums of curves, which lie behind those of slopes
#define SQUARE3 3
#define SQUARE5 6
#define SQUARE3_LAG_H 9
#define SQUARE3_LAG_V 10
#define SIGN_LAG_H 11
#define SIGN_LAG_V 12
#define SIGN_ENERGY 13
#define CURVE_SUMS 16
#define SUMS (SLOPE_SUMS + CURVE_SUMS)

// Mean magnitudes of the first differences along a tile, and their places in the shared `lines`.
#define LINES 4
#define RIGHT_COLUMNS 0
#define RIGHT_ROWS 1
#define BELOW_COLUMNS 2
#define BELOW_ROWS 3
#define PERIODS 3
#define WAVES (2 * PERIODS)  // cosines, then sines
#define PAIRS 31             // of an even and an odd place, in the first 62 of a line

__constant__ int FILTER_SUMS[FILTERS] = {
    FIRST_H, FIRST_V, SECOND_H, SECOND_V, THIRD_H, THIRD_V, SLOPE_SUMS + EDGE3, SLOPE_SUMS + SQUARE3,
    SLOPE_SUMS + SQUARE5};
__constant__ float FILTER_WEIGHT[FILTERS] = {1, 1, 2, 2, 3, 3, 4, 4, 12};
__constant__ float FILTER_OUTPUTS[FILTERS] = {
    64 * 63, 63 * 64, 32 * 62, 31 * 64, 32 * 61, 31 * 64, 32 * 62, 62 * 62, 30 * 60};

__device__ __forceinline__ float hold(const float value, const float most)
{
    return fminf(fmaxf(value, -most), most);
}

__device__ __forceinline__ void add(float* sums, const float residual, const float weight)
{
    const float size = fabsf(residual);
    const float coarse = fminf(size, LIMIT * weight);
    sums[0] += fminf(size, STEP * weight);
    sums[1] += coarse;
    sums[2] += coarse * coarse;
}

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

__device__ __forceinline__ void load_tile(const float* __restrict__ source, float* tile)
{
    const float4* quads = reinterpret_cast<const float4*>(source);
    for (int quad = threadIdx.x; quad < SIDE * SIDE / 4; quad += blockDim.x) {
        const float4 luma = __ldg(quads + quad);
        float* place = tile + quad / (SIDE / 4) * STRIDE + quad % (SIDE / 4) * 4;
        place[0] = luma.x;
        place[1] = luma.y;
        place[2] = luma.z;
        place[3] = luma.w;
    }
}

// Second and third differences along a row, at column x.
__device__ __forceinline__ void add_along_row(const float* row, const int x, float* sums)
{
    if (x >= SIDE - 2) {
        return;
    }
    const float step = row[x + 2] - row[x + 1];
    const float second = step - (row[x + 1] - row[x]);
    add(sums + SECOND_H, second, 2.0f);
    if (x < SIDE - 3) {
        add(sums + THIRD_H, ((row[x + 3] - row[x + 2]) - step) - second, 3.0f);
    }
}

// Second and third differences down a column, from `cell` on; both reach no further than three rows.
__device__ __forceinline__ void add_down_column(const float* cell, float* sums)
{
    const float step = cell[2 * STRIDE] - cell[STRIDE];
    const float second = step - (cell[STRIDE] - cell[0]);
    add(sums + SECOND_V, second, 2.0f);
    add(sums + THIRD_V, ((cell[3 * STRIDE] - cell[2 * STRIDE]) - step) - second, 3.0f);
}

// Correlations of the three differences of a 2x2 block, each truncated.
__device__ __forceinline__ void add_block(const float right, const float below, const float diagonal, float* sums)
{
    sums[RIGHT_ENERGY] += right * right;
    sums[BELOW_ENERGY] += below * below;
    sums[DIAGONAL_ENERGY] += diagonal * diagonal;
    sums[RIGHT_BELOW] += right * below;
    sums[RIGHT_DIAGONAL] += right * diagonal;
    sums[BELOW_DIAGONAL] += below * diagonal;
}

// First, second and third differences at column x in STRIP rows from `top` on; gives the summed magnitudes, truncated,
// of the first differences to the right (x) and below (y). A warp's rows are the same: only the last columns diverge.
__device__ __forceinline__ float2 add_slopes(const float* tile, const int x, const int top, float* sums)
{
    const float* row = tile + top * STRIDE;
    const int next = min(x + 1, LAST);  // at the edge itself, which makes the difference zero
    float here = row[x], beside = row[next], right = hold(beside - here, LIMIT);
    float right_sum = 0.0f, below_sum = 0.0f;
    for (int y = top; y < top + STRIP; ++y, row += STRIDE) {
        add(sums + FIRST_H, beside - here, 1.0f);
        right_sum += fabsf(right);
        if (y % 2 == 0) {
            add_along_row(row, x, sums);
            if (y < SIDE - 2) {
                add_down_column(row + x, sums);
            }
        }
        if (y == LAST) {
            break;
        }
        const float under = row[STRIDE + x], under_beside = row[STRIDE + next];
        const float below = hold(under - here, LIMIT), right_under = hold(under_beside - under, LIMIT);
        add(sums + FIRST_V, under - here, 1.0f);
        below_sum += fabsf(below);
        sums[FIRST_H_LAG_V] += right * right_under;
        if (x < LAST) {
            sums[FIRST_V_LAG_H] += below * hold(under_beside - beside, LIMIT);
            add_block(right, below, hold(under_beside - here, LIMIT), sums);
        }
        here = under;
        beside = under_beside;
        right = right_under;
    }
    return make_float2(right_sum, below_sum);
}

// Second differences along a row at columns x, x + 1 and x + 2; those past the edge are never used.
__device__ __forceinline__ void curves(const float* row, const int x, float (&curve)[3])
{
    const float a = row[x], b = row[x + 1], c = row[x + 2], d = row[min(x + 3, LAST)], e = row[min(x + 4, LAST)];
    curve[0] = (c - b) - (b - a);
    curve[1] = (d - c) - (c - b);
    curve[2] = (e - d) - (d - c);
}

// EDGE 3x3, SQUARE 3x3 and SQUARE 5x5 with their left column at x, in STRIP rows from `top` on. SQUARE 5x5 and the lag
// look back at the two rows before, so these are taken first without counting.
__device__ __forceinline__ void add_curves(const float* tile, const int x, const int top, float* sums)
{
    if (x >= SIDE - 2) {
        return;
    }
    const int first = max(top - 2, 0), end = min(top + STRIP, SIDE - 2);
    float curve[3], slope[3], next[3], square[3];
    curves(tile + first * STRIDE, x, slope);
    curves(tile + (first + 1) * STRIDE, x, curve);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
        slope[k] = curve[k] - slope[k];
    }
    float sides = 0.0f, middle = 0.0f, edge_above = 0.0f, sign_above = 0.0f;
    for (int y = first; y < end; ++y) {
        const bool counts = y >= top, is_even = y % 2 == 0;
        if (counts && is_even) {
            add(sums + EDGE3, slope[0] + curve[0], 4.0f);
        }
        curves(tile + (y + 2) * STRIDE, x, next);
#pragma unroll
        for (int k = 0; k < 3; ++k) {
            const float slope_under = next[k] - curve[k];
            square[k] = slope_under - slope[k];
            slope[k] = slope_under;
            curve[k] = next[k];
        }
        const float edge = hold(square[0], 4.0f * LIMIT), sign = hold(square[0], 4.0f * STEP);
        if (counts) {
            add(sums + SQUARE3, square[0], 4.0f);
            sums[SIGN_ENERGY] += sign * sign;
            sums[SQUARE3_LAG_V] += edge * edge_above;
            sums[SIGN_LAG_V] += sign * sign_above;
            if (x < SIDE - 3) {
                sums[SQUARE3_LAG_H] += edge * hold(square[1], 4.0f * LIMIT);
                sums[SIGN_LAG_H] += sign * hold(square[1], 4.0f * STEP);
            }
        }
        edge_above = edge;
        sign_above = sign;
        if (is_even) {
            const float sides_under = square[2] + square[0];
            if (counts && y > 0 && x < SIDE - 4) {
                add(sums + SQUARE5, (sides_under + sides) + 2.0f * middle, 12.0f);
            }
            sides = sides_under;
        } else {
            middle = square[1];
        }
    }
    if (top + STRIP == SIDE) {
        add(sums + EDGE3, slope[0] + curve[0], 4.0f);
    }
}

// The same two sums along row y, in STRIP columns from `left` on. Lanes walk different rows.
__device__ __forceinline__ float2 row_sums(const float* tile, const int y, const int left)
{
    const float* row = tile + y * STRIDE;
    const float* under = tile + min(y + 1, LAST) * STRIDE;
    float here = row[left];
    float right_sum = 0.0f, below_sum = 0.0f;
    for (int x = left; x < left + STRIP; ++x) {
        const float beside = row[min(x + 1, LAST)];
        right_sum += fminf(fabsf(beside - here), LIMIT);
        below_sum += fminf(fabsf(under[x] - here), LIMIT);
        here = beside;
    }
    return make_float2(right_sum, below_sum);
}

__device__ __forceinline__ float lag(const float product, const float pairs, const float energy)
{
    return product / pairs / (energy + FLOOR_SQUARED);
}

__device__ __forceinline__ float neighbours(const float product, const float one, const float other)
{
    const float blocks = LAST * LAST;
    return 2.0f * (product / blocks) / ((one / blocks + other / blocks) + FLOOR_SQUARED);
}

// Fine, coarse (k / FILTERS = 0, 1) or peaked (2) of filter k % FILTERS.
__device__ __forceinline__ float shape(const float* totals, const int k)
{
    const float* sums = totals + FILTER_SUMS[k % FILTERS];
    const float weight = FILTER_WEIGHT[k % FILTERS], outputs = FILTER_OUTPUTS[k % FILTERS];
    if (k < FILTERS) {
        return logf(sums[0] / outputs / weight + FLOOR);
    }
    const float mean = sums[1] / outputs / weight + FLOOR;
    if (k < 2 * FILTERS) {
        return logf(mean);
    }
    return logf((sums[2] / outputs / (weight * weight) + FLOOR_SQUARED) / (mean * mean));
}

// Correlations from sums: k counts from first_h_lag_v to npr_below_diagonal.
__device__ __forceinline__ float correlation(const float* totals, const int k)
{
    const float* curve = totals + SLOPE_SUMS;
    const float squares = (SIDE - 2) * (SIDE - 2), square_pairs = (SIDE - 2) * (SIDE - 3), pairs = LAST * LAST;
    switch (k) {
        case 0: return lag(totals[FIRST_H_LAG_V], pairs, totals[FIRST_H + 2] / (SIDE * LAST));
        case 1: return lag(totals[FIRST_V_LAG_H], pairs, totals[FIRST_V + 2] / (SIDE * LAST));
        case 2: return lag(curve[SQUARE3_LAG_H], square_pairs, curve[SQUARE3 + 2] / squares);
        case 3: return lag(curve[SQUARE3_LAG_V], square_pairs, curve[SQUARE3 + 2] / squares);
        case 4: return lag(curve[SIGN_LAG_H], square_pairs, curve[SIGN_ENERGY] / squares);
        case 5: return lag(curve[SIGN_LAG_V], square_pairs, curve[SIGN_ENERGY] / squares);
        case 6: return neighbours(totals[RIGHT_BELOW], totals[RIGHT_ENERGY], totals[BELOW_ENERGY]);
        case 7: return neighbours(totals[RIGHT_DIAGONAL], totals[RIGHT_ENERGY], totals[DIAGONAL_ENERGY]);
        default: return neighbours(totals[BELOW_DIAGONAL], totals[BELOW_ENERGY], totals[DIAGONAL_ENERGY]);
    }
}

#define SHAPES (3 * FILTERS)
#define CORRELATIONS 9
#define PHASES LINES

// Phases of two and the coders' periods, from the four lines of a tile; by the 32 lanes of one warp.
__device__ __forceinline__ void line_statistics(
    const float (&lines)[LINES][STRIPS][SIDE], const float* totals, const float* __restrict__ waves, const int lane,
    float* statistics)
{
    const float level_h = totals[FIRST_H + 1] / (SIDE * LAST), level_v = totals[FIRST_V + 1] / (SIDE * LAST);
    float values[WARP] = {};  // waves of columns, waves of rows, then even and odd places of each line
#pragma unroll
    for (int part = 0; part < SIDE / WARP; ++part) {
        const int place = lane + part * WARP;
        if (place < LAST) {
            const float right = lines[RIGHT_COLUMNS][0][place] - level_h;
            const float below = lines[BELOW_ROWS][0][place] - level_v;
#pragma unroll
            for (int wave = 0; wave < WAVES; ++wave) {
                const float height = __ldg(waves + place * WAVES + wave);
                values[wave] += right * height;
                values[WAVES + wave] += below * height;
            }
        }
#pragma unroll
        for (int line = 0; line < LINES; ++line) {
            const float mean = place < 2 * PAIRS ? lines[line][0][place] : 0.0f;
            values[2 * WAVES + 2 * line] += place % 2 == 0 ? mean : 0.0f;
            values[2 * WAVES + 2 * line + 1] += place % 2 == 0 ? 0.0f : mean;
        }
    }
    const float mine = warp_totals(values, lane);
    const float sine = __shfl_down_sync(EVERY_LANE, mine, PERIODS);
    const float odd = __shfl_down_sync(EVERY_LANE, mine, 1) / PAIRS;
    float* grids = statistics + SHAPES + CORRELATIONS + PHASES;
    if (lane < 2 * WAVES && lane % WAVES < PERIODS) {
        const float level = lane < WAVES ? level_h : level_v;
        grids[lane / WAVES * PERIODS + lane % WAVES] = sqrtf(mine * mine + sine * sine) / (level + FLOOR);
    }
    if (lane >= 2 * WAVES && lane < 2 * WAVES + 2 * LINES && lane % 2 == 0) {
        const float even = mine / PAIRS;
        statistics[SHAPES + CORRELATIONS + (lane - 2 * WAVES) / 2] = fabsf(even - odd) / (even + odd + FLOOR);
    }
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS) residual_tiles(
    const float* __restrict__ tiles,
    const float* __restrict__ waves,
    float* __restrict__ statistics)
{
    __shared__ float tile[SIDE * STRIDE];
    __shared__ float lines[LINES][STRIPS][SIDE];
    __shared__ float warps[MOST_THREADS / WARP][SUMS];
    __shared__ float totals[SUMS];

    load_tile(tiles + static_cast<size_t>(blockIdx.x) * SIDE * SIDE, tile);
    __syncthreads();  // barrier 1

    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float slope_sums[SLOPE_SUMS] = {}, curve_sums[CURVE_SUMS] = {};
    for (int strip = threadIdx.x; strip < STRIPS * SIDE; strip += blockDim.x) {
        const int place = strip % SIDE, part = strip / SIDE;
        const float2 columns = add_slopes(tile, place, part * STRIP, slope_sums);
        const float2 rows = row_sums(tile, place, part * STRIP);
        lines[RIGHT_COLUMNS][part][place] = columns.x;
        lines[BELOW_COLUMNS][part][place] = columns.y;
        lines[RIGHT_ROWS][part][place] = rows.x;
        lines[BELOW_ROWS][part][place] = rows.y;
    }
    warps[warp][lane] = warp_totals(slope_sums, lane);
    for (int strip = threadIdx.x; strip < STRIPS * SIDE; strip += blockDim.x) {
        add_curves(tile, strip % SIDE, strip / SIDE * STRIP, curve_sums);
    }
    const float curve_total = warp_totals(curve_sums, lane);
    if (lane < CURVE_SUMS) {
        warps[warp][SLOPE_SUMS + lane] = curve_total;
    }
    __syncthreads();  // barrier 2

    for (int sum = threadIdx.x; sum < SUMS; sum += blockDim.x) {
        float total = 0.0f;
        for (int other = 0; other < blockDim.x / WARP; ++other) {
            total += warps[other][sum];
        }
        totals[sum] = total;
    }
    for (int place = threadIdx.x; place < LINES * SIDE; place += blockDim.x) {
        const int line = place / SIDE, at = place % SIDE;
        const float across = line == RIGHT_COLUMNS || line == BELOW_ROWS ? SIDE : LAST;
        float total = 0.0f;
        for (int part = 0; part < STRIPS; ++part) {
            total += lines[line][part][at];
        }
        lines[line][0][at] = total / across;
    }
    __syncthreads();  // barrier 3

    float* mine = statistics + static_cast<size_t>(blockIdx.x) * STATISTICS;
    for (int k = threadIdx.x; k < SHAPES + CORRELATIONS; k += blockDim.x) {
        mine[k] = k < SHAPES ? shape(totals, k) : correlation(totals, k - SHAPES);
    }
    if (warp == 0) {
        line_statistics(lines, totals, waves, lane, mine);
    }
}

#define LOCAL 10   // statistics that are also told by place and of extreme tiles
#define SPREAD 4   // filters whose "coarse" is told by its spread
#define GRID_SIDE 4  // the face's tiles lie on a grid of so many rows and columns

// Places in a tile's statistics.
__constant__ int LOCAL_STATISTICS[LOCAL] = {9, 10, 7, 16, 25, 29, 30, 27, 28, 33};
__constant__ int SPREAD_STATISTICS[SPREAD] = {9, 10, 16, 17};

__device__ __forceinline__ float mean_of(const float* values, const int count, const int stride)
{
    float sum = 0.0f;
    for (int k = 0; k < count; ++k) {
        sum += values[k * stride];
    }
    return sum / count;
}

// Standard deviation over `count` tiles.
__device__ __forceinline__ float spread_of(const float* column, const int count)
{
    const float mean = mean_of(column, count, STATISTICS);
    float sum = 0.0f;
    for (int tile = 0; tile < count; ++tile) {
        const float off = column[tile * STATISTICS] - mean;
        sum += off * off;
    }
    return sqrtf(sum / count);
}

// `column` less `sign` times its lowest: with -1 the highest, with its sign changed back.
__device__ __forceinline__ float extreme_of(const float* column, const int count, const float sign)
{
    float least = sign * column[0];
    for (int tile = 1; tile < count; ++tile) {
        least = fminf(least, sign * column[tile * STATISTICS]);
    }
    return sign * least;
}

// Of one statistic: four rows of tiles less their mean, then the middle columns less the outer (PLACES of tiles.py).
__device__ __forceinline__ float by_place(const float* column, const int place)
{
    float rows[GRID_SIDE], columns[GRID_SIDE];
#pragma unroll
    for (int k = 0; k < GRID_SIDE; ++k) {
        rows[k] = mean_of(column + k * GRID_SIDE * STATISTICS, GRID_SIDE, STATISTICS);
        columns[k] = mean_of(column + k * STATISTICS, GRID_SIDE, GRID_SIDE * STATISTICS);
    }
    if (place == GRID_SIDE) {
        return (columns[1] + columns[2] - columns[0] - columns[3]) / 2.0f;
    }
    const float row = place == 0 ? rows[0] : place == 1 ? rows[1] : place == 2 ? rows[2] : rows[3];
    return row - (rows[0] + rows[1] + rows[2] + rows[3]) / GRID_SIDE;
}

// Of one statistic: its extreme tiles, then its spread around the face (EXTREMES of tiles.py).
__device__ __forceinline__ float by_extreme(const float* column, const int what)
{
    const float* ring = column + INSIDE * STATISTICS;
    if (what == 4) {
        return spread_of(ring, TILES - INSIDE);
    }
    const float sign = what % 2 == 0 ? 1.0f : -1.0f;
    const float found = extreme_of(column, INSIDE, sign);
    return found - (what < 2 ? mean_of(column, INSIDE, STATISTICS) : extreme_of(ring, TILES - INSIDE, sign));
}

// Feature k of RESIDUAL_NAMES, from the statistics of a face's tiles.
__device__ __forceinline__ float feature(const float* tiles, int k)
{
    const float* ring = tiles + INSIDE * STATISTICS;
    if (k < STATISTICS) {
        return mean_of(tiles + k, INSIDE, STATISTICS);
    }
    if ((k -= STATISTICS) < STATISTICS) {
        return mean_of(tiles + k, INSIDE, STATISTICS) - mean_of(ring + k, TILES - INSIDE, STATISTICS);
    }
    if ((k -= STATISTICS) < 2 * SPREAD) {
        const int column = SPREAD_STATISTICS[k % SPREAD];
        const float spread = spread_of(tiles + column, INSIDE);
        return k < SPREAD ? spread : spread - spread_of(ring + column, TILES - INSIDE);
    }
    k -= 2 * SPREAD;
    const float* column = tiles + LOCAL_STATISTICS[k % LOCAL];
    const int what = k / LOCAL;
    return what <= GRID_SIDE ? by_place(column, what) : by_extreme(column, what - GRID_SIDE - 1);
}

extern "C" __global__ void residual_features(const float* __restrict__ statistics, float* __restrict__ features)
{
    __shared__ float tiles[TILES * STATISTICS];

    const float* source = statistics + static_cast<size_t>(blockIdx.x) * TILES * STATISTICS;
    for (int k = threadIdx.x; k < TILES * STATISTICS; k += blockDim.x) {
        tiles[k] = source[k];
    }
    __syncthreads();

    for (int k = threadIdx.x; k < FEATURES; k += blockDim.x) {
        features[static_cast<size_t>(blockIdx.x) * FEATURES + k] = feature(tiles, k);
    }
}
