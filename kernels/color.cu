// The color fingerprint: exposure, chroma and difference statistics of each face, from one read of its pixels.
//
// Reference: stream_detect.experts.color.color_features (NumPy). What can be counted or added up in whole numbers is:
// R, G, B are bytes, and thousandfold Y, Cb, Cr are whole numbers too, so that sums are exact, no mean is rounded before
// it is taken away, and percentiles are exact without sorting: a warp searches each one bit by bit.
//
// pixels   (faces, 64, 64, 3) uint8  RGB; begins at a multiple of 4 bytes
// features (faces, FEATURES) float   out: in the order of COLOR_NAMES
//
// Grid: one block a face, blockDim.x a multiple of 32, at most 512; 8 warps find all percentiles at once. Sums are added
// in a fixed order: the same numbers on every run. No place in shared memory is written twice; a barrier lies between
// all that write and all that read it.

#define WARP 32
#define MOST_WARPS 16
#define ALL_LANES 0xffffffffu
#define SIDE 64
#define PIXELS (SIDE * SIDE)
#define PAIRS (SIDE * (SIDE - 1))  // of neighbours along one direction
#define BENDS (SIDE * (SIDE - 2))  // of three neighbours along rows
#define STRIDE 4                   // PERCENTILE_STRIDE
#define PICKED (PIXELS / STRIDE / WARP)  // of a lane, for percentiles
#define FLOOR 1e-6f
#define STEP_FLOOR 1e-4f
#define BEND_LIMIT 24  // gray levels
#define STEP_LIMIT 3
#define KEY_BITS 19  // a thousandfold Cb or Cr lies within +- 225,930
#define KEY_ZERO (1 << (KEY_BITS - 1))

// Places of the sums, in whole numbers.
#define BRIGHT 0
#define DARK 4
#define CHANNEL 8
#define DIFFERENCE 11  // six products of R, G, B: rr, gg, bb, rg, rb, gb
#define BEND 17
#define STEP 23  // of Y, Cb, Cr across, then down

// Places of the sums of fractions, about the means. c is Y, Cb, Cr in turn.
#define SQUARE 0
#define CUBE 3
#define FOURTH 6
#define PRODUCT 9          // Y Cb, Y Cr, Cb Cr
#define LAG 12             // c times c to the right; then below
#define LAG_ENERGY 18      // the squares of both
#define SHARE_PRODUCT 24   // of the chromaticities r and g: rr, gg, rg

#define FEATURES 63

struct Triple {
    int x, y, z;
};

struct Totals {
    int whole[WARP];
    float share[2];        // sums of the chromaticities
    float central[WARP];
    int percentile[8];     // thousandfold Cb, Cr; Cb, Cr; ...
};

static __device__ __forceinline__ Triple rgb(const unsigned packed)
{
    return {(int)(packed & 255), (int)(packed >> 8 & 255), (int)(packed >> 16)};
}

static __device__ __forceinline__ Triple operator-(const Triple a, const Triple b)
{
    return {a.x - b.x, a.y - b.y, a.z - b.z};
}

// A thousand times Y, 1.772 Cb and 1.402 Cr of BT.601, in gray levels; also of differences.
static __device__ __forceinline__ Triple planes(const Triple c)
{
    const int luma = 299 * c.x + 587 * c.y + 114 * c.z;
    return {luma, 1000 * c.z - luma, 1000 * c.x - luma};
}

static __device__ __forceinline__ float scale_of(const int plane)
{
    return plane == 0 ? 1.0f / 255000.0f : plane == 1 ? 1.0f / 451860.0f : 1.0f / 357510.0f;
}

static __device__ __forceinline__ int within(const int value, const int limit)
{
    return min(max(value, -limit), limit);
}

static __device__ __forceinline__ void add_products(int* sums, const Triple d)
{
    sums[0] += d.x * d.x;
    sums[1] += d.y * d.y;
    sums[2] += d.z * d.z;
    sums[3] += d.x * d.y;
    sums[4] += d.x * d.z;
    sums[5] += d.y * d.z;
}

static __device__ __forceinline__ void add_steps(int* sums, const Triple difference)
{
    const Triple step = planes(difference);
    sums[0] += min(abs(step.x), STEP_LIMIT * 1000);
    sums[1] += min(abs(step.y), STEP_LIMIT * 1772);
    sums[2] += min(abs(step.z), STEP_LIMIT * 1402);
}

// Adds up 32 numbers of each lane over the warp: lane k gets the sum of the k-th. Each exchange halves what is left.
// A template, so that every index is known and the numbers stay in registers.
template <int HALF = WARP / 2, typename T>
static __device__ __forceinline__ T warp_totals(T (&value)[WARP])
{
    const bool is_upper = threadIdx.x & HALF;
#pragma unroll
    for (int k = 0; k < HALF; ++k) {
        const T sent = is_upper ? value[k] : value[k + HALF];
        const T kept = is_upper ? value[k + HALF] : value[k];
        value[k] = kept + __shfl_xor_sync(ALL_LANES, sent, HALF);
    }
    if constexpr (HALF > 1) {
        return warp_totals<HALF / 2>(value);
    }
    return value[0];
}

static __device__ __forceinline__ float warp_total(float value)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

template <typename T>
static __device__ __forceinline__ T over_warps(const T (*partial)[WARP], const int which)
{
    T sum = 0;
    for (int warp = 0; warp < blockDim.x / WARP; ++warp) {
        sum += partial[warp][which];
    }
    return sum;
}

// Four pixels a step: three words of bytes become four words, each of one pixel.
static __device__ __forceinline__ void load(const unsigned* words, uint4* picture)
{
    for (int quad = threadIdx.x; quad < PIXELS / 4; quad += blockDim.x) {
        const unsigned a = words[3 * quad], b = words[3 * quad + 1], c = words[3 * quad + 2];
        picture[quad] = make_uint4(
            a & 0xffffff, a >> 24 | (b & 0xffff) << 8, b >> 16 | (c & 0xff) << 16, c >> 8);
    }
}

// Counts, channel sums, products of first and second differences, truncated steps.
static __device__ __forceinline__ void add_whole(const unsigned* picture, const int at, int (&sums)[WARP])
{
    const int column = at % SIDE, row = at / SIDE;
    const Triple here = rgb(picture[at]);
    const int largest = max(here.x, max(here.y, here.z)), smallest = min(here.x, min(here.y, here.z));
    sums[BRIGHT] += largest >= 235;
    sums[BRIGHT + 1] += largest >= 245;
    sums[BRIGHT + 2] += largest >= 252;
    sums[BRIGHT + 3] += largest >= 255;
    sums[DARK] += smallest <= 20;
    sums[DARK + 1] += smallest <= 10;
    sums[DARK + 2] += smallest <= 4;
    sums[DARK + 3] += smallest <= 0;
    sums[CHANNEL] += here.x;
    sums[CHANNEL + 1] += here.y;
    sums[CHANNEL + 2] += here.z;

    const Triple right = rgb(picture[column < SIDE - 1 ? at + 1 : at]) - here;  // zero, where there is none
    const Triple below = rgb(picture[row < SIDE - 1 ? at + SIDE : at]) - here;
    add_products(sums + DIFFERENCE, right);
    add_products(sums + DIFFERENCE, below);
    add_steps(sums + STEP, right);
    add_steps(sums + STEP + 3, below);
    if (column < SIDE - 2) {
        const Triple bend = rgb(picture[at + 2]) - rgb(picture[at + 1]) - right;
        add_products(
            sums + BEND, {within(bend.x, BEND_LIMIT), within(bend.y, BEND_LIMIT), within(bend.z, BEND_LIMIT)});
    }
}

static __device__ __forceinline__ float2 chromaticity(const Triple c)
{
    const float whole = 1.0f / (float)(c.x + c.y + c.z + 3);
    return make_float2((c.x + 1) * whole, (c.y + 1) * whole);
}

// Y, Cb, Cr less their means: the difference of whole numbers below 2^31, rounded once.
static __device__ __forceinline__ void centre(const Triple c, const Triple sums, float (&centred)[3])
{
    const Triple value = planes(c);
    centred[0] = (float)(value.x * PIXELS - sums.x) * (scale_of(0) / PIXELS);
    centred[1] = (float)(value.y * PIXELS - sums.y) * (scale_of(1) / PIXELS);
    centred[2] = (float)(value.z * PIXELS - sums.z) * (scale_of(2) / PIXELS);
}

static __device__ __forceinline__ void add_lag(
    const Triple neighbour, const Triple sums, const float (&here)[3], float* lag)
{
    float there[3];
    centre(neighbour, sums, there);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
        lag[k] += here[k] * there[k];
    }
}

// Moments about the means.
static __device__ __forceinline__ void add_central(
    const unsigned* picture, const int at, const Triple plane_sums, const float2 shares, float (&sums)[WARP])
{
    const int column = at % SIDE, row = at / SIDE;
    const Triple pixel = rgb(picture[at]);
    float here[3];
    centre(pixel, plane_sums, here);
    const float across = (column > 0) + (column < SIDE - 1), down = (row > 0) + (row < SIDE - 1);  // neighbours
#pragma unroll
    for (int k = 0; k < 3; ++k) {
        const float square = here[k] * here[k];
        sums[SQUARE + k] += square;
        sums[CUBE + k] += square * here[k];
        sums[FOURTH + k] += square * square;
        sums[LAG_ENERGY + k] += across * square;
        sums[LAG_ENERGY + 3 + k] += down * square;
    }
    sums[PRODUCT] += here[0] * here[1];
    sums[PRODUCT + 1] += here[0] * here[2];
    sums[PRODUCT + 2] += here[1] * here[2];
    if (column < SIDE - 1) {
        add_lag(rgb(picture[at + 1]), plane_sums, here, sums + LAG);
    }
    if (row < SIDE - 1) {
        add_lag(rgb(picture[at + SIDE]), plane_sums, here, sums + LAG + 3);
    }
    const float2 share = chromaticity(pixel);
    const float red = share.x - shares.x, green = share.y - shares.y;
    sums[SHARE_PRODUCT] += red * red;
    sums[SHARE_PRODUCT + 1] += green * green;
    sums[SHARE_PRODUCT + 2] += red * green;
}

// Sorted as the reference sorts: the entry at this place of 1024.
static __device__ __forceinline__ int rank_of(const int percentile)
{
    return percentile == 0 ? 51 : percentile == 1 ? 256 : percentile == 2 ? 767 : 972;
}

// The largest key that no more than `rank` of the picked pixels lie below, one bit after the other: all lanes get it.
static __device__ int percentile_of(const unsigned* picture, const int plane, const int rank)
{
    int keys[PICKED];
#pragma unroll
    for (int k = 0; k < PICKED; ++k) {
        const Triple value = planes(rgb(picture[STRIDE * (k * WARP + threadIdx.x % WARP)]));
        keys[k] = (plane == 1 ? value.y : value.z) + KEY_ZERO;
    }
    int found = 0;
    for (int bit = 1 << (KEY_BITS - 1); bit > 0; bit /= 2) {
        int below = 0;
#pragma unroll
        for (int k = 0; k < PICKED; ++k) {
            below += keys[k] < found + bit;
        }
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            below += __shfl_xor_sync(ALL_LANES, below, distance);
        }
        found += below <= rank ? bit : 0;
    }
    return found - KEY_ZERO;
}

static __device__ Triple plane_sums(const Totals& totals)
{
    return planes({totals.whole[CHANNEL], totals.whole[CHANNEL + 1], totals.whole[CHANNEL + 2]});
}

static __device__ __forceinline__ int part(const Triple of, const int which)
{
    return which == 0 ? of.x : which == 1 ? of.y : of.z;
}

static __device__ float correlation(const float product, const float one, const float other)
{
    return product / (sqrtf(one + FLOOR) * sqrtf(other + FLOOR));
}

// Where the product of two of three stands among the six: 01, 02, 12 follow the squares.
static __device__ __forceinline__ int first_of(const int pair)
{
    return pair == 2 ? 1 : 0;
}

static __device__ __forceinline__ int second_of(const int pair)
{
    return pair == 0 ? 1 : 2;
}

static __device__ float channel_correlation(const int* products, const int pair, const float scale)
{
    return correlation(products[3 + pair] * scale, products[first_of(pair)] * scale, products[second_of(pair)] * scale);
}

// What the reference calls products of sums: exact, from those of the channels.
static __device__ float plane_product(const int* products, const int one, const int other)
{
    const Triple red = planes({1, 0, 0}), green = planes({0, 1, 0}), blue = planes({0, 0, 1});
    const long long a[3] = {part(red, one), part(green, one), part(blue, one)};
    const long long b[3] = {part(red, other), part(green, other), part(blue, other)};
    long long sum = a[0] * b[0] * products[0] + a[1] * b[1] * products[1] + a[2] * b[2] * products[2];
    sum += (a[0] * b[1] + a[1] * b[0]) * products[3] + (a[0] * b[2] + a[2] * b[0]) * products[4];
    sum += (a[1] * b[2] + a[2] * b[1]) * products[5];
    return (float)sum * (scale_of(one) * scale_of(other) / (2 * PAIRS));
}

static __device__ float moment(const Totals& totals, const int k)
{
    const int plane = k % 3;
    const float variance = totals.central[SQUARE + plane] / PIXELS + FLOOR;
    if (k < 3) return logf(variance);
    if (k < 6) return totals.central[CUBE + plane] / PIXELS / (variance * sqrtf(variance));
    return logf((totals.central[FOURTH + plane] / PIXELS + FLOOR * FLOOR) / (variance * variance));
}

static __device__ float plane_correlation(const Totals& totals, const int pair)
{
    const float* central = totals.central;
    return correlation(
        central[PRODUCT + pair] / PIXELS, central[SQUARE + first_of(pair)] / PIXELS,
        central[SQUARE + second_of(pair)] / PIXELS);
}

static __device__ float percentile(const Totals& totals, const int k)
{
    const int plane = 1 + k % 2;
    const int centred = totals.percentile[k] * PIXELS - part(plane_sums(totals), plane);
    return (float)centred * (scale_of(plane) / PIXELS);
}

static __device__ float lag(const Totals& totals, const int k)
{
    return totals.central[LAG + k] / PAIRS / (totals.central[LAG_ENERGY + k] / (2 * PAIRS) + FLOOR);
}

static __device__ float difference(const Totals& totals, const int k)
{
    const int* products = totals.whole + DIFFERENCE;
    if (k < 3) {
        const float luma = k ? logf(plane_product(products, 0, 0) + FLOOR) : 0.0f;
        return logf(plane_product(products, k, k) + FLOOR) - luma;
    }
    if (k < 6) {
        const int one = first_of(k - 3), other = second_of(k - 3);
        return correlation(
            plane_product(products, one, other), plane_product(products, one, one),
            plane_product(products, other, other));
    }
    return channel_correlation(products, k - 6, 1.0f / (2.0f * PAIRS * 65025.0f));
}

static __device__ float chroma(const Totals& totals, const int k)
{
    if (k < 2) return totals.share[k] / PIXELS;
    const float red = totals.central[SHARE_PRODUCT] / PIXELS + FLOOR;
    const float green = totals.central[SHARE_PRODUCT + 1] / PIXELS + FLOOR;
    if (k < 4) return logf(k == 2 ? red : green);
    return totals.central[SHARE_PRODUCT + 2] / PIXELS / sqrtf(red * green);
}

static __device__ float bend(const Totals& totals, const int k)
{
    const int* products = totals.whole + BEND;
    const float scale = 1.0f / (BENDS * 65025.0f);
    return k < 3 ? logf(products[k] * scale + FLOOR) : channel_correlation(products, k - 3, scale);
}

static __device__ float feature(const Totals& totals, const int k)
{
    if (k < 8) return totals.whole[BRIGHT + k] / (float)PIXELS;
    if (k < 11) return part(plane_sums(totals), k - 8) * (scale_of(k - 8) / PIXELS);
    if (k < 20) return moment(totals, k - 11);
    if (k < 23) return plane_correlation(totals, k - 20);
    if (k < 31) return percentile(totals, k - 23);
    if (k < 37) return lag(totals, k - 31);
    if (k < 46) return difference(totals, k - 37);
    if (k < 51) return chroma(totals, k - 46);
    if (k < 57) return bend(totals, k - 51);
    return logf(totals.whole[STEP + k - 57] * (scale_of((k - 57) % 3) / PAIRS) + STEP_FLOOR);
}

extern "C" __global__ void __launch_bounds__(512)
color_features(const unsigned char* __restrict__ pixels, float* __restrict__ features)
{
    __shared__ uint4 quads[PIXELS / 4];
    __shared__ int whole[MOST_WARPS][WARP];
    __shared__ float shares[MOST_WARPS][WARP];  // the first two of each
    __shared__ float central[MOST_WARPS][WARP];
    __shared__ Totals totals;

    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    load(reinterpret_cast<const unsigned*>(pixels) + (size_t)blockIdx.x * (3 * PIXELS / 4), quads);
    __syncthreads();  // `quads` is there

    const unsigned* picture = reinterpret_cast<const unsigned*>(quads);
    int counts[WARP] = {};
    float red = 0.0f, green = 0.0f;
    for (int at = threadIdx.x; at < PIXELS; at += blockDim.x) {
        add_whole(picture, at, counts);
        const float2 share = chromaticity(rgb(picture[at]));
        red += share.x;
        green += share.y;
    }
    whole[warp][lane] = warp_totals(counts);
    red = warp_total(red);
    green = warp_total(green);
    if (lane < 2) {
        shares[warp][lane] = lane ? green : red;
    }
    __syncthreads();  // `whole` and `shares` are there

    if (threadIdx.x < WARP) {
        totals.whole[lane] = over_warps(whole, lane);
        if (lane < 2) {
            totals.share[lane] = over_warps(shares, lane);
        }
    }
    __syncthreads();  // their totals are there

    const Triple sums = plane_sums(totals);
    const float2 mean = make_float2(totals.share[0] / PIXELS, totals.share[1] / PIXELS);
    float moments[WARP] = {};
    for (int at = threadIdx.x; at < PIXELS; at += blockDim.x) {
        add_central(picture, at, sums, mean, moments);
    }
    central[warp][lane] = warp_totals(moments);
    for (int first = 0; first < 8; first += warps) {
        const int which = min(first + warp, 7);  // a warp too many finds the last again and keeps it to itself
        const int found = percentile_of(picture, 1 + which % 2, rank_of(which / 2));
        if (lane == 0 && first + warp < 8) {
            totals.percentile[which] = found;
        }
    }
    __syncthreads();  // `central` and the percentiles are there

    if (threadIdx.x < WARP) {
        totals.central[lane] = over_warps(central, lane);
    }
    __syncthreads();  // its totals are there

    for (int k = threadIdx.x; k < FEATURES; k += blockDim.x) {
        features[(size_t)blockIdx.x * FEATURES + k] = feature(totals, k);
    }
}
