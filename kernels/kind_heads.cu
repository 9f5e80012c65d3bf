// The logits of every expert's heads for every face and kind of forgery, in one launch.
//
// Reference: stream_detect.experts.heads.KindHeads (NumPy): standardize, hold within FEATURE_LIMIT, add the ramps between
// knots, weigh, add the bias; NaN for a face with a feature that is not finite. Ramps are never written to memory.
//
// experts    (experts, COLUMNS) uint64  of each: the address of its features (faces, stride) float, 0 if it says nothing;
//                                       stride, the features a row; dim, how many of them count; segments, 1 and the
//                                       ramps of a feature; where its numbers begin in `numbers`, in floats
// numbers    float                      of each expert, one after the other, padded to multiples of four:
//                                         mean (dim,), scale (dim,)
//                                         lows (segments - 1, dim), steepness (segments - 1, dim)   ramps begin, 1 / width
//                                         bias (quads, 4)                             kinds, padded to `quads` fours
//                                         weight (quads, segments, dim, 4)            the feature's own, then its ramps'
// kinds      int32                      1 .. 4 * quads
// logits     (faces, experts, kinds) float   out
//
// Grid: (faces, experts) blocks, blockDim.x a multiple of 32, at most 1024; `numbers` begins at a multiple of 16 bytes. A
// thread takes every blockDim.x-th feature, and sums are added in a fixed order: the same numbers on every run.

#define WARP 32
#define MOST_WARPS 32
#define ALL_LANES 0xffffffffu
#define COLUMNS 5
#define FEATURE_LIMIT 6.0f
#define LARGEST 3.402823466e38f  // float's; nothing that is not finite is within it

struct Expert {
    const float* features;  // of this face; null if there are none
    int dim, segments;
    const float* mean;
    const float* scale;
    const float* lows;
    const float* steepness;
    const float* bias;
    const float4* weight;
};

static __device__ __forceinline__ int padded(const int count)
{
    return (count + 3) / 4 * 4;
}

static __device__ Expert expert_of(
    const unsigned long long* row, const float* numbers, const int face, const int quads)
{
    const unsigned long long address = row[0];
    const int stride = (int)row[1], dim = (int)row[2], segments = (int)row[3];
    const float* features = reinterpret_cast<const float*>(address);
    const float* mean = numbers + row[4];
    const float* scale = mean + padded(dim);
    const float* lows = scale + padded(dim);
    const float* steepness = lows + padded((segments - 1) * dim);
    const float* bias = steepness + padded((segments - 1) * dim);
    const float* weight = bias + 4 * quads;
    if (features) {
        features += (size_t)face * stride;
    }
    return {features, dim, segments, mean, scale, lows, steepness, bias, reinterpret_cast<const float4*>(weight)};
}

static __device__ __forceinline__ void add(float4& sum, const float value, const float4 weight)
{
    sum.x += value * weight.x;
    sum.y += value * weight.y;
    sum.z += value * weight.z;
    sum.w += value * weight.w;
}

// What this thread's features add to four kinds; `broken` counts those that are not finite.
static __device__ float4 weigh(const Expert& expert, const float4* weight, int& broken)
{
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int k = threadIdx.x; k < expert.dim; k += blockDim.x) {
        const float given = expert.features[k];
        broken += !(fabsf(given) <= LARGEST);
        const float z = fminf(fmaxf((given - expert.mean[k]) / expert.scale[k], -FEATURE_LIMIT), FEATURE_LIMIT);
        add(sum, z, weight[k]);
#pragma unroll 4  // so that loads overlap
        for (int segment = 1; segment < expert.segments; ++segment) {
            const int at = (segment - 1) * expert.dim + k;
            const float ramp = fminf(fmaxf((z - expert.lows[at]) * expert.steepness[at], 0.0f), 1.0f);
            add(sum, ramp, weight[segment * expert.dim + k]);
        }
    }
    return sum;
}

template <typename T>
static __device__ __forceinline__ T warp_total(T value)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_down_sync(ALL_LANES, value, distance);
    }
    return value;
}

// The first barrier of a round lies between the writes of `partial` and `bad` and their reads by the first threads, the
// second between those reads and the writes of the next round. All threads of a block make the same rounds.
extern "C" __global__ void kind_heads(
    const unsigned long long* __restrict__ experts,
    const float* __restrict__ numbers,
    const int kinds,
    float* __restrict__ logits)
{
    __shared__ float partial[MOST_WARPS][4];
    __shared__ int bad[MOST_WARPS];

    const int quads = padded(kinds) / 4, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const Expert expert = expert_of(experts + blockIdx.y * COLUMNS, numbers, blockIdx.x, quads);
    float* out = logits + ((size_t)blockIdx.x * gridDim.y + blockIdx.y) * kinds;

    for (int quad = 0; quad < quads; ++quad) {
        int broken = expert.features == nullptr;
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (expert.features) {
            sum = weigh(expert, expert.weight + (size_t)quad * expert.segments * expert.dim, broken);
        }
        const float x = warp_total(sum.x), y = warp_total(sum.y), z = warp_total(sum.z), w = warp_total(sum.w);
        broken = warp_total(broken);
        if (lane == 0) {
            partial[warp][0] = x;
            partial[warp][1] = y;
            partial[warp][2] = z;
            partial[warp][3] = w;
            bad[warp] = broken;
        }
        __syncthreads();

        const int kind = 4 * quad + threadIdx.x;
        if (threadIdx.x < 4 && kind < kinds) {
            float logit = expert.bias[kind];
            int spoiled = 0;
            for (int each = 0; each < blockDim.x / WARP; ++each) {
                logit += partial[each][threadIdx.x];
                spoiled += bad[each];
            }
            out[kind] = spoiled ? nanf("") : logit;
        }
        __syncthreads();
    }
}
