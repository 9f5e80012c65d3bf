// The spectrum fingerprint: tiles are windowed, and their Fourier coefficients become the features of each face.
//
// Reference: stream_detect.experts.spectrum (NumPy): `window_tiles` is its `_windowed`, `radial_power` the mean of |F|^2
// over groups of bins, `spectrum_features` all that follows. The FFT between the first two is the caller's. The reference
// writes |F|^2 of every bin to memory and multiplies it by a (bins, groups) matrix that is mostly zero; here a tile's
// powers stay in shared memory and each group reads only the bins it has. Logarithms are left to `spectrum_features`,
// where 32 lanes take 32 of them at once; here one lane of a warp would take one after the other.
//
// tiles    (tiles, 64, 64) float     luma in [0, 1]
// window   (64, 64) float            Hann window of unit energy
// whole    float                     its sum
// windowed (tiles, 64, 64) float     out: tiles without their windowed mean, times the window; may be `tiles` itself
// waves    (tiles, BINS) float2      real FFT of each tile, C order: 64 rows of 33 complex64
// starts   (groups + 1,) int32       group g owns entries starts[g] .. starts[g + 1] - 1 of `bins` and `weights`
// bins     (entries,) int32          index of a bin, 0 .. BINS - 1
// weights  (entries,) float          what the bin counts in the group's mean
// power    (tiles, groups) float     sum over the group's entries of weight * |F[bin]|^2
// features (faces, FEATURES) float   out: in the order of SPECTRUM_NAMES
//
// Arrays begin at multiples of 16 bytes. Grid: `window_tiles` and `radial_power` one block a tile, `spectrum_features`
// one block a face of INSIDE + AROUND tiles; blockDim.x a multiple of 32, at most 1024. Sums are added in a fixed order:
// the same numbers on every run.

#ifndef BINS
#define BINS 2112  // 64 * 33
#endif

#define WARP 32
#define MOST_WARPS 32
#define ALL_LANES 0xffffffffu
#define QUADS (64 * 64 / 4)  // float4s of a tile

#define INSIDE 16  // a face's own tiles, 4 rows of 4; those around it follow
#define AROUND 12
#define TILES (INSIDE + AROUND)
#define SIDE 4

// Groups, as the slices RINGS, ON_PEAK, BESIDE_PEAK, SECTORS and COARSE of the reference.
#define RINGS 36
#define PEAKS 12
#define OCTAVES 4
#define BANDS 8
#define ON_PEAK RINGS
#define BESIDE_PEAK (ON_PEAK + PEAKS)
#define SECTORS (BESIDE_PEAK + PEAKS)
#define COARSE (SECTORS + 3 * OCTAVES)
#define GROUPS (COARSE + BANDS)
#define REFERENCE_RING 3  // REFERENCE_RINGS: five from here
#define REFERENCE_RING_END 8
#define REFERENCE_BAND 2
#define FLOOR 1e-7f

// Where each part of the features begins.
#define AT_AGAINST RINGS
#define AT_PEAKS (2 * RINGS)
#define AT_PEAKS_AGAINST (AT_PEAKS + PEAKS)
#define AT_HORIZONTAL (AT_PEAKS_AGAINST + PEAKS)
#define AT_DIAGONAL (AT_HORIZONTAL + OCTAVES)
#define AT_SPREAD (AT_DIAGONAL + OCTAVES)
#define AT_LEVEL (AT_SPREAD + BANDS)
#define AT_ROWS (AT_LEVEL + BANDS)
#define AT_MIDDLE (AT_ROWS + SIDE * BANDS)
#define AT_EXTREMES (AT_MIDDLE + BANDS)
#define FEATURES (AT_EXTREMES + 5 * BANDS)

static __device__ __forceinline__ float4 less(const float4 quad, const float shift)
{
    return make_float4(quad.x - shift, quad.y - shift, quad.z - shift, quad.w - shift);
}

// A tile without its mean under the Hann window. The first pixel is taken away before anything is added up, so that a
// constant tile becomes zero exactly. A thread reads back from `kept` only what it wrote there itself; the one barrier
// covers `partial`. All reads of `tiles` lie before it and all writes of `windowed` after it: they may be one array.
extern "C" __global__ void window_tiles(
    const float* tiles, const float* __restrict__ window, const float whole, float* windowed)
{
    __shared__ float4 kept[QUADS];
    __shared__ float partial[MOST_WARPS];

    const float4* from = reinterpret_cast<const float4*>(tiles) + (size_t)blockIdx.x * QUADS;
    float4* to = reinterpret_cast<float4*>(windowed) + (size_t)blockIdx.x * QUADS;
    const float4* weights = reinterpret_cast<const float4*>(window);
    const float first = from[0].x;

    float sum = 0.0f;
    for (int quad = threadIdx.x; quad < QUADS; quad += blockDim.x) {
        const float4 v = less(from[quad], first), weight = __ldg(weights + quad);
        kept[quad] = v;
        sum += v.x * weight.x + v.y * weight.y + v.z * weight.z + v.w * weight.w;
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        sum += __shfl_down_sync(ALL_LANES, sum, distance);
    }
    if (threadIdx.x % WARP == 0) {
        partial[threadIdx.x / WARP] = sum;
    }
    __syncthreads();

    float total = 0.0f;
    for (int warp = 0; warp < blockDim.x / WARP; ++warp) {
        total += partial[warp];
    }
    const float mean = total / whole;
    for (int quad = threadIdx.x; quad < QUADS; quad += blockDim.x) {
        const float4 v = less(kept[quad], mean), weight = __ldg(weights + quad);
        to[quad] = make_float4(v.x * weight.x, v.y * weight.y, v.z * weight.z, v.w * weight.w);
    }
}

// Mean power of a windowed tile in each group of bins, straight from its Fourier coefficients. A warp takes every
// (blockDim.x / 32)-th group. The one barrier lies between all writes of `square` and all reads.
extern "C" __global__ void radial_power(
    const float2* __restrict__ waves,
    const int* __restrict__ starts,
    const int* __restrict__ bins,
    const float* __restrict__ weights,
    const int groups,
    float* __restrict__ power)
{
    __shared__ float2 squares[BINS / 2];

    const size_t tile = blockIdx.x;
    const float4* pairs = reinterpret_cast<const float4*>(waves + tile * BINS);
    for (int pair = threadIdx.x; pair < BINS / 2; pair += blockDim.x) {
        const float4 two = pairs[pair];
        squares[pair] = make_float2(two.x * two.x + two.y * two.y, two.z * two.z + two.w * two.w);
    }
    __syncthreads();

    const float* square = reinterpret_cast<const float*>(squares);
    const int lane = threadIdx.x % WARP;
    for (int group = threadIdx.x / WARP; group < groups; group += blockDim.x / WARP) {
        float sum = 0.0f;
        const int end = starts[group + 1];
        for (int entry = starts[group] + lane; entry < end; entry += WARP) {
            sum += weights[entry] * square[bins[entry]];
        }
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            sum += __shfl_down_sync(ALL_LANES, sum, distance);
        }
        if (lane == 0) {
            power[tile * groups + group] = sum;
        }
    }
}

// What `spectrum_features` keeps of a face in shared memory.
struct Face {
    float tile[TILES][GROUPS];  // log power, but for the groups on and beside peaks: their power
    float mean[2][GROUPS];      // of `tile` over the tiles inside [0] and around [1]
};

static __device__ __forceinline__ bool is_peak(const int group)
{
    return group >= ON_PEAK && group < SECTORS;
}

static __device__ float zeroed_ring(const Face& face, const int place, const int ring)
{
    float zero = 0.0f;
    for (int k = REFERENCE_RING; k < REFERENCE_RING_END; ++k) {
        zero += face.mean[place][k];
    }
    return face.mean[place][ring] - zero / (REFERENCE_RING_END - REFERENCE_RING);
}

static __device__ float peak(const Face& face, const int place, const int which)
{
    return logf((face.mean[place][ON_PEAK + which] + FLOOR) / (face.mean[place][BESIDE_PEAK + which] + FLOOR));
}

static __device__ float direction(const Face& face, const int which, const bool is_diagonal)
{
    const float horizontal = face.mean[0][SECTORS + which];
    const float vertical = face.mean[0][SECTORS + OCTAVES + which];
    if (!is_diagonal) {
        return horizontal - vertical;
    }
    return face.mean[0][SECTORS + 2 * OCTAVES + which] - (horizontal + vertical) / 2;
}

// The log power of a tile in a coarse band; as a shape, less that in the reference band.
static __device__ __forceinline__ float coarse(const Face& face, const int tile, const int band, const bool is_shape)
{
    return face.tile[tile][COARSE + band] - (is_shape ? face.tile[tile][COARSE + REFERENCE_BAND] : 0.0f);
}

static __device__ float deviation(
    const Face& face, const int first, const int end, const int band, const bool is_shape)
{
    float sum = 0.0f, squares = 0.0f;
    for (int tile = first; tile < end; ++tile) {
        sum += coarse(face, tile, band, is_shape);
    }
    const float mean = sum / (end - first);
    for (int tile = first; tile < end; ++tile) {
        const float off = coarse(face, tile, band, is_shape) - mean;
        squares += off * off;
    }
    return sqrtf(squares / (end - first));
}

static __device__ float row_level(const Face& face, const int row, const int band)
{
    float sum = 0.0f;
    for (int column = 0; column < SIDE; ++column) {
        sum += face.tile[row * SIDE + column][COARSE + band];
    }
    return sum / SIDE - face.mean[0][COARSE + band];
}

static __device__ float middle_level(const Face& face, const int band)
{
    float sum = 0.0f;
    for (int row = 0; row < SIDE; ++row) {
        const int tile = row * SIDE, group = COARSE + band;
        sum += face.tile[tile + 1][group] + face.tile[tile + 2][group];
        sum -= face.tile[tile][group] + face.tile[tile + 3][group];
    }
    return sum / (2 * SIDE);
}

// The lowest, or the highest, shape of a band over some tiles.
static __device__ float outermost(
    const Face& face, const int first, const int end, const int band, const bool is_highest)
{
    float found = coarse(face, first, band, true);
    for (int tile = first + 1; tile < end; ++tile) {
        const float next = coarse(face, tile, band, true);
        found = is_highest ? fmaxf(found, next) : fminf(found, next);
    }
    return found;
}

static __device__ float extreme(const Face& face, const int which, const int band)
{
    if (which == 4) {
        return deviation(face, INSIDE, TILES, band, true);
    }
    const bool is_highest = which % 2;
    const float inside = outermost(face, 0, INSIDE, band, is_highest);
    if (which < 2) {
        return inside - (face.mean[0][COARSE + band] - face.mean[0][COARSE + REFERENCE_BAND]);
    }
    return inside - outermost(face, INSIDE, TILES, band, is_highest);
}

static __device__ float feature(const Face& face, const int k)
{
    if (k < AT_AGAINST) return zeroed_ring(face, 0, k);
    if (k < AT_PEAKS) return zeroed_ring(face, 0, k - AT_AGAINST) - zeroed_ring(face, 1, k - AT_AGAINST);
    if (k < AT_PEAKS_AGAINST) return peak(face, 0, k - AT_PEAKS);
    if (k < AT_HORIZONTAL) return peak(face, 0, k - AT_PEAKS_AGAINST) - peak(face, 1, k - AT_PEAKS_AGAINST);
    if (k < AT_DIAGONAL) return direction(face, k - AT_HORIZONTAL, false);
    if (k < AT_SPREAD) return direction(face, k - AT_DIAGONAL, true);
    if (k < AT_LEVEL) return deviation(face, 0, INSIDE, k - AT_SPREAD, false);
    if (k < AT_ROWS) return face.mean[0][COARSE + k - AT_LEVEL] - face.mean[1][COARSE + k - AT_LEVEL];
    if (k < AT_MIDDLE) return row_level(face, (k - AT_ROWS) / BANDS, (k - AT_ROWS) % BANDS);
    if (k < AT_EXTREMES) return middle_level(face, k - AT_MIDDLE);
    return extreme(face, (k - AT_EXTREMES) / BANDS, (k - AT_EXTREMES) % BANDS);
}

// All features of a face from the powers of its tiles. The first barrier lies between the writes of `face.tile` and
// its reads, the second between the writes of `face.mean` and its reads; neither is written again.
extern "C" __global__ void spectrum_features(const float* __restrict__ power, float* __restrict__ features)
{
    __shared__ Face face;

    const float4* given = reinterpret_cast<const float4*>(power) + (size_t)blockIdx.x * (TILES * GROUPS / 4);
    float* kept = &face.tile[0][0];
    for (int quad = threadIdx.x; quad < TILES * GROUPS / 4; quad += blockDim.x) {
        const float4 v = given[quad];
        const bool is_log = !is_peak(4 * quad % GROUPS);  // all four: parts begin at multiples of four
        kept[4 * quad] = is_log ? logf(v.x + FLOOR) : v.x;
        kept[4 * quad + 1] = is_log ? logf(v.y + FLOOR) : v.y;
        kept[4 * quad + 2] = is_log ? logf(v.z + FLOOR) : v.z;
        kept[4 * quad + 3] = is_log ? logf(v.w + FLOOR) : v.w;
    }
    __syncthreads();

    for (int column = threadIdx.x; column < 2 * GROUPS; column += blockDim.x) {
        const int place = column / GROUPS, group = column % GROUPS;
        const int first = place ? INSIDE : 0, end = place ? TILES : INSIDE;
        float sum = 0.0f;
        for (int tile = first; tile < end; ++tile) {
            sum += face.tile[tile][group];
        }
        face.mean[place][group] = sum / (end - first);
    }
    __syncthreads();

    for (int k = threadIdx.x; k < FEATURES; k += blockDim.x) {
        features[(size_t)blockIdx.x * FEATURES + k] = feature(face, k);
    }
}
